"""A secret value that cannot be printed by accident, and that is found in other texts even if it is encoded."""

import base64
import hmac
import html
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import compress
from typing import Any, Final

from gha_step.contract.json_text import parse_json

_LONGEST: Final = 8_000  # characters
_SHORTEST_IN_DISGUISE: Final = 8  # characters: less is found by chance in base64 and across spaces
_LAYERS: Final = 4  # of escapes, one in the other
_SPACE: Final = b" \t\n\r\v\f"
_IS_BLACK: Final = bytes(byte not in _SPACE for byte in range(256))
# Backslashes only from where a run of them begins: tried at each, a long run would take the square of its length. What
# each alternative begins with stands first, so that `re` looks for these bytes alone: every answer is searched.
_ESCAPE: Final = re.compile(
    rb"\\(?<!\\\\)\\{0,63}(?:u[0-9a-fA-F]{4}|[/nrt])"
    rb"|%(?:25){0,16}[0-9a-fA-F]{2}"
    rb"|&(?:#(?:[xX][0-9a-fA-F]{1,8}|[0-9]{1,8});?|[a-zA-Z]{2,8};)"
)
_NEEDS_ESCAPES: Final = re.compile('["\\\\\x00-\x1f]')
_EDGE: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="


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
        """Whether ``text`` repeats this value: as it is, escaped as in URLs, JSON or HTML, in base64, or in lines."""
        if not self._value:
            return False
        raw = _bytes(text)
        for _ in range(_LAYERS):
            if _has_one_of(raw, self._forms):
                return True
            if self._squeezed and _has_one_of(raw.translate(None, _SPACE), self._squeezed):
                return True
            plain = _ESCAPE.sub(lambda found: _meaning(found[0]), raw)
            if plain == raw:
                return False
            raw = plain
        return False

    @cached_property
    def needs_escapes(self) -> bool:
        """Whether JSON cannot hold this value as it is: then `is_in` finds it in strings only, once they were read."""
        return _NEEDS_ESCAPES.search(self._value) is not None

    def hide(self, text: str) -> str:
        """``text`` with this value taken out: whatever somebody else says may repeat it.

        Of a text that is longer than anything we keep, nothing is left: taking it apart would hold up everybody.
        """
        if not self.is_in(text):
            return text
        if len(text) > _LONGEST:
            return "***"
        raw, shown, end = _bytes(text), [], 0
        for start, stop in sorted(self._spans(raw)):
            if start >= end:
                shown += [raw[end:start], b"***"]
            end = max(end, stop)
        hidden = b"".join([*shown, raw[end:]]).decode("utf-8", "surrogatepass")
        return "***" if self.is_in(hidden) else hidden

    def _spans(self, raw: bytes) -> Iterator[tuple[int, int]]:
        """Where ``raw`` repeats this value: each reading of it is searched, and what is found is led back."""
        text, places = raw, list(range(len(raw) + 1))
        for _ in range(_LAYERS):
            yield from _found(raw, text, places, self._forms)
            if self._squeezed:
                black = compress(places, text.translate(_IS_BLACK))
                yield from _found(raw, text.translate(None, _SPACE), [*black, len(raw)], self._squeezed)
            before = text
            text, places = _plain(text, places)
            if text == before:
                return

    @cached_property
    def _forms(self) -> tuple[bytes, ...]:
        """The value, and what any base64 of a text that holds it has in common, by where it begins in that text."""
        raw = _bytes(self._value)
        if len(self._value) < _SHORTEST_IN_DISGUISE:
            return (raw,)
        forms = [raw]
        for offset in range(3):
            whole = base64.b64encode(b"\0" * offset + raw).rstrip(b"=")
            # What the neighbours have a part in is left out: the first characters, and the last.
            middle = whole[(0, 2, 3)[offset] : (len(raw) + offset) * 8 // 6]
            forms += [middle, middle.translate(bytes.maketrans(b"+/", b"-_"))]
        return tuple(dict.fromkeys(forms))

    @cached_property
    def _squeezed(self) -> tuple[bytes, ...]:
        """The forms as they are found in a text without its white space; none of a short value."""
        value, *encoded = (form.translate(None, _SPACE) for form in self._forms)
        return (value, *encoded) if len(value) >= _SHORTEST_IN_DISGUISE else ()

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return other is self or (isinstance(other, Token) and self.matches(other._value))

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a token is never serialised")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _has_one_of(text: bytes, forms: tuple[bytes, ...]) -> bool:
    for form in forms:  # noqa: SIM110  a generator takes longer than the search, and every answer is searched
        if form in text:
            return True
    return False


@lru_cache(4096)
def _meaning(escape: bytes) -> bytes:
    """What one escape stands for."""
    if escape.startswith(b"%"):
        return bytes.fromhex(escape[-2:].decode())
    if escape.startswith(b"&"):
        return _bytes(html.unescape(escape.decode()))
    named = escape.lstrip(b"\\")
    return _bytes(chr(int(named[1:], 16))) if named.startswith(b"u") else b"/" if named == b"/" else b"\n"


def _plain(text: bytes, places: Sequence[int]) -> tuple[bytes, list[int]]:
    """``text`` without one layer of escapes, and the place of each of its bytes, and of its end."""
    plain: list[bytes] = []
    kept: list[int] = []
    end = 0
    for found in _ESCAPE.finditer(text):
        meaning = _meaning(found[0])
        plain += [text[end : found.start()], meaning]
        kept += places[end : found.start()]
        kept += [places[found.start()]] * len(meaning)
        end = found.end()
    return b"".join([*plain, text[end:]]), [*kept, *places[end:]]


def _found(raw: bytes, text: bytes, places: Sequence[int], forms: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """The spans of ``raw`` in which ``text``, a reading of it, has one of ``forms``; of base64 with its edges."""
    for form in forms:
        at = text.find(form)
        while at >= 0:
            start, stop = places[at], places[at + len(form)]
            stop = start + len(raw[start:stop].rstrip(_SPACE))
            if form is not forms[0]:  # base64
                before, after = raw[max(0, start - 4) : start], raw[stop : stop + 6]
                start -= len(before) - len(before.rstrip(_EDGE))
                stop += len(after) - len(after.lstrip(_EDGE))
            yield start, stop
            at = text.find(form, at + len(form))


def jwt_claims(token: str) -> dict[str, Any]:
    """What a JSON Web Token says of itself, which proves nothing; empty: it is none."""
    parts = token.split(".")
    try:
        claims = (
            parse_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else None
        )
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
