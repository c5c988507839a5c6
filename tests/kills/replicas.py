"""A lane with two servers at once on one ledger in Kubernetes, either of which may be killed at any moment."""

import base64
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from gha_step.ledger.keys import step_key
from gha_step.ledger.kubernetes import KubernetesStore
from gha_step.ledger.record import Record
from tests.ledger.clusters import LEDGER_RULES, install
from tests.support.calls import BEARER
from tests.support.cluster import Cluster
from tests.support.host import KargoHost, Promotion
from tests.support.ports import free_port
from tests.support.process import Served

from .rounds import Lane

REPLICAS: Final = 2
SECRET_RULE: Final[dict[str, Any]] = {
    "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["github"], "verbs": ["get"],
}  # fmt: skip


class Replicas(Lane):
    """Each host of a promotion calls another replica. Killed, a replica comes back in its pod, as a container does."""

    hosts = (2, 2, 3)

    def __init__(self, cluster: Cluster, folder: Path, github: GitHub, url: str, *, marked: bool, seed: int) -> None:
        install(cluster)
        self._cluster = cluster
        self.project = cluster.namespace("kills")
        self._store = KubernetesStore(cluster.admin, None)
        self._turn = itertools.count()
        super().__init__(folder, github, url, marked=marked, seed=seed)

    def _open(self, url: str) -> None:
        data = {"accessToken": EXAMPLE_TOKEN, "baseURL": url}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self._cluster.admin.create(
            f"/api/v1/namespaces/{self.project}/secrets", {"metadata": {"name": "github"}, "data": encoded}
        )
        token = self._cluster.service_account(self.project)
        self._cluster.allow(self.project, [SECRET_RULE, *LEDGER_RULES])
        self._kubeconfig = self._cluster.kubeconfig(token, self.project)
        self._ports = [free_port() for _ in range(REPLICAS)]
        self._replicas = [self._replica(number) for number in range(REPLICAS)]
        self._killed = 0

    def _replica(self, number: int) -> Served:
        settings = {
            "GHA_STEP_HTTP_LISTEN": f"127.0.0.1:{self._ports[number]}",
            "GHA_STEP_SECRETS": "kubernetes",
            "GHA_STEP_LEDGER": "kubernetes",
            "GHA_STEP_POD_UID": f"pod-{number}",
            "GHA_STEP_SETTLE": "0s",
            "GHA_STEP_REPLY_WITHIN": self._reply_within,
            "GHA_STEP_LOG_LEVEL": "info",
            "KUBECONFIG": str(self._kubeconfig),
        }
        return Served(self._folder / str(number), settings)

    def kill(self) -> None:
        self._killed = self.dice.randrange(REPLICAS)
        self._replicas[self._killed].kill()

    def restart(self) -> None:
        self._replicas[self._killed] = self._replica(self._killed)

    def close(self) -> None:
        for replica in self._replicas:
            replica.kill()

    def host(self) -> KargoHost:
        return KargoHost(f"http://127.0.0.1:{self._ports[next(self._turn) % REPLICAS]}", BEARER, pace=0.5)

    def record(self, promotion: Promotion) -> Record | None:
        return self._store.read(self.project, step_key(self.project, promotion.uid, "dispatch"))


@contextmanager
def replicas(cluster: Cluster, folder: Path, *, old: bool, seed: int) -> Iterator[Replicas]:
    """Such a lane; ``old``: on GHES 3.19, which names no runs, with correlationInput."""
    github = GitHub("ghes-3.19" if old else "github.com")
    with serve(github) as url:
        opened = Replicas(cluster, folder, github, url, marked=old, seed=seed)
        try:
            yield opened
        finally:
            opened.close()
