"""A place for the ledger on a real API server: its resources, and an identity with just its rights."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from gha_step.kube import Invalid, KubeApi, KubeError
from gha_step.ledger.kubernetes import API_VERSION, GATES, KIND, RECORDS, RUN_LABEL, KubernetesStore, Resource
from tests.support.clock import LONG, eventually
from tests.support.cluster import Cluster

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
LEDGER_RULES: Final = tuple(
    {"apiGroups": [resource.group], "resources": [resource.plural], "verbs": list(resource.verbs)}
    for resource in (RECORDS, GATES)
)

NAME: Final = f"{RECORDS.plural}.{RECORDS.group}"
BRIEF: Final = 0.7  # seconds, for what is never answered
FIELDS: Final = frozenset(("step", "request", "progress", "run", "report", "abort"))

_installing: Final = threading.Lock()
_installed: Final[WeakSet[Cluster]] = WeakSet()


@dataclass(frozen=True)
class Granted:
    """Namespaces in which one ServiceAccount may keep a ledger; ``namespaces``: by the names that tests use."""

    cluster: Cluster
    api: "_Elsewhere"
    store: KubernetesStore
    namespaces: Mapping[str, str]
    token: str

    def elsewhere(self, api: KubeApi) -> "_Elsewhere":
        """Another identity, in the same namespaces."""
        return _Elsewhere(api, self.namespaces)

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Nothing will be answered, and nobody waits for it as long as for what will be."""
        self.api.timeout = BRIEF
        try:
            yield
        finally:
            self.api.timeout = LONG

    def path(self, resource: Resource, project: str, name: str = "") -> str:
        """As the administrator asks for it."""
        return resource.path(self.namespaces[project], name)


class _Elsewhere(KubeApi):
    """The same API server, on which the namespaces that tests name are others, new ones for each test."""

    def __init__(self, real: KubeApi, namespaces: Mapping[str, str]) -> None:
        self._real = real
        self._name = real._name
        self._namespaces = namespaces
        self._long_ones = real._long_ones

    @property
    def timeout(self) -> float:
        """Seconds for one request."""
        return self._real._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._real._timeout = seconds
        vars(self._real).pop("_urlopen", None)  # which was made with the limit before

    def _request(self, method: str, path: str, *rest: Any) -> dict[str, Any]:
        before, found, after = path.partition("/namespaces/")
        name, _, object_path = after.partition("/")
        there = f"{before}/namespaces/{self._namespaces[name]}/{object_path}" if found else path
        return self._real._request(method, there, *rest)


def install(cluster: Cluster) -> None:
    """The CustomResourceDefinition, as a user installs it; once per cluster."""
    with _installing:
        if cluster not in _installed:
            cluster.kubectl("apply", "-k", str(DEPLOY / "crd"))
            cluster.told(NAME)
            _installed.add(cluster)


def define(cluster: Cluster, *what: str) -> None:
    """Apply another version of the definition, as a user does, and wait until it is the one that is served."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *what)
    await_definition(cluster)


def await_definition(cluster: Cluster) -> None:
    """Wait until the API server checks records by the definition as it stands: it learns of a change later.

    A record with every field that any version has is refused for each field that this one does not know.
    """
    standing = cluster.admin.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}")
    (version,) = standing["spec"]["versions"]
    known = set(version["schema"]["openAPIV3Schema"]["properties"])
    probe = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "probe"}, **{field: {} for field in FIELDS}}

    def served() -> bool:
        try:
            cluster.admin.create(RECORDS.path("default"), probe, {"dryRun": "All", "fieldValidation": "Strict"})
        except Invalid as error:
            return {field for field in FIELDS if f'unknown field "{field}"' in str(error)} == FIELDS - known
        except KubeError:  # the old one is still served, or none
            return False
        return False

    eventually(served)


def await_runs(cluster: Cluster, namespace: str, *run_ids: int | str, records: int = 1) -> None:
    """Wait until the records of each run are in the API server's cache, where a webhook's are looked for."""
    path = RECORDS.path(namespace)
    for run_id in run_ids:
        cached = {"labelSelector": f"{RUN_LABEL}={run_id}", "resourceVersion": "0"}
        eventually(lambda cached=cached: len([*cluster.admin.items(path, cached)]) == records)  # type: ignore[misc]


def granted(cluster: Cluster, *projects: str, port: int | None = None) -> Granted:
    """New namespaces for ``projects``, the ledger's resources, and an identity with just the ledger's rights.

    :param port: where the API server is reached by way of something else, on loopback.
    """
    install(cluster)
    namespaces = {project: cluster.namespace(project) for project in projects}
    home = namespaces[projects[0]]
    token = cluster.service_account(home)
    for namespace in namespaces.values():
        cluster.allow(namespace, LEDGER_RULES, account=f"{home}:default")
    api = _Elsewhere(cluster.api(token, port=port), namespaces)
    return Granted(cluster, api, KubernetesStore(api, frozenset(projects)), namespaces, token)
