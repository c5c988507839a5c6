"""A process that follows the steps that it serves itself, beside others on one ledger: a sidecar in its pod."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gha_step.ledger.record import Record
from gha_step.ledger.store import Store
from gha_step.runtime import SystemClock, ThreadWorkers
from gha_step.wiring.abort import AbortParts
from tests.inbound.abort.conftest import Watched
from tests.support.calls import config
from tests.support.clock import eventually
from tests.support.cluster import api_at
from tests.support.ledger import FaultyStore

Begin = Callable[[str | None], AbortParts]


class Shared(FaultyStore):
    """As the ledger in Kubernetes: others may have it as well, and a record may be kept by one of them."""

    def __init__(self, real: Store) -> None:
        super().__init__(real)
        self.exclusive = False
        self.held = False

    def owed(self) -> Iterator[Record]:
        return iter([record.model_copy(update={"held": self.held}) for record in super().owed()])

    def read(self, project: str, key: str) -> Record | None:
        found = super().read(project, key)
        return None if found is None else found.model_copy(update={"held": self.held})


@pytest.fixture
def store(store: FaultyStore) -> Shared:
    return Shared(store.real)


@pytest.fixture
def begin(watched: Watched, store: Shared, tmp_path: Path) -> Iterator[Begin]:
    made: list[AbortParts] = []
    cluster = api_at(watched.server.url, tmp_path)

    def start(pod: str | None) -> AbortParts:
        parts = AbortParts(
            watched.program.core,
            cluster=cluster,
            lease=None,
            pod=pod,
            clock=SystemClock(),
            workers=ThreadWorkers,
            telemetry=watched.program.telemetry,
        )
        made.append(parts)
        parts.start()
        return parts

    yield start
    for parts in made:
        parts.stop()


def dispatched(watched: Watched, pod: str | None = None) -> None:
    """By a process in this pod."""
    watched.program = watched._start(pod=pod)
    watched.dispatch()
    watched.ends("Aborted")


def test_it_follows_what_it_has_dispatched_from_the_call_on(watched: Watched, begin: Begin) -> None:
    begin(None)
    watched.ends("Aborted")
    watched.github.repository("myorg/my-app").workflow("deploy.yml").runs_for = 1e6  # type: ignore[union-attr]
    for _ in range(2):  # the second hears how the first has ended
        watched.program.call(config(cancelOnAbort=True))
    eventually(lambda: watched.duty.closed)
    assert watched.cancels == (1, 0)
    assert b'gha_step_cancel_on_abort_total{outcome="cancelled"} 1.0' in watched.program.telemetry.exposition()


def test_it_goes_on_with_what_an_earlier_process_of_its_pod_has_dispatched(watched: Watched, begin: Begin) -> None:
    dispatched(watched, "pod-1")
    begin("pod-1")
    eventually(lambda: watched.duty.closed)
    assert watched.cancels == (1, 0)


def test_it_leaves_other_pods_and_what_a_follower_keeps_alone(watched: Watched, begin: Begin, store: Shared) -> None:
    dispatched(watched, "pod-1")
    other = begin("pod-2")
    store.held = True
    kept = begin("pod-1")
    eventually(lambda: kept._duties is not None and kept._duties.leads)
    kept._duties._list()  # type: ignore[union-attr]
    assert kept._duties._projects == {}  # type: ignore[union-attr]
    assert other._duties is None
    assert watched.cancels == (0, 0)
