"""YAML of templates with the line of every key and value. Pure; no text of a value is repeated in an error.

What is no text is decided as by Kubernetes' tools, through which a template comes to Kargo: to them 1e3, 08 and 0o17
are numbers, and 12:30 is none. Source: https://github.com/kubernetes-sigs/yaml/blob/master/goyaml.v2/resolve.go
"""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Final

from gha_step.inbound.shell.errors import UsageError

MAX_FILE: Final = 1 << 20  # bytes
MAX_DEPTH: Final = 100  # of lists and mappings within each other
MAX_NODES: Final = 200_000  # what aliases stand for counts each time
MAX_EVENTS: Final = 50_000  # of the text: keys, values, and where lists and mappings begin and end

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_TAG}merge"
_IMPLICIT: Final = (  # the tag of a bare word, and what it may begin with
    ("bool", "(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)", "yYnNtTfFoO"),
    ("null", "(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
    ("int", "[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9_]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+.0123456789",
    ),
)
_MOST_DIGITS: Final = 66  # of an integer of 64 bits, in base 2 with its prefix; what is longer is a float

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """One document of a file.

    ``lines``: by path, the line on which a key or list item stands. ``twice``: paths of keys that are there twice, with
    the line of the second.
    """

    value: Any
    lines: dict[Path, int] = field(repr=False)
    twice: tuple[tuple[Path, int], ...] = ()

    def line(self, path: Path) -> int:
        """The line of ``path``, or of the nearest thing above it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def documents(text: str, name: str) -> list[Document]:
    """The documents of a YAML file, without empty ones.

    :param name: of the file, for messages.
    :raises UsageError: it is not YAML, or larger than a template is.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_FILE:
        raise UsageError(f"{name}: is larger than {MAX_FILE >> 20} MiB, which no template is")
    import yaml  # type: ignore[import-untyped]  # only templates need it

    loader = _loader()
    try:
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=loader)):  # what follows recurses
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UsageError(f"{name}: is nested deeper than {MAX_DEPTH} levels")
            if number > MAX_EVENTS:
                raise UsageError(f"{name}: holds more keys and values than a template does")
        return [_Reading(name).document(node) for node in yaml.compose_all(text, Loader=loader) if node]
    except yaml.MarkedYAMLError as error:
        line = min(error.problem_mark.line, text.count("\n")) + 1 if error.problem_mark else 1
        raise UsageError(f"{name}:{line}: is not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{name}: is not YAML: {str(error).splitlines()[0]}") from None


@cache
def _loader() -> Any:
    """A loader that finds the tags of bare words as Go does."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # twenty times as fast in C
        yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}

    for kind, pattern, first in _IMPLICIT:
        Loader.add_implicit_resolver(f"{_TAG}{kind}", re.compile(rf"\A{pattern}\Z"), list(first))
    return Loader


class _Reading:
    """From the nodes of one document to values, with their lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[Path, int] = {}
        self._twice: list[tuple[Path, int]] = []
        self._nodes = 0

    def document(self, node: Any) -> Document:
        self._lines[()] = node.start_mark.line + 1
        value = self._value(node, ())
        return Document(value, self._lines, tuple(self._twice))

    def _value(self, node: Any, path: Path) -> Any:
        import yaml

        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise UsageError(f"{self._name}: holds more than a template does: its aliases are repeated too often")
        if isinstance(node, yaml.MappingNode):
            own = [pair for pair in node.value if pair[0].tag != _MERGE]
            merged = self._merged([value for key, value in node.value if key.tag == _MERGE], path)
            return {**merged, **dict(self._pairs(own, path))}
        if isinstance(node, yaml.SequenceNode):
            return [self._item(child, (*path, index)) for index, child in enumerate(node.value)]
        return _scalar(node)

    def _item(self, node: Any, path: Path) -> Any:
        self._lines[path] = node.start_mark.line + 1
        return self._value(node, path)

    def _merged(self, nodes: list[Any], path: Path) -> dict[str, Any]:
        """What `<<` brings from anchors elsewhere; of several the first one counts, and own keys before all."""
        import yaml

        found: dict[str, Any] = {}
        for node in nodes:
            for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
                if isinstance(one, yaml.MappingNode):
                    found = {**self._value(one, path), **found}
        return found

    def _pairs(self, pairs: list[tuple[Any, Any]], path: Path) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in pairs:
            key = str(key_node.value)
            inner = (*path, key)
            line = key_node.start_mark.line + 1
            if key in seen:
                self._twice.append((inner, line))
            seen.add(key)
            self._lines[inner] = line
            yield key, self._value(value_node, inner)


def _scalar(node: Any) -> Any:
    """A scalar as Kubernetes' tools read it: text, number, boolean or null; dates stay text."""
    text = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in ("yes", "true", "on")
        case "int" | "float":
            return _number(text.replace("_", ""))
    return text


def _number(text: str) -> int | float | str:
    """A number, or the text itself: a word with another tag, or a number for which Go has no room."""
    sign, digits = (text[:1], text[1:]) if text[:1] in ("-", "+") else ("", text)
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2].lower(), 8 if digits[:1] == "0" and digits != "0" else 10)
    most = 1 << 63 if sign == "-" else (1 << 64) - 1
    with suppress(ValueError):
        if len(digits) <= _MOST_DIGITS and (number := int(digits, base)) <= most:
            return -number if sign == "-" else number
    with suppress(ValueError):
        value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if math.isfinite(value) or text.lower().endswith((".inf", ".nan")):
            return value
    return text
