"""How a message quotes a user's value: on one line, of bounded length, and without a token or password."""

import re
from typing import Final

_SHOWN: Final = 100  # characters
_DIGITS: Final = 2**100
_SECRET: Final = re.compile(r"(?<=://)[^\s]*(?=@)|(?:gh[a-z]_|github_pat_|eyJ)[\w.~+/=-]{8,}")
_PASSWORD: Final = re.compile(r"^[^@/]*:(?!//).*(?=@)", re.DOTALL)  # of a URL without a scheme


def quoted(value: object) -> str:
    """``value`` as a message shows it: a string in quotes, cut off at 100 characters; a JSON scalar as in JSON.

    Of an object or list only the kind is shown, for it may hold anything. What looks like a token of GitHub, and what
    stands before the ``@`` of a URL, is shown as ``***``.
    """
    match value:
        case str():
            shown = _PASSWORD.sub("***", _SECRET.sub("***", value[: _SHOWN * 10]))
            return repr(shown) if len(shown) <= _SHOWN else repr(shown[:_SHOWN] + "…")
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= _DIGITS:
            return "a number of more than 30 digits"
        case int() | float():
            return str(value)
        case dict():
            return "an object"
        case _:
            return "a list"
