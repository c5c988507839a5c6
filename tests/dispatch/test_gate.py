"""The gate only delays, and lets one dispatch at a time through wherever it can be used."""

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.emulator import GitHub
from gha_step.ledger.record import Record
from gha_step.ledger.store import Conflict
from gha_step.steps.dispatch.gate import TAKEOVER, UNUSABLE_AGAIN
from tests.ledger.records import TARGET
from tests.ledger.store_contract import fresh
from tests.support.calls import config, output
from tests.support.clock import VirtualClock
from tests.support.core import Program
from tests.support.ledger import FaultyStore

from .test_owed_reports import call

UNUSABLE = "the Lease cannot be used"


@pytest.fixture
def github(clock: VirtualClock) -> GitHub:
    return GitHub("ghes-3.19", now=clock.now)


def test_whoever_is_overtaken_just_after_an_outage_waits_for_the_one_who_was_quicker(
    program: Program, store: FaultyStore, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    begun, conflicts = clock.monotonic(), iter([Conflict("another was quicker")])

    def before_lease() -> None:
        if clock.monotonic() < begun + TAKEOVER:
            raise LedgerUnavailable("forbidden for a moment", 1.0)
        for conflict in conflicts:
            raise conflict

    store.before_lease = before_lease
    assert program.follow(config()).status == "Succeeded"
    assert next(conflicts, None) is None
    assert UNUSABLE not in caplog.text
    (record,) = store.records()
    assert store.read_lease("demo", record.target.short).holder == record.key


def test_a_gate_that_stays_unusable_delays_for_fifteen_seconds(
    program: Program, store: FaultyStore, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[float] = []

    def before_lease() -> None:
        asked.append(clock.now())
        raise LedgerUnavailable("forbidden", 1.0)

    store.before_lease = before_lease
    begun = clock.now()
    assert program.follow(config()).status == "Succeeded"
    assert UNUSABLE in caplog.text
    (record,) = store.records()
    assert record.sending_at is not None
    assert TAKEOVER <= record.sending_at - begun < 2 * TAKEOVER
    assert len(asked) <= TAKEOVER / UNUSABLE_AGAIN + 2, "what cannot be used may cost the API server most"


@pytest.fixture
def holder(store: FaultyStore, github_url: str) -> Record:
    """Another call's dispatch has the gate, and never begins."""
    target = TARGET.model_copy(update={"api_base": f"{github_url}/api/v3"})
    record = store.write(fresh("never-begins", target=target))
    store.write_lease(store.read_lease("demo", target.short).entered(record.key))
    return record


@pytest.mark.usefixtures("holder")
def test_who_forges_a_holder_that_never_begins_and_keeps_touching_the_gate_delays_a_step_for_a_minute_at_most(
    program: Program, store: FaultyStore, clock: VirtualClock
) -> None:
    def before_lease() -> None:
        raise Conflict("it was touched")

    store.before_lease = before_lease
    begun = clock.now()
    assert program.follow(config()).status == "Succeeded"
    (sent,) = [record.sending_at - begun for record in store.records() if record.sending_at is not None]
    assert sent < 60


def test_a_holder_that_keeps_trying_is_not_overtaken_and_one_that_stops_is(
    program: Program, store: FaultyStore, clock: VirtualClock, holder: Record
) -> None:
    held = [holder]
    begun = clock.now()

    def before_read() -> None:
        if len(held) <= (clock.now() - begun) / 5 and len(held) < 10:
            held.append(store.real.write(held[-1].model_copy(update={"timeout": len(held)})))

    store.before_read = before_read
    assert program.follow(config()).status == "Succeeded"
    (sent,) = [record.sending_at - begun for record in store.records() if record.sending_at is not None]
    assert 45 + TAKEOVER <= sent < 45 + 2 * TAKEOVER


@pytest.mark.usefixtures("holder")
def test_a_run_that_is_called_for_again_anyway_waits_without_a_thread(
    program: Program, clock: VirtualClock, github: GitHub, github_url: str
) -> None:
    begun = clock.monotonic()
    joined = call(program, github_url)
    assert clock.monotonic() == begun
    assert joined.task.note.queued
    assert not github.runs
    clock.forward(TAKEOVER)
    call(program, github_url)
    assert len(github.runs) == 1


def test_a_look_that_cannot_decide_asks_the_ledger_nothing_and_writes_only_what_is_new(
    program: Program, store: FaultyStore
) -> None:
    asked: list[int] = []
    written: list[int] = []
    store.before_others = lambda: asked.append(len(written))
    store.after_write = lambda record: written.append(record.listings)
    result = program.follow(config(), promotion="")
    assert (result.status, output(result)["runIDSource"]) == ("Succeeded", "only-candidate")
    assert written[-2:] == [1, 2]  # the first look has seen it, the third says that it is ours
    assert asked == [len(written) - 1]
