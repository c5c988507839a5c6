"""Parsing JSON strictly: RFC 8259, so no NaN, no Infinity, and no number that overflows a double."""

import json
import math
import sys
from collections.abc import Callable
from json import encoder as in_c
from typing import Any, NoReturn


class _NoJson(ValueError):
    """In words of ours; the standard library's speak to programmers."""


def _no_constant(name: str) -> NoReturn:
    raise _NoJson(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NoJson(f"the number {text[:40]} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _NoJson(f"the key {key[:60]!r} is there twice")
            seen.add(key)
    return made


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_UNIQUE = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)


def one_shot(whole: json.JSONEncoder) -> Callable[[Any], str]:
    """``whole.encode``, but for what holds itself. The library makes an encoder anew for each value: most take less."""
    make = getattr(in_c, "c_make_encoder", None)  # as the library calls it; only CPython has it
    if make is None:
        return whole.encode
    text = in_c.encode_basestring_ascii if whole.ensure_ascii else in_c.encode_basestring
    marks = whole.key_separator, whole.item_separator
    pieces = make(None, whole.default, text, None, *marks, whole.sort_keys, whole.skipkeys, whole.allow_nan)
    return lambda value: "".join(pieces(value, 0))


_COMPACT = one_shot(json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False))
_CANONICAL = one_shot(json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True))


def has_more_values(text: bytes | bytearray, most: int) -> bool:
    """Whether there are more values and keys, found out without making any, and mostly from the beginning alone."""
    if len(text) <= most:
        return False
    for end in (8 * most, len(text)):
        begun = text[:end]
        if _marks(begun) <= most:
            continue
        # Commas and brackets within strings do not count.
        outside = begun.replace(rb"\\", b"").replace(rb"\"", b"")
        if outside.count(b'"') > 2 * most + 1 or _marks(b"".join(outside.split(b'"')[::2])) > most:
            return True
    return False


def _marks(text: bytes | bytearray) -> int:
    return len(text) - len(text.translate(None, b",:[{"))


def parse_json(text: str | bytes | bytearray, *, unique: bool = False, most: int | None = None) -> Any:
    """The value of a JSON document.

    :param unique: refuse an object that holds a key twice: of what a person wrote, one would be dropped unseen.
    :param most: refuse more values and keys, before any is made.
    :raises ValueError: it is no JSON, not UTF-8, nested too deeply, or holds a number that JSON cannot.
        The text of the error never quotes more of the document than one number or one key.
    """
    if most is not None and has_more_values(text.encode() if isinstance(text, str) else text, most):
        raise ValueError(f"holds more than {most:,} values")
    try:
        return (_UNIQUE if unique else _DECODER).decode(text if isinstance(text, str) else text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:  # its own text says where, and quotes nothing
        raise ValueError(f"not JSON: {error}") from None
    except _NoJson:
        raise
    except ValueError:  # int() takes no more digits, and says so: it would be the square of their number
        raise ValueError(f"a number of more than {sys.get_int_max_str_digits()} digits is too large") from None


def compact_json(value: Any) -> str:
    """``value`` as JSON without white space, characters as they are.

    :raises ValueError: nested too deeply, or not a JSON value.
    """
    try:
        return _COMPACT(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def canonical_json(value: Any) -> str:
    """``value`` as compact JSON with sorted keys: equal values give equal text."""
    return _CANONICAL(value)
