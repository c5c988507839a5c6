"""Go duration strings, the only form in which Kargo's hosts read and write a time span.

Source: https://pkg.go.dev/time#ParseDuration
"""

import re
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE: Final = re.compile(rf"[+-]?(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``90s``, ``1m30s`` or ``1.5h``.

    :raises ValueError: it is none.
    """
    if text in ("0", "+0", "-0"):
        return 0.0
    if len(text) > 100 or not _WHOLE.fullmatch(text):
        raise ValueError("write a Go duration such as 10s, 500ms or 1m30s")
    total = sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(text)), Decimal(0))
    return float(-total if text.startswith("-") else total)


def format_duration(seconds: float) -> str:
    """``seconds`` as a Go duration, to the millisecond: ``2s``, ``1.5s``, ``0.25s``."""
    text = f"{seconds:.3f}".rstrip("0").rstrip(".")
    return f"{text}s"
