"""At most one dispatch, whatever the way to the API server loses, delays or brings late (ledger.md, rule 4)."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from gha_step.emulator import Delay, GitHub
from gha_step.ledger.keys import step_key
from gha_step.ledger.kubernetes import RECORDS, KubernetesStore
from gha_step.ledger.record import Record, State
from tests.ledger.clusters import BRIEF, Granted, granted
from tests.ledger.records import record
from tests.support.calls import output
from tests.support.clock import LONG, eventually
from tests.support.cluster import Cluster
from tests.support.core import Program, Start
from tests.support.ledger import FaultyStore
from tests.support.network import FaultyConnector
from tests.support.relay import Relay, relay

pytestmark = pytest.mark.cluster

KEY = step_key("demo", "uid-1", "dispatch")


@pytest.fixture
def wire(cluster: Cluster) -> Iterator[Relay]:
    """The way to the API server."""
    port = urlsplit(cluster.url).port
    assert port is not None
    with relay(port) as running:
        yield running


@pytest.fixture
def place(cluster: Cluster, wire: Relay) -> Granted:
    return granted(cluster, "demo", port=wire.port)


@pytest.fixture(params=["nothing", "reserved"])
def store(place: Granted, request: pytest.FixtureRequest) -> FaultyStore:
    """Where there is nothing yet the write that counts is a POST, else a PUT."""
    if request.param == "reserved":
        place.store.write(record(alias="dispatch", version=0, promotion="test.01abc.def5678", promotion_uid="uid-1"))
    return FaultyStore(place.store)


def stands(place: Granted) -> Record | None:
    """The record, as a client without faults reads it."""
    return KubernetesStore(place.elsewhere(place.cluster.admin), None).read("demo", KEY)


def becomes(place: Granted, state: State) -> bool:
    """Wait until the record has come to this state."""

    def has() -> bool:
        found = stands(place)
        return found is not None and found.state is state

    eventually(has)
    return True


def known_run(place: Granted) -> int | None:
    found = stands(place)
    return None if found is None or found.run is None else found.run.id


class Before:
    """A hook before each write of `sending`: ``acts`` one after the other. What they lose is not waited for long."""

    def __init__(self, place: Granted, *acts: Callable[[], object]) -> None:
        self._place = place
        self._acts = list(acts)

    def __call__(self, written: Record) -> None:
        self.patience()
        if written.state is State.SENDING and self._acts:
            self._acts.pop(0)()
            self._place.api.timeout = BRIEF

    def patience(self) -> None:
        """Before a read: it is answered."""
        self._place.api.timeout = LONG


def lose(store: FaultyStore, place: Granted, *acts: Callable[[], object]) -> None:
    """The answers to the next writes of `sending`."""
    store.before_write = before = Before(place, *acts)
    store.before_read = before.patience


def test_a_write_that_was_applied_and_whose_answer_was_lost_is_ours(
    program: Program, github: GitHub, store: FaultyStore, place: Granted, wire: Relay
) -> None:
    store.real.read("demo", KEY)  # a connection is open, and the next request goes over it
    lose(store, place, wire.mute)
    result = program.follow()
    assert output(result)["runID"] == github.runs[0].id == known_run(place)
    assert github.count("dispatch") == len(github.runs) == 1


def test_a_write_that_was_never_applied_is_repeated(
    program: Program, github: GitHub, store: FaultyStore, place: Granted, wire: Relay
) -> None:
    store.real.read("demo", KEY)
    lose(store, place, wire.hold)
    assert program.follow().status == "Succeeded"
    wire.release()  # now it comes, and is too late
    assert program.call().status == "Succeeded"
    assert github.count("dispatch") == len(github.runs) == 1


def test_a_write_that_is_applied_after_we_looked_meets_our_repeated_one(
    program: Program, github: GitHub, store: FaultyStore, place: Granted, wire: Relay
) -> None:
    arrived: list[bool] = []

    def arrives() -> None:
        wire.release()
        arrived.append(becomes(place, State.SENDING))

    store.real.read("demo", KEY)
    lose(store, place, wire.hold, arrives)
    assert program.follow().status == "Succeeded"
    assert arrived == [True]
    assert github.count("dispatch") == len(github.runs) == 1


def test_an_abandoned_attempt_that_arrives_later_is_taken_back_and_sent_once(
    program: Program, github: GitHub, store: FaultyStore, place: Granted, wire: Relay, connector: FaultyConnector
) -> None:
    def hold() -> None:
        store.real.read("demo", KEY)  # over the connection that is held next
        wire.hold()

    lose(store, place, hold, hold, hold)
    first = program.call(reply_within=LONG)
    assert first.status == "Running"
    assert "nothing is sent without the ledger" in (first.message or "")
    assert "no answer within" in (first.message or "")
    assert connector.posts == 0
    wire.release()
    assert becomes(place, State.SENDING)
    abandoned = stands(place)
    assert program.follow().status == "Succeeded"
    sent = stands(place)
    assert abandoned is not None
    assert sent is not None
    assert sent.nonce != abandoned.nonce
    assert github.count("dispatch") == len(github.runs) == 1


def test_a_conflict_by_another_process_lets_one_of_both_send(
    process: Start, github: GitHub, store: FaultyStore
) -> None:
    """Both read the same version, and both write `sending`."""
    both = threading.Barrier(2)

    def together(written: Record) -> None:
        if written.state is State.SENDING and not both.broken:
            both.wait(LONG)
            both.abort()

    store.before_write = together
    first, second = process(), process()
    results: list[str] = []
    threads = [threading.Thread(target=lambda one=one: results.append(one.follow().status)) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["Succeeded", "Succeeded"]
    assert github.count("dispatch") == len(github.runs) == 1


def test_while_the_api_server_is_away_nothing_is_sent_and_afterwards_it_is(
    program: Program, github: GitHub, place: Granted, cluster: Cluster
) -> None:
    with cluster.away(), place.impatient():
        for _ in range(3):
            result = program.call()
            assert result.status == "Running"
            assert (result.message or "").startswith("nothing is sent without the ledger")
            assert result.retry_after == 10
            program.clock.sleep(60)
    assert github.count() <= 1, "at most a first look at the runs"
    assert program.follow().status == "Succeeded"
    assert github.count("dispatch") == 1


def test_an_exact_id_is_told_while_the_api_server_is_away_and_written_when_it_is_back(
    program: Program,
    github: GitHub,
    store: FaultyStore,
    place: Granted,
    cluster: Cluster,
    connector: FaultyConnector,
) -> None:
    github.faults.add(Delay(0.1), "dispatch")
    is_back, tries = threading.Event(), itertools.count()

    def again(written: Record) -> None:
        """However long it is away: by the clock of the tests the minutes pass for which it is tried again."""
        if written.state is State.ACCEPTED and next(tries):
            assert is_back.wait(LONG)

    store.before_write = again
    with ExitStack() as away:

        def leave(data: bytes) -> None:
            if data.startswith(b"POST"):
                away.enter_context(cluster.away())
                away.enter_context(place.impatient())

        connector.on_send = leave
        for _ in range(2):
            assert output(program.call(await_written=False))["runID"] == github.runs[0].id
    is_back.set()
    assert becomes(place, State.ACCEPTED)
    assert known_run(place) == github.runs[0].id
    assert github.count("dispatch") == 1


def test_a_record_that_is_deleted_under_our_feet_is_made_again_from_what_we_know(
    program: Program, github: GitHub, place: Granted, connector: FaultyConnector
) -> None:
    def delete(data: bytes) -> None:
        if data.startswith(b"POST"):
            place.cluster.kubectl("delete", "wfd", KEY, "--namespace", place.namespaces["demo"])

    connector.on_send = delete
    assert output(program.follow())["runID"] == github.runs[0].id
    assert known_run(place) == github.runs[0].id
    place.cluster.kubectl("delete", "wfd", KEY, "--namespace", place.namespaces["demo"])
    assert output(program.call())["runID"] == github.runs[0].id
    assert github.count("dispatch") == 1


def test_a_record_that_is_being_deleted_before_sending_lets_nothing_be_sent(
    program: Program, store: FaultyStore, github: GitHub, place: Granted
) -> None:
    made = stands(place) or place.store.write(record(alias="dispatch", version=0))
    body = place.cluster.admin.get(place.path(RECORDS, "demo", made.key))
    body["metadata"]["finalizers"] = ["example.com/keep"]
    place.cluster.admin.replace(place.path(RECORDS, "demo", made.key), body)
    place.cluster.kubectl("delete", "wfd", KEY, "--namespace", place.namespaces["demo"], "--wait=false")
    result = program.call()
    assert result.status == "Running"
    assert "is being deleted" in (result.message or "")
    assert github.count() == 0
