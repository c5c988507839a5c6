"""Counts of records by state, for stores where counting means reading all records from another server.

A reader of the metrics gets the last count and waits at most a second for a new one.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from gha_step.contract.errors import LedgerUnavailable
from gha_step.ledger.store import Standing
from gha_step.runtime import Clock, Workers

AGAIN_AFTER: Final = 30.0  # seconds: Prometheus asks every 15 to 60
WAIT: Final = 1.0  # seconds; a scrape may take ten
SERVES: Final = 20.0  # times as long as it took
BELIEVED_FOR: Final = 120.0  # seconds


class Paced:
    """A count by this very process: made anew for each reader as long as it costs little.

    :param count: counts anew.
    """

    def __init__(self, count: Callable[[], dict[str, Standing]], clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, dict[str, Standing]] | None = None  # and until when it serves

    def census(self) -> dict[str, Standing]:
        """The newest count that there is: one that took long serves twenty times as long."""
        with self._lock:
            begun = self._clock.monotonic()
            if self._last is None or begun >= self._last[0]:
                counted = self._count()
                ended = self._clock.monotonic()
                self._last = ended + SERVES * (ended - begun), counted
            return self._last[1]


class Recount:
    """:param count: counts anew, however long that takes."""

    def __init__(self, count: Callable[[], dict[str, Standing]], clock: Clock, workers: Workers) -> None:
        self._count = count
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._job: Future[dict[str, Standing]] | None = None
        self._begun = 0.0
        self._last: tuple[float, dict[str, Standing]] | None = None

    def census(self) -> dict[str, Standing]:
        """The newest count that there is.

        :raises LedgerUnavailable: there is none of the last two minutes.
        """
        now = self._clock.monotonic()
        with self._lock:
            if self._job is None or (self._job.done() and now - self._begun >= AGAIN_AFTER):
                self._begun = now
                self._job = self._workers.spawn(self._count)
            job, begun = self._job, self._begun
        self._workers.join(job, WAIT)
        trouble: Exception = LedgerUnavailable("the ledger's records have not been counted yet")
        if job.done():
            try:
                counted = job.result()
            except LedgerUnavailable as error:
                trouble = error
            else:
                with self._lock:
                    self._last = (begun, counted)
        with self._lock:
            last = self._last
        if last is None or now - last[0] > BELIEVED_FOR:
            raise trouble
        return last[1]
