"""Metrics of a ledger that is another server's: never slow, never old."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.ledger.recount import AGAIN_AFTER, BELIEVED_FOR, SERVES, Paced, Recount
from gha_step.ledger.store import Standing
from gha_step.runtime import ThreadWorkers
from tests.support.clock import LONG, VirtualClock


class Ledger:
    """Counts what it is told, when it is let."""

    def __init__(self) -> None:
        self.records = 1
        self.asked = 0
        self.error: LedgerUnavailable | None = None
        self.answers = threading.Event()
        self.answers.set()

    def count(self) -> dict[str, Standing]:
        self.asked += 1
        self.answers.wait(LONG)
        if self.error is not None:
            raise self.error
        return {"accepted": Standing(self.records)}


class Patient(ThreadWorkers):
    """A ledger that answers is not given up because the machine is busy."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(1, "count")
        self._ledger = ledger

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return super().join(job, LONG if self._ledger.answers.is_set() else seconds)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger()
    yield made
    made.answers.set()


@pytest.fixture
def recount(ledger: Ledger, clock: VirtualClock) -> Recount:
    return Recount(ledger.count, clock, Patient(ledger))


def test_a_count_serves_for_half_a_minute(recount: Recount, ledger: Ledger, clock: VirtualClock) -> None:
    assert recount.census() == {"accepted": Standing(1)}
    ledger.records = 2
    assert recount.census() == {"accepted": Standing(1)}
    clock.forward(AGAIN_AFTER)
    assert recount.census() == {"accepted": Standing(2)}
    assert ledger.asked == 2


def test_a_ledger_that_does_not_answer_is_waited_for_a_second_and_asked_once(
    recount: Recount, ledger: Ledger, clock: VirtualClock
) -> None:
    assert recount.census() == {"accepted": Standing(1)}
    ledger.answers.clear()
    clock.forward(AGAIN_AFTER)
    assert recount.census() == {"accepted": Standing(1)}, "the last count"
    clock.forward(AGAIN_AFTER)
    assert recount.census() == {"accepted": Standing(1)}
    assert ledger.asked == 2
    clock.forward(BELIEVED_FOR)
    with pytest.raises(LedgerUnavailable):
        recount.census()


def test_why_it_cannot_be_counted_is_told(recount: Recount, ledger: Ledger, clock: VirtualClock) -> None:
    ledger.error = LedgerUnavailable("you may not list workflowdispatches")
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="may not list"):
            recount.census()
    assert ledger.asked == 1
    ledger.error = None
    clock.forward(AGAIN_AFTER)
    assert recount.census() == {"accepted": Standing(1)}


# ---------------------------------------------------------------- counts by this process


def test_a_count_that_costs_nothing_is_made_anew_and_one_that_took_long_serves_for_long(clock: VirtualClock) -> None:
    counts, seconds = [0], [0.0]

    def count() -> dict[str, Standing]:
        counts[0] += 1
        clock.sleep(seconds[0])
        return {"accepted": Standing(counts[0])}

    paced = Paced(count, clock)
    assert [paced.census()["accepted"].records for _ in range(3)] == [1, 2, 3]
    seconds[0] = 1.0
    assert [paced.census()["accepted"].records for _ in range(3)] == [4, 4, 4]
    clock.sleep(SERVES + 0.1)
    assert paced.census() == {"accepted": Standing(5)}
