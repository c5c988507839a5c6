"""A step's output for a shell, and for the files by which CI systems take outputs. Pure.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings; Kargo's
CustomPromotionStep takes the same form.
"""

from collections.abc import Mapping
from typing import Any, Final

from gha_step.contract.json_text import compact_json

FILES: Final = ("KARGO_OUTPUT", "GITHUB_OUTPUT")  # variables that name such a file


def key_values(output: Mapping[str, Any], delimiter: str) -> str:
    """``key=value`` lines; a value of several lines between ``delimiter``s; what is not text as JSON."""
    return "".join(_line(key, value, delimiter) for key, value in output.items())


def _line(key: str, value: Any, delimiter: str) -> str:
    text = value if isinstance(value, str) else compact_json(value)
    if text.splitlines() not in ([], [text]):
        return f"{key}<<{delimiter}\n{text}\n{delimiter}\n"
    return f"{key}={text}\n"
