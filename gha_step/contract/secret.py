"""A secret value that cannot be printed by accident, and that is found in what others say, also in disguise."""

import base64
import hmac
import re
from functools import cached_property
from typing import Final
from urllib.parse import unquote

_LONGEST: Final = 20_000  # characters
_SHORTEST_IN_BASE64: Final = 8  # characters: of less, what base64 makes is found in ordinary text
# Only from where a run of backslashes begins: tried at each of them, a long run would take the square of its length.
_ESCAPE: Final = re.compile(r"(?<!\\)\\+(?:u00([0-9a-fA-F]{2})|(/))")


class Token:
    """A credential: prints as ``***``; only :meth:`reveal` gives the value, to be used at the last moment.

    :param subject: what messages call it: whose it is, or where it lies. Equality is that of the values.
    :param made_at: when GitHub made it for us, monotonic seconds: an App's installation token; else ``None``.
    """

    def __init__(self, value: str, subject: str = "the token", *, made_at: float | None = None) -> None:
        self._value = value
        self.subject = subject
        self.made_at = made_at

    def reveal(self) -> str:
        """The value itself: for an Authorization header, never for a message."""
        return self._value

    def matches(self, other: str) -> bool:
        """Whether ``other`` is the same value, in time that does not depend on where they differ."""
        return hmac.compare_digest(self._value.encode(), other.encode("utf-8", "surrogatepass"))

    def is_in(self, text: str) -> bool:
        """Whether ``text`` repeats this value: as it is, with JSON's escapes, percent-encoded or in base64."""
        if not self._value:
            return False
        plain = _ESCAPE.sub(lambda found: found[2] or chr(int(found[1], 16)), text) if "\\" in text else text
        for _ in range(2):  # percent-encoded once, or once more on the way
            plain = unquote(plain) if "%" in plain else plain
        return any(form in text or form in plain for form in self._forms)

    def hide(self, text: str) -> str:
        """``text`` with this value taken out: whatever somebody else says may repeat it.

        Of a text that is longer than anything we keep, nothing is left: taking it apart would hold up everybody.
        """
        if not self.is_in(text):
            return text
        return "***" if len(text) > _LONGEST else self._disguised.sub("***", text)

    @cached_property
    def _forms(self) -> tuple[str, ...]:
        """The value, and what any base64 of a text that holds it has in common, by where it begins in that text."""
        if len(self._value) < _SHORTEST_IN_BASE64:
            return (self._value,)
        forms = [self._value]
        raw = self._value.encode("utf-8", "surrogatepass")
        for offset in range(3):
            whole = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
            # What the neighbours have a part in is left out: the first characters, and the last.
            middle = whole[(0, 2, 3)[offset] : (len(raw) + offset) * 8 // 6]
            forms += [middle, middle.translate(str.maketrans("+/", "-_"))]
        return tuple(dict.fromkeys(forms))

    @cached_property
    def _disguised(self) -> re.Pattern[str]:
        value, *encoded = (_spelled(form) for form in self._forms)
        edges = [rf"[\w+/-]{{0,4}}{form}[\w+/-]{{0,4}}={{0,2}}" for form in encoded]
        return re.compile("|".join([value, *edges]))

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self.matches(other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a token is never serialised")


def _spelled(text: str) -> str:
    """A pattern of all spellings of ``text``: each character as it is, or escaped as in a URL or in JSON."""
    return "".join(_spellings(character) for character in text)


def _spellings(character: str) -> str:
    escaped = "".join(rf"%(?:25)*{_hex(byte)}" for byte in character.encode("utf-8", "surrogatepass"))
    json = rf"|(?<!\\)\\+u00{_hex(ord(character))}" if ord(character) < 256 else ""
    slash = r"|(?<!\\)\\+/" if character == "/" else ""
    return rf"(?:{re.escape(character)}|{escaped}{json}{slash})"


def _hex(number: int) -> str:
    return f"(?i:{number:02x})"
