"""Time and threads as parameters: nothing else in the program reads a clock, sleeps, or starts a thread.

The simulation replaces all of this; so no lock may be held across any of these calls.
"""

import math
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Clocks end waiting; none of them ever licenses a send (ledger.md, rule 1)."""

    def now(self) -> float:
        """Seconds since 1970 by the local wall clock, which may be wrong by hours."""

    def monotonic(self) -> float:
        """Seconds that only grow, and only within this process."""

    def boottime(self) -> float:
        """Like :meth:`monotonic`, but it also counts while the machine is suspended."""

    def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""


class SystemClock:
    """The machine's clocks.

    A wall clock that is set back goes on as it was, for this process: otherwise whatever waits would wait once more.
    """

    _wall: Callable[[], float] = staticmethod(time.time)
    _booted = -math.inf  # when the machine was started, by the latest that the wall clock has ever said

    def now(self) -> float:
        since_boot = SystemClock.boottime(self)
        self._booted = max(self._booted, self._wall() - since_boot)
        return since_boot + self._booted

    monotonic = staticmethod(time.monotonic)  # asked 17 times in a dispatch

    def boottime(self) -> float:
        # Only Linux has it; elsewhere (a developer's laptop) a suspended machine may fence too late.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Workers(Protocol):
    """A bounded set of threads."""

    def spawn(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        """Run ``work`` on a thread of this set, as soon as one is free.

        The future can be cancelled as long as no thread has taken it.

        :param share: on whose behalf: nobody holds most threads while others might want some; '': the process's own.
        """

    def follow(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        """Like :meth:`spawn`; a thread of another set goes on with ``work`` itself, once it has given its result.

        Meanwhile it counts among this set. Handing over to another thread costs more than many a piece of work.
        """

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        """Wait up to ``seconds`` for ``job`` to end; whether it has."""


class Shares:
    """So many places, shared among those who are named. Not for threads at once: whoever uses it has a lock.

    A quarter is anybody's. More is had only as long as a quarter of all is free, which others find when they come:
    nobody's work can be taken away from it, and it may last for minutes.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = places
        self._taken: dict[str, int] = {}

    def take(self, share: str, places: int = 1) -> bool:
        """So many, if they are there for this share; '' may have any."""
        if not self.may(share, places):
            return False
        self._free -= places
        self._taken[share] = self.held(share) + places
        return True

    def may(self, share: str, places: int = 1) -> bool:
        """Whether they are there."""
        quarter = self._places // 4
        mine, free = self.held(share) + places, self._free - places
        return free >= 0 and not (share and mine > max(quarter, 1) and free < quarter)

    def held(self, share: str) -> int:
        """How many it has."""
        return self._taken.get(share, 0)

    def give(self, share: str, places: int = 1) -> None:
        """They are free again."""
        self._free += places
        self._taken[share] -= places
        if not self._taken[share]:
            del self._taken[share]


class Holdings:
    """So many bytes that may be held at once, shared as `Shares` has it. Threads may use it."""

    def __init__(self, room: int) -> None:
        self._lock = threading.Lock()
        self._shares = Shares(room)
        self._gone: deque[tuple[str, int]] = deque()

    def take(self, share: str, size: int) -> "Holding | None":
        """To be kept with what takes so many bytes, which are free again once it is kept no more; ``None``: no room."""
        with self._lock:
            while self._gone:
                self._shares.give(*self._gone.popleft())
            return Holding(self._gone, share, size) if self._shares.take(share, size) else None


class Holding:
    """See `Holdings`. Whoever drops it last may hold any lock, so it only notes that it is gone."""

    __slots__ = ("_gone", "_what")

    def __init__(self, gone: "deque[tuple[str, int]]", share: str, size: int) -> None:
        self._gone = gone
        self._what = share, size

    def __del__(self) -> None:
        self._gone.append(self._what)


def cpu_of_this_thread() -> float:
    """Seconds of a processor's time that the calling thread has had."""
    return time.thread_time()


SPARE: Final = 8  # file descriptors: one dispatch needs a few at once


def shortage() -> str | None:
    """What this process has run out of, found by asking for it; ``None``: nothing. It may be back the next moment."""
    opened: list[int] = []
    try:
        for _ in range(SPARE):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return "no file descriptors are left"
    finally:
        for descriptor in opened:
            os.close(descriptor)
    try:
        threading.Thread(target=int, name="probe", daemon=True).start()
    except RuntimeError:
        return "no thread can be started"
    return None


