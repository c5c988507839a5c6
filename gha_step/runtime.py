"""Time and threads as parameters: nothing else in the program reads a clock, sleeps, or starts a thread.

The simulation replaces all of this; so no lock may be held across any of these calls.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
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
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        # Only Linux has it; elsewhere (a developer's laptop) a suspended machine may fence too late.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Workers(Protocol):
    """A bounded set of threads."""

    def spawn(self, work: Callable[[], T]) -> "Future[T]":
        """Run ``work`` on a thread of this set, as soon as one is free.

        The future can be cancelled as long as no thread has taken it.
        """

    def follow(self, work: Callable[[], T]) -> "Future[T]":
        """Like :meth:`spawn`; a thread of another set goes on with ``work`` itself, once it has given its result.

        Meanwhile it counts among this set. Handing over to another thread costs more than many a piece of work.
        """

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        """Wait up to ``seconds`` for ``job`` to end; whether it has."""


class ThreadWorkers:
    """Daemon threads, started when they are needed and then kept.

    The standard library's executor joins its threads when the interpreter exits, so that one POST whose
    answer never comes would hold up a shutdown for minutes. Here the server's drain decides.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._idle = 0  # threads that wait and that no work has been meant for yet
        self._threads = 0  # those at work for this set, or waiting to be

    def spawn(self, work: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        with self._changed:
            self._queue.append((future, work))
            if self._idle:
                self._idle -= 1
                self._changed.notify()
            else:
                self._start()
        return future

    def follow(self, work: Callable[[], T]) -> "Future[T]":
        following: _Following | None = getattr(_here, "following", None)
        with self._changed:
            lent = following is not None and not following and self._threads < self._limit
            self._threads += lent
        if following is None or not lent:
            return self.spawn(work)
        future: Future[T] = Future()
        following.append((self._leave, future, work))
        return future

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return bool(wait([job], timeout=seconds).done)

    def _start(self) -> None:
        if self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        following: _Following = []
        _here.following = following
        while True:
            with self._changed:
                while not self._queue:
                    self._idle += 1
                    self._changed.wait()
                job = self._queue.popleft()
            _do(*job)
            del job  # an idle thread keeps nobody's request alive
            if following and not self._lend(following):
                return

    def _lend(self, following: "_Following") -> bool:
        """Work for another set for a while; whether this one still has a place afterwards."""
        self._leave()
        while following:
            leave, future, work = following.pop()
            _do(future, work)
            leave()
            del future, work
        with self._changed:
            if self._threads >= self._limit:
                return False
            self._threads += 1
        return True

    def _leave(self) -> None:
        """The calling thread is this set's no longer; what waits for one gets another."""
        with self._changed:
            self._threads -= 1
            if self._queue:
                self._start()


_Following: TypeAlias = list[tuple[Callable[[], None], Future[Any], Callable[[], Any]]]
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
