"""`python -m tests.bench.in_kubernetes`: Secrets and ledger on a real kube-apiserver, which shares the cores."""

import base64
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from tests.ledger.clusters import LEDGER_RULES, install
from tests.support.cluster import Cluster, missing
from tests.support.cluster import running as running_cluster

from .load import allow_many_files, at_once, throughput
from .programs import PROJECT, Program, Room, StandIn, gha_step, running, stand_in
from .table import p95, spread, table

PROMOTIONS: Final = 1000
ROUNDS: Final = 200
CONNECTIONS: Final = 16
WINDOW: Final = 5.0  # seconds
SECRET: Final = "github-credentials"


def _command(room: Room, port: int, ledger: Path) -> list[str]:
    del ledger
    return gha_step(room, port, secrets="kubernetes", ledger="kubernetes", projects=PROJECT, log_level="warning")


IN_KUBERNETES: Final = Program("gha-step, Secrets and ledger in Kubernetes", _command)


def in_kubernetes(room: Room, github: StandIn, cluster: Cluster) -> None:
    """Start, memory, cost of one dispatch, throughput, and a thousand promotions at the same moment."""
    os.environ["KUBECONFIG"] = str(_prepare(cluster, github))
    starts, dispatches = [], []
    for _ in range(5):
        with running(IN_KUBERNETES, room) as server:
            starts.append(server.start_seconds)
    with running(IN_KUBERNETES, room) as server:
        for _ in range(20):
            server.dispatch()
        cpu = -server.cpu_seconds()
        dispatches += [server.dispatch() for _ in range(ROUNDS)]
        cpu += server.cpu_seconds()
        resident, _ = server.memory()
        load = throughput(server.port, CONNECTIONS, WINDOW)
    table(
        f"Secrets and ledger in Kubernetes, {ROUNDS} rounds, GitHub answers at once",
        [
            "start to ready ms",
            "RSS MiB",
            "p50 ms",
            "p95 ms",
            "CPU ms each",
            f"dispatches/s, {CONNECTIONS} callers",
            "errors",
        ],
        [
            [
                spread(starts, 1000),
                f"{resident:.0f}",
                spread(dispatches, 1000, 1),
                f"{p95(dispatches) * 1000:.1f}",
                f"{cpu / ROUNDS * 1000:.1f}",
                f"{len(load.times) / load.seconds:.0f}",
                str(len(load.errors)),
            ]
        ],
        *load.errors[:3],
    )
    rows, notes = [], []
    for seconds in (0.05, 1.0):
        with running(IN_KUBERNETES, room) as server:
            server.dispatch()
            allow_many_files(PROMOTIONS)
            github.hold_back(seconds)
            load = at_once(server.port, PROMOTIONS)
            github.hold_back(0)
            _, peak = server.memory()
            cells = [len(load.times), len(load.errors), f"{load.seconds:.2f}", load.calls, f"{peak:.0f}"]
            times = [f"{median(load.times):.2f}", f"{p95(load.times):.2f}"] if load.times else ["", ""]
            rows.append([f"{seconds * 1000:.0f} ms", *map(str, cells), *times])
            notes += [*load.errors[:3], *server.log().splitlines()[-3:]]
    table(
        f"{PROMOTIONS} promotions at the same moment, against one gha-step, ledger in Kubernetes (goal: no error)",
        ["GitHub takes", "runs", "errors", "all done s", "calls", "VmHWM MiB", "p50 s", "p95 s"],
        rows,
        *notes,
    )


def _prepare(cluster: Cluster, github: StandIn) -> Path:
    """The project, its Secret, and a kubeconfig with just the rights that are needed."""
    install(cluster)
    cluster.admin.create("/api/v1/namespaces", {"metadata": {"name": PROJECT}})
    data = {"accessToken": "a-token", "baseURL": github.url}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    cluster.admin.create(f"/api/v1/namespaces/{PROJECT}/secrets", {"metadata": {"name": SECRET}, "data": encoded})
    token = cluster.service_account(PROJECT)
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get"]}
    cluster.allow(PROJECT, [rule, *LEDGER_RULES])
    return cluster.kubeconfig(token, PROJECT)


def main() -> int:
    """Run it alone."""
    absent = missing(os.environ)
    if absent:
        print(absent, file=sys.stderr)
        return 1
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gha-step-bench-"))
        github = stack.enter_context(stand_in())
        cluster = stack.enter_context(running_cluster(Path(os.environ["KUBEBUILDER_ASSETS"])))
        in_kubernetes(Room(Path(folder), github), github, cluster)
    return 0


if __name__ == "__main__":
    sys.exit(main())