_Job: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"


class ThreadWorkers:
    """Daemon threads, started when they are needed and then kept. See `Workers` and `Shares`.

    The standard library's executor joins its threads when the interpreter exits, so that one POST whose
    answer never comes would hold up a shutdown for minutes. Here the server's drain decides.
    """

    def __init__(
        self, limit: int, name: str, spend: Callable[[str, float], None] = lambda share, seconds: None
    ) -> None:
        """:param spend: told how long a processor has worked on whose behalf."""
        self._limit = limit
        self._spend = spend
        self._name = name
        self._shares = Shares(limit)
        self._queues: OrderedDict[str, deque[_Job]] = OrderedDict()  # by share, those who waited longest first
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # ``with`` the lock itself: it is entered without a Python call
        self._idle = 0  # threads that wait and that no work has been meant for yet
        self._threads = 0  # those at work for this set, or waiting to be

    def spawn(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        future: Future[T] = Future()
        with self._lock:
            self._queues.setdefault(share, deque()).append((future, work))
            self._wake()
        return future

    def follow(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        following: _Following | None = getattr(_here, "following", None)
        with self._lock:
            lent = following is not None and not following and self._threads < self._limit and self._shares.take(share)
            self._threads += lent
        if following is None or not lent:
            return self.spawn(work, share)
        future: Future[T] = Future()
        following.append((partial(self._left, share), future, work))
        return future

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return bool(wait([job], timeout=seconds).done)

    def _wake(self) -> None:
        """A thread for what has been put into a queue, or may begin by now."""
        if self._idle:
            self._idle -= 1
            self._changed.notify()
        elif self._threads < self._limit:
            try:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            except RuntimeError:  # the system has no more: those that run take the work, or the next call tries again
                return
            self._threads += 1

    def _run(self) -> None:
        following: _Following = []
        _here.following = following
        while True:
            with self._lock:
                while (taken := self._take()) is None:
                    self._idle += 1
                    self._changed.wait()
            share, job = taken
            _here.share = share
            begun = time.thread_time()
            _do(*job)
            self._spend(share, time.thread_time() - begun)
            del job, taken  # an idle thread keeps nobody's request alive
            with self._lock:
                self._shares.give(share)
            if following and not self._lend(following):
                return

    def _take(self) -> "tuple[str, _Job] | None":
        """The next work that may begin, of each share in turn."""
        for share, queue in list(self._queues.items()):
            while queue and queue[0][0].cancelled():
                queue.popleft()[0].set_running_or_notify_cancel()  # those who wait for it hear of it
            job = queue.popleft() if queue and self._shares.take(share) else None
            if not queue:
                del self._queues[share]
            elif job is not None:
                self._queues.move_to_end(share)
            if job is not None:
                return share, job
        return None

    def _lend(self, following: "_Following") -> bool:
        """Work for another set for a while; whether this one still has a place afterwards."""
        self._leave()
        while following:
            leave, future, work = following.pop()
            begun = time.thread_time()
            _do(future, work)
            leave(time.thread_time() - begun)
            del future, work
        with self._lock:
            if self._threads >= self._limit:
                return False
            self._threads += 1
        return True

    def _left(self, share: str, seconds: float) -> None:
        """A thread of another set has worked for this one."""
        self._spend(share, seconds)
        self._leave(share)

    def _leave(self, share: str | None = None) -> None:
        """The calling thread is this set's no longer; what waits for one gets another.

        :param share: on whose behalf it was lent, if it was.
        """
        with self._lock:
            if share is not None:
                self._shares.give(share)
            self._threads -= 1
            if self._queues:
                self._wake()


def share_of_this_thread() -> str:
    """On whose behalf a thread of `ThreadWorkers` is at work; '' elsewhere, and for the process itself."""
    share: str = getattr(_here, "share", "")
    return share


_Following: TypeAlias = list[tuple[Callable[[float], None], Future[Any], Callable[[], Any]]]
_here: Final = threading.local()  # what a worker's thread is to go on with


def _do(future: "Future[Any]", work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  it is the caller's, who asks the future
        future.set_exception(error)
    else:
        future.set_result(result)
