"""Recurring work by name: each name runs at most once at a time, and says when it is due next.

For work that outlives a call: current runs, open reports. It waits only through the workers, as the simulation needs.
"""

import heapq
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

from gha_step.runtime import Clock, Shares, Workers
from gha_step.telemetry import log

IDLE: Final = 60.0  # seconds
AFTER_FAILURE: Final = 60.0  # seconds
LONGEST: Final = 60.0  # seconds between two tries, unless more is asked for …
MOST_ASKED: Final = 600.0  # … and then no more than this
Name = TypeVar("Name")


def pause_after(failed: int, shortest: float, asked: float | None) -> float:
    """Seconds to the next try of what has failed so often: doubled each time, or as many as are asked for."""
    growing = min(shortest * 2.0 ** min(failed - 1, 10), LONGEST)
    return growing if asked is None else max(growing, min(asked, MOST_ASKED))


class Bell:
    """Wakes those who wait. Something changes first, then it rings: who waits looks again at what it waits for."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._rung: Future[None] = Future()

    def ring(self) -> None:
        """Let all that wait look again."""
        with self._lock:
            rung, self._rung = self._rung, Future()
        rung.set_result(None)

    def listen(self) -> "Future[None]":
        """What is done at the next ring: asked for before one looks, so that no ring is missed."""
        with self._lock:
            return self._rung

    def wait(self, rung: "Future[None]", seconds: float) -> None:
        """Wait for a ring for so long."""
        self._workers.join(rung, seconds)


class Rounds(Generic[Name]):
    """Turns by name, on a bounded set of threads; of one share, whose turn came first is first.

    :param turn: does one turn, and gives the seconds until the next one; ``None``: there is none.
    :param at_once: how many turns may go on at the same time, shared as `Shares` has it.
    :param share: on whose behalf a turn is: whoever has many that take long keeps nobody else waiting.
    """

    def __init__(
        self,
        turn: Callable[[Name], float | None],
        *,
        clock: Clock,
        workers: Workers,
        at_once: int,
        what: str,
        share: Callable[[Name], str] = lambda name: "",
    ) -> None:
        self._turn = turn
        self._clock = clock
        self._workers = workers
        self._shares = Shares(at_once)
        self._share = share
        self._what = what
        self._bell = Bell(workers)
        self._lock = threading.Lock()
        self._due: dict[Name, float] = {}  # monotonic
        self._heaps: OrderedDict[str, list[tuple[float, int, Name]]] = OrderedDict()  # who waited longest first
        self._numbers = itertools.count()
        self._at_work: dict[Name, str] = {}
        self._stopped = False

    def soon(self, name: Name, seconds: float = 0.0) -> None:
        """A turn is due in so many seconds, or earlier if it was already. It is never missed, even during a turn."""
        due = self._clock.monotonic() + seconds
        with self._lock:
            if self._due.get(name, due + 1.0) <= due:
                return
            self._due[name] = due
            if name in self._at_work:
                return  # its end puts it in line
            self._line_up(name)
        self._bell.ring()

    def forget(self, name: Name) -> None:
        """No turn is due, unless one goes on."""
        with self._lock:
            self._due.pop(name, None)

    def stop(self) -> None:
        """Give no more turns; those that go on end by themselves."""
        self._stopped = True
        self._bell.ring()

    def run(self) -> None:
        """Give turns until `stop`."""
        while not self._stopped:
            rung = self._bell.listen()
            for name in self._ready():
                self._workers.spawn(lambda name=name: self._one(name))  # type: ignore[misc]
            self._bell.wait(rung, self._pause())

    def _ready(self) -> list[Name]:
        now, ready = self._clock.monotonic(), []
        with self._lock:
            while (name := self._next(now)) is not None:
                ready.append(name)
        return ready

    def _next(self, now: float) -> Name | None:
        """The next one whose turn has come and may begin, of each share in turn."""
        for share, heap in list(self._heaps.items()):
            while heap and self._due.get(heap[0][2]) != heap[0][0]:  # it was asked for earlier, or forgotten
                heapq.heappop(heap)
            if not heap:
                del self._heaps[share]
            elif heap[0][0] <= now and self._shares.take(share):
                name = heapq.heappop(heap)[2]
                del self._due[name]
                self._at_work[name] = share
                self._heaps.move_to_end(share)
                return name
        return None

    def _line_up(self, name: Name) -> None:
        heap = self._heaps.setdefault(self._share(name), [])
        heapq.heappush(heap, (self._due[name], next(self._numbers), name))

    def _pause(self) -> float:
        with self._lock:
            due = min(
                (heap[0][0] for share, heap in self._heaps.items() if heap and self._shares.may(share)), default=None
            )
        return IDLE if due is None else min(max(0.01, due - self._clock.monotonic()), IDLE)

    def _one(self, name: Name) -> None:
        pause: float | None = AFTER_FAILURE
        try:
            pause = self._turn(name)
        except Exception:  # noqa: BLE001  a thread has nobody else to tell, and the next turn may do better
            log.exception("%s: a turn failed", self._what)
        finally:
            due = None if pause is None else self._clock.monotonic() + pause
            with self._lock:
                self._shares.give(self._at_work.pop(name))
                if due is not None:
                    self._due[name] = min(due, self._due.get(name, due))
                if name in self._due:
                    self._line_up(name)
            self._bell.ring()
