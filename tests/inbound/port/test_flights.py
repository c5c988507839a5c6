"""What several ask for at once is asked once."""

from concurrent.futures import Future
from threading import Event
from typing import Any

import pytest

from gha_step.inbound.port.flights import Flights
from gha_step.runtime import ThreadWorkers
from tests.support.clock import LONG, eventually


class Watched(ThreadWorkers):
    """Threads, and how many have begun to wait."""

    waiting = 0

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        self.waiting += 1
        return super().join(job, seconds)


class Asked:
    """Asks when it is let, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.answered = Event()
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.count += 1
        assert self.answered.wait(LONG)
        if self.error is not None:
            raise self.error
        return self.count


@pytest.mark.parametrize("error", [None, ValueError("no answer")])
def test_all_who_come_meanwhile_share_one_request_and_its_end(error: Exception | None) -> None:
    threads, ask = Watched(4, "ask"), Asked()
    flights: Flights[str, int] = Flights(threads)
    ask.error = error
    jobs = [threads.spawn(lambda: flights.share("one", ask, 30.0))]
    eventually(lambda: ask.count)
    jobs += [threads.spawn(lambda: flights.share("one", ask, 30.0)) for _ in range(2)]
    other = threads.spawn(lambda: flights.share("another", ask, 30.0))
    eventually(lambda: (ask.count, threads.waiting) == (2, 2))
    ask.answered.set()
    assert {str(job.exception(LONG)) if error else job.result(LONG) for job in jobs} == {"no answer" if error else 2}
    assert str(other.exception(LONG)) == "no answer" if error else other.result(LONG) == 2
    ask.error = None
    assert flights.share("one", ask, 30.0) == ask.count > 2


def test_who_waits_gives_up_after_its_time() -> None:
    threads, ask = ThreadWorkers(1, "ask"), Asked()
    flights: Flights[str, int] = Flights(threads)
    threads.spawn(lambda: flights.share("one", ask, 30.0))
    eventually(lambda: ask.count)
    with pytest.raises(TimeoutError):
        flights.share("one", ask, 0.01)
    ask.answered.set()
