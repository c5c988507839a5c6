"""YAML of templates with the line of every key and value. Pure; no text of a value is repeated in an error."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gha_step.inbound.shell.errors import UsageError

MAX_FILE: Final = 1 << 20  # bytes
MAX_DEPTH: Final = 100  # of lists and mappings within each other
MAX_NODES: Final = 200_000  # what aliases stand for counts each time
MAX_EVENTS: Final = 50_000  # of the text: keys, values, and where lists and mappings begin and end

_MERGE: Final = "tag:yaml.org,2002:merge"

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

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # twenty times as fast, where it was built
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
    import yaml

    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind not in ("null", "bool", "int", "float"):
        return node.value
    return getattr(yaml.SafeLoader(""), f"construct_yaml_{kind}")(node)
