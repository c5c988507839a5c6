"""The files of deploy/, as written and as kustomize renders them. It judges nothing."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml  # type: ignore[import-untyped]

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
PORT: Final = 9790

Manifest: TypeAlias = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    """What one file holds. :raises yaml.YAMLError: it is no YAML, or names a key twice."""
    return [document for document in yaml.load_all(path.read_text(), Loader=Strict) if document is not None]


def manifest(path: str) -> Manifest:
    """The one object of a file below deploy/."""
    (only,) = documents(DEPLOY / path)
    return only


def files() -> Iterator[Path]:
    """All YAML files."""
    yield from sorted(DEPLOY.rglob("*.yaml"))


def objects() -> Iterator[tuple[Path, Manifest]]:
    """All that becomes an object in a cluster."""
    for path in files():
        if path.name != "kustomization.yaml":
            for document in documents(path):
                yield path, document


def pod_settings(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's environment, as far as it is written; a reference counts as some text."""
    return {entry["name"]: str(entry.get("value", "by reference")) for entry in container.get("env", [])}


def rendered(folder: Path, kubectl: Path) -> list[Manifest]:
    """A kustomization's objects. :raises AssertionError: it cannot be rendered; with what kustomize says."""
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    return [document for document in yaml.load_all(done.stdout, Loader=Strict) if document is not None]


class Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's is ten times as fast
    """A key that stands twice is an error, as it is to Kubernetes."""


def _mapping(loader: Strict, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"stands twice: {twice}", node.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
