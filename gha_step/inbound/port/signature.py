"""Whether a Kafka message of Port's is signed with our client secret. Pure.

The signature is over the message's own bytes, which no re-serialisation gives back: JavaScript prints 1e-7 where Python
prints 1e-07. So the top-level ``headers`` are cut out of the raw text; for GITHUB it is not known whether Port leaves
them out whole or only the two keys that it adds, so both are accepted.

Source: facts/port.md 1, "Signature".
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

from gha_step.contract.secret import Token
from gha_step.inbound.port.wire_json import Number, read_json

Verdict: TypeAlias = Literal["right", "wrong", "missing"]

HEADERS: Final = "headers"
SIGNATURE: Final = "X-Port-Signature"
TIMESTAMP: Final = "X-Port-Timestamp"
_SPACE: Final = " \t\r\n"


def verdict(raw: bytes, secret: Token) -> Verdict:
    """Whether ``raw`` is signed with the client secret, in time that does not depend on it.

    A message that cannot be read, or names signature or time stamp twice, has a wrong one.
    """
    try:
        message = read_json(raw)
        headers = message.get(HEADERS) if isinstance(message, dict) else None
        if headers is None:
            return "missing"
        signature, at = headers.get(SIGNATURE), headers.get(TIMESTAMP)
        if signature is None and at is None:
            return "missing"
        if not isinstance(signature, str) or not isinstance(at, str) or message.twice or headers.twice:
            return "wrong"
        given, at = signature.encode(), at.encode()
        texts = [without_headers(raw), without_the_two_keys(raw)]
    except (AttributeError, ValueError):
        return "wrong"
    right = False
    for text in texts:
        right |= hmac.compare_digest(given, sign(text, at, secret))
    return "right" if right else "wrong"


def sign(text: bytes, at: bytes, secret: Token) -> bytes:
    """``v1,`` and the base64 of the HMAC-SHA256 over time stamp, dot and text."""
    digest = hmac.new(secret.reveal().encode(), at + b"." + text, hashlib.sha256).digest()
    return b"v1," + base64.b64encode(digest)


def without_headers(raw: bytes) -> bytes:
    """The text of an object without its top-level ``headers``. :raises ValueError: it is no object."""
    return _cut(raw.decode(), (HEADERS,)).encode()


def without_the_two_keys(raw: bytes) -> bytes:
    """The text of an object whose ``headers`` lack the two keys. :raises ValueError: it is no object, or has none."""
    text = raw.decode()
    for key, _, start, end in _members(text):
        if key == HEADERS:
            return (text[:start] + _cut(text[start:end], (SIGNATURE, TIMESTAMP)) + text[end:]).encode()
    raise ValueError("it has no headers")


def _cut(text: str, keys: Sequence[str]) -> str:
    """An object's text without these members, each with one comma beside it."""
    members = list(_members(text))
    kept = [text[begin:end] for key, begin, _, end in members if key not in keys]
    if len(kept) == len(members):
        return text
    return text[: members[0][1]] + ",".join(kept) + text[members[-1][3] :]


_DECODER: Final = json.JSONDecoder(parse_float=Number, parse_int=Number)


def _members(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Each member of an object: key, where the member, its value and the next thing begin."""
    at = _expect(text, 0, "{")
    if text[_skip(text, at) :].startswith("}"):
        return
    while True:
        begin = _skip(text, at)
        key, at = _value(text, begin)
        if not isinstance(key, str) or isinstance(key, Number):
            raise ValueError("a key is not a string")  # noqa: TRY004  the text is wrong, not a caller's type
        start = _skip(text, _expect(text, at, ":"))
        _, end = _value(text, start)
        yield key, begin, start, end
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            return
        at = _expect(text, at, ",")


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _expect(text: str, at: int, character: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != character:
        raise ValueError(f"no {character} at {at}")
    return at + 1
