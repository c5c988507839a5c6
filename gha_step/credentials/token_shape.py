"""Recognises values that are certainly not a token, so that they are never sent. Pure; no message repeats the value."""

import base64
import binascii
import re
from typing import Final

_TOKEN: Final = re.compile(r"(gh[a-z]_|github_pat_)[A-Za-z0-9_.-]+")
_BLACK: Final = re.compile(r"[!-~]*")
_FILLED_IN: Final = re.compile(r"(gh[a-z]_|github_pat_)?([xX]{3,}|\*{3,}|\.{3,}|…)[xX*.…_-]*")
_WHOLE: Final = re.compile(r"gh[a-z]_[A-Za-z0-9]{36}")  # as long as a real one: GitHub is asked
_WORDS: Final = re.compile(
    r"(gh[a-z]_|github_pat_)?("
    r"(change|replace)[-_ ]?(me|this)|todo|tbd|token|pat|password|placeholder|redacted|secret|dummy|example|"
    r"none|null|nil|undefined|"
    r"(your|my)[-_ ]?.{0,30}(token|pat)([-_ ]here)?|"
    r"(paste|insert|put|replace)[-_ ].{0,40})!*|"
    r"\$[a-z_]+|%[a-z_]+%",  # a variable that nobody has filled in
    re.IGNORECASE,
)
_SHORTEST: Final = 12  # characters; GitHub's have 40 and more, the emulator's 14
_BRACKETS: Final = (("<", ">"), ("${", "}"), ("{{", "}}"), ("$(", ")"), ("[", "]"))


def unfit(token: str) -> str | None:
    """What is wrong with the value, after "the key K", and what to do; ``None`` if it may be a token."""
    if set(token[:1] + token[-1:] + token[:2].removeprefix("\\")[-1:]) & set("\"'`"):
        return "contains quotes around the token: store the token without them"
    if any(token.startswith(begin) and token.endswith(end) for begin, end in _BRACKETS):
        return "contains a placeholder instead of a token: put a GitHub token there"
    if (_FILLED_IN.fullmatch(token) and not _WHOLE.fullmatch(token)) or _WORDS.fullmatch(token):
        return "contains a placeholder instead of a token: put a GitHub token there"
    if not _BLACK.fullmatch(token):
        return (
            "contains white space or characters that a token never has: store the bare token, not encoded twice and "
            "without quotes"
        )
    if _is_encoded(token):
        return (
            "contains a base64-encoded token: store the bare token (in a Secret by stringData: Kubernetes "
            "encodes it itself)"
        )
    return None


def too_plain(token: str) -> str | None:
    """What is wrong with a value that is no more than a word, likewise.

    Hiding a word as a token would hide it wherever a message says it: GH_TOKEN=main, and no message names the branch.
    """
    if len(token) < _SHORTEST:
        return "is too short for a token: put a GitHub token there"
    if len(token) < 2 * _SHORTEST and token.isalpha():
        return "contains a word instead of a token: put a GitHub token there"
    return None


def _is_encoded(text: str) -> bool:
    """Once, or twice."""
    for _ in range(2):
        try:
            text = base64.b64decode(text, validate=True).decode("ascii").strip()
        except (binascii.Error, ValueError):
            return False
        if _TOKEN.fullmatch(text):
            return True
    return False
