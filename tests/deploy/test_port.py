"""Port's Deployment on a real API server with the shipped roles: two replicas, killed one after the other."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from gha_step.emulator.port import (
    EXAMPLE_CLIENT_ID,
    EXAMPLE_CLIENT_SECRET,
    Action,
    ActionRun,
    Port,
    example,
)
from gha_step.ledger.kubernetes import KubernetesStore
from gha_step.ledger.record import State
from tests.deploy.clusters import grant, prepare
from tests.deploy.manifests import manifest, pod_settings
from tests.support.clock import eventually
from tests.support.cluster import Cluster
from tests.support.github import NAMED, WORKFLOW
from tests.support.process import Served

pytestmark = pytest.mark.cluster

NAMESPACE: Final = manifest("port/namespace.yaml")["metadata"]["name"]
ACCOUNT: Final = manifest("port/serviceaccount.yaml")["metadata"]["name"]
RUNS: Final = 100
KILLS: Final = 6
END_WITHIN: Final = 1200.0  # seconds; it takes 40
QUICK: Final = {
    "GHA_STEP_PORTIO_POLL": "1s",
    "GHA_STEP_PORTIO_VISIBILITY": "4s",
    "GHA_STEP_PORTIO_TIMEOUT": "1s",
    "GHA_STEP_PORTIO_UNKNOWN": "1s",
    "GHA_STEP_SETTLE": "0s",
}


class Replicas:
    """Two, each with a pod UID of its own for each life."""

    def __init__(self, cluster: Cluster, folder: Path, port_url: str) -> None:
        token = cluster.service_account(NAMESPACE, ACCOUNT)
        container = manifest("port/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
        self._settings = pod_settings(container) | QUICK
        self._settings |= {
            "KUBECONFIG": str(cluster.kubeconfig(token, NAMESPACE)),
            "GHA_STEP_SECRETS": "kubernetes",
            "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
            "GHA_STEP_PORTIO_API": port_url,
        }
        self._folder = folder
        self._lives = 0
        self._running = [self._start(), self._start()]

    def _start(self) -> Served:
        self._lives += 1
        settings = self._settings | {"GHA_STEP_POD_UID": f"pod-{self._lives}"}
        return Served(self._folder / str(self._lives), settings)

    def kill(self, which: int) -> None:
        self._running[which].kill()
        self._running[which] = self._start()

    def close(self) -> None:
        for one in self._running:
            one.kill()


def test_two_replicas_end_all_runs_truly_whichever_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    github, port, dice = GitHub(), example(), random.Random(5000)
    known = 0  # runs that GitHub has named at least: the others of a batch may be on the wire when a replica is killed
    text = WORKFLOW.format(title=NAMED)
    github.repository("myorg/my-app").add_workflow("named.yml", text, queued_for=0.2, runs_for=1.0)
    with serve(github) as github_url, serve(port) as port_url:
        _installed(cluster, github_url)
        replicas = Replicas(cluster, tmp_path, port_url)
        try:
            pressed: list[ActionRun] = []
            store = KubernetesStore(cluster.admin, frozenset({NAMESPACE}))
            for kill in range(KILLS):
                batch = range(len(pressed), (kill + 1) * RUNS // KILLS)
                pressed += [_press(port, number) for number in batch]
                known += dice.randrange(len(batch) // 2, len(batch))
                eventually(lambda: store.census()[State.ACCEPTED].records >= known)  # noqa: B023  called here
                replicas.kill(kill % 2)
            deadline = time.monotonic() + END_WITHIN
            while not (all(one.ended for one in pressed) and not list(store.owed())):
                assert time.monotonic() < deadline, ([one for one in pressed if not one.ended], list(store.owed()))
                time.sleep(0.5)
        finally:
            replicas.close()
    started = Counter(run.inputs["image_tag"] for run in github.runs)
    assert max(started.values()) == 1, "never two runs of one press"
    for one in pressed:
        if one.label == "unknown":  # killed while GitHub had it, and the record can prove nothing
            assert one.status == "FAILURE"
        else:
            assert (one.status, started[str(one.properties["image_tag"])]) == ("SUCCESS", 1), one
    assert len(pressed) == RUNS
    assert sum(one.label == "unknown" for one in pressed) <= RUNS - known


def _press(port: Port, number: int) -> ActionRun:
    return port.press(Action(f"a{number % 5}", workflow="named.yml"), {"image_tag": f"tag-{number}"})


def _installed(cluster: Cluster, github_url: str) -> None:
    prepare(cluster)
    grant(cluster, *(manifest(f"port/{name}.yaml") for name in ("namespace", "serviceaccount", "role", "rolebinding")))
    for name, data in (
        ("port-credentials", {"clientId": EXAMPLE_CLIENT_ID, "clientSecret": EXAMPLE_CLIENT_SECRET}),
        ("github-credentials", {"accessToken": EXAMPLE_TOKEN, "baseURL": github_url}),
    ):
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        cluster.admin.create(path, {"metadata": {"name": name}, "stringData": data})
