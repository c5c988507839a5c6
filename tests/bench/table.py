"""Samples and tables: medians with the middle half beside them, in columns."""

from collections.abc import Sequence
from statistics import median, quantiles


def p95(samples: Sequence[float]) -> float:
    """The value that 95 of 100 samples do not exceed."""
    return sorted(samples)[min(len(samples) - 1, round(0.95 * (len(samples) - 1)))]


def spread(samples: Sequence[float], scale: float = 1.0, digits: int = 0) -> str:
    """The median, and in brackets the quartiles."""
    if len(samples) < 3:
        return f"{median(samples) * scale:.{digits}f}"
    low, middle, high = quantiles(samples, n=4, method="inclusive")
    return f"{middle * scale:.{digits}f} [{low * scale:.{digits}f}–{high * scale:.{digits}f}]"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How many times theirs ours is, median by median."""
    return f"{median(ours) / median(theirs):.2f}"


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
    """Print one."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        first, *others = (
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join([first, *others]).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))
    for note in notes:
        print(f"  {note}")
