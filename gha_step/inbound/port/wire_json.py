"""JSON as Port's messages are read: a number keeps its spelling, and an object remembers which keys it had twice.

Workflow inputs go to GitHub as text: an image tag that a form sends as the number 1.10 must not arrive as 1.1.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from gha_step.contract.json_text import compact_json, has_more_values

MOST_VALUES: Final = 500_000  # and keys; a thousand runs have some 200,000
DEEPEST: Final = 100  # levels; Port's own messages have about ten


class Number(str):
    """A number, spelled as in the text."""

    __slots__ = ()


class JsonObject(dict[str, Any]):
    """An object; ``twice``: the keys that its text has more than once, of which the last value is kept."""

    twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    made = JsonObject(pairs)
    if len(made) < len(pairs):
        made.twice = tuple(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=_no_constant
)


def read_json(raw: bytes) -> Any:
    """The value of a JSON document: `JsonObject`, list, str, `Number`, bool or None.

    :raises ValueError: it is none, not UTF-8, nested too deeply or of too many values; the text quotes nothing of it.
    """
    if has_more_values(raw, MOST_VALUES):
        raise ValueError(f"of more than {MOST_VALUES:,} values")
    try:
        value = _DECODER.decode(raw.decode())
        if _too_deep(value):
            raise ValueError("nested too deeply")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    return value


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _children(one)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def compact(value: Any) -> str:
    """A value of `read_json` as JSON text without white space, numbers as they were spelled."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{compact_json(key)}:{compact(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(compact(inner) for inner in value) + "]"
    return compact_json(value)


def doubled(value: Any) -> Iterator[str]:
    """Where a key occurs twice in one object, as paths, each of which is made only then: a key may be a megabyte."""
    for places in _doubled(value):
        yield "".join(places).lstrip(".")


def _doubled(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, JsonObject):
        yield from ((f".{key}",) for key in value.twice)
        yield from ((f".{key}", *rest) for key, inner in value.items() for rest in _doubled(inner))
    elif isinstance(value, list):
        yield from ((f"[{number}]", *rest) for number, inner in enumerate(value) for rest in _doubled(inner))
