"""A place for the ledger on a real API server: its resources, and an identity with just its rights."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from gha_step.kube import KubeApi
from gha_step.ledger.kubernetes import GATES, RECORDS, KubernetesStore, Resource
from tests.support.clock import eventually
from tests.support.cluster import Cluster

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
LEDGER_RULES: Final = tuple(
    {"apiGroups": [resource.group], "resources": [resource.plural], "verbs": list(resource.verbs)}
    for resource in (RECORDS, GATES)
)

_installing: Final = threading.Lock()
_installed: Final[WeakSet[Cluster]] = WeakSet()


@dataclass(frozen=True)
class Granted:
    """Namespaces in which one ServiceAccount may keep a ledger; ``namespaces``: by the names that tests use."""

    cluster: Cluster
    api: KubeApi
    store: KubernetesStore
    namespaces: Mapping[str, str]
    token: str

    def elsewhere(self, api: KubeApi) -> KubeApi:
        """Another identity, in the same namespaces."""
        return _Elsewhere(api, self.namespaces)

    def path(self, resource: Resource, project: str, name: str = "") -> str:
        """As the administrator asks for it."""
        return resource.path(self.namespaces[project], name)


class _Elsewhere(KubeApi):
    """The same API server, on which the namespaces that tests name are others, new ones for each test."""

    def __init__(self, real: KubeApi, namespaces: Mapping[str, str]) -> None:
        self._real = real
        self._name = real._name
        self._namespaces = namespaces

    def _request(self, method: str, path: str, *rest: Any) -> dict[str, Any]:
        before, found, after = path.partition("/namespaces/")
        name, _, object_path = after.partition("/")
        there = f"{before}/namespaces/{self._namespaces[name]}/{object_path}" if found else path
        return self._real._request(method, there, *rest)


def install(cluster: Cluster) -> None:
    """The CustomResourceDefinition, as a user installs it; once per cluster."""
    with _installing:
        if cluster not in _installed:
            definition = f"crd/{RECORDS.plural}.{RECORDS.group}"
            cluster.kubectl("apply", "-k", str(DEPLOY / "crd"))
            cluster.kubectl("wait", "--for=condition=Established", definition, "--timeout=30s")
            # It is told among the other kinds a moment later, and kubectl remembers for hours what it was told.
            kinds = ("api-resources", "--cached=false", "--categories=gha-step", "--output=name")
            eventually(lambda: RECORDS.plural in cluster.kubectl(*kinds))
            _installed.add(cluster)


def granted(cluster: Cluster, *projects: str, timeout: float = 4.0, port: int | None = None) -> Granted:
    """New namespaces for ``projects``, the ledger's resources, and an identity with just the ledger's rights.

    :param port: where the API server is reached by way of something else, on loopback.
    """
    install(cluster)
    namespaces = {project: cluster.namespace(project) for project in projects}
    home = namespaces[projects[0]]
    token = cluster.service_account(home)
    for namespace in namespaces.values():
        cluster.allow(namespace, LEDGER_RULES, account=f"{home}:default")
    api = _Elsewhere(cluster.api(token, timeout, port), namespaces)
    return Granted(cluster, api, KubernetesStore(api, frozenset(projects)), namespaces, token)
