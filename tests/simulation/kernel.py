"""A discrete-event kernel: virtual time, and threads of which exactly one runs at a time.

The code under test runs unchanged on real threads; whenever it would wait (for time, for another job, for bytes) it
hands its baton to the kernel, which resumes whatever comes next in virtual time. So a schedule depends on nothing
but its seed.
"""

import heapq
import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Killed(BaseException):
    """The simulated process of this thread is dead. No `except Exception` of the code under test may stop it."""


class Process:
    """What dies together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.threads: list[SimThread] = []
        self.at_death: list[Callable[[], None]] = []


class SimThread:
    """Work that waits in virtual time. It has an operating system's thread from its first turn on."""

    def __init__(self, process: Process, work: Callable[[], None]) -> None:
        self.process = process
        self.work = work
        self.carrier: Carrier | None = None
        self.turn = 0  # which parking a wake-up is meant for
        self.over = False


class Carrier:
    """A thread of the operating system, which does one `SimThread` after another: to start one costs most of a turn."""

    def __init__(self) -> None:
        self.baton = threading.Lock()
        self.baton.acquire()
        self.work: Callable[[], None] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self.baton.acquire()
            if self.work is None:
                return
            self.work()


class Kernel:
    """Virtual time and the threads in it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.trace: list[str] = []
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = itertools.count()
        self._until = 0.0
        self._done: Callable[[], bool] = lambda: True
        self._baton = threading.Lock()  # of the thread that called `run`
        self._baton.acquire()
        self._current: SimThread | None = None
        self._next: SimThread | None = None  # whose turn it is, says the event that has just happened
        self._broken: BaseException | None = None  # by an event, which any thread may have carried out
        self._all: list[SimThread] = []
        self._idle: list[Carrier] = []

    def note(self, text: str) -> None:
        """One line of the schedule."""
        where = self._current.process.name if self._current else "world"
        self.trace.append(f"{self.now:9.3f} {where:8} {text}")

    def at(self, delay: float, action: Callable[[], object]) -> None:
        """Do something in ``delay`` seconds; among equals, in the order in which it was asked for."""
        heapq.heappush(self._heap, (self.now + delay, next(self._sequence), action))

    def run(self, until: float, done: Callable[[], bool]) -> None:
        """Go on until ``done``, until nothing is left to do, or to a virtual time."""
        self._until, self._done = until, done
        self._let(self._upcoming())
        if self._broken is not None:
            raise self._broken

    def spawn(self, process: Process, work: Callable[[], T]) -> "Future[T]":
        """A thread of ``process``; it begins when the kernel comes to it."""
        future: Future[T] = Future()

        def body() -> None:
            try:
                if process.alive and future.set_running_or_notify_cancel():
                    future.set_result(work())
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001  the future carries it, as an executor's does
                future.set_exception(error)
            finally:
                self._end_of(thread)

        thread = SimThread(process, body)
        process.threads.append(thread)
        self._all.append(thread)
        self.at(0.0, lambda: self._resume(thread, 0))
        return future

    def sleep(self, seconds: float) -> None:
        """The calling thread waits."""
        self._wait(seconds, lambda wake: None)

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        """The calling thread waits for a future."""
        if not job.done():
            self._wait(seconds, lambda wake: job.add_done_callback(lambda _: wake()))
        return job.done()

    def wait(self, seconds: float, register: Callable[[Callable[[], None]], None]) -> None:
        """The calling thread waits until somebody calls what it registers, or for so long."""
        self._wait(seconds, register)

    def kill(self, process: Process) -> None:
        """The process is gone, in the middle of whatever it did."""
        if not process.alive:
            return
        process.alive = False
        self.note(f"{process.name} is killed")
        for action in process.at_death:
            action()
        for thread in process.threads:
            if not thread.over and thread is not self._current:
                self.at(0.0, lambda thread=thread: self._resume(thread, thread.turn))  # type: ignore[misc]
        if self._current is not None and self._current.process is process:
            raise Killed

    def end(self) -> None:
        """Let go of every thread that still waits."""
        self._done = lambda: True
        for thread in self._all:
            thread.process.alive = False
        for thread in self._all:
            while not thread.over:
                thread.turn += 1
                self._let(thread)
        for carrier in self._idle:
            carrier.work = None
            carrier.baton.release()

    def _wait(self, seconds: float, register: Callable[[Callable[[], None]], None]) -> None:
        thread = self._current
        assert thread is not None, "only a simulated thread may wait"
        if not thread.process.alive:
            raise Killed
        turn = thread.turn
        register(lambda: self.at(0.0, lambda: self._resume(thread, turn)))
        self.at(max(0.0, seconds), lambda: self._resume(thread, turn))
        self._current = None
        if (upcoming := self._upcoming()) is not thread:
            assert thread.carrier is not None
            self._pass_to(upcoming)
            thread.carrier.baton.acquire()
        self._current = thread
        if not thread.process.alive:
            raise Killed

    def _resume(self, thread: SimThread, turn: int) -> None:
        if thread.over or thread.turn != turn:
            return
        thread.turn += 1
        self._next = thread

    def _upcoming(self) -> SimThread | None:
        """Let things happen until it is a thread's turn; ``None``: the run is over.

        Whoever begins to wait does this, so that one thread that waits again and again is never switched.
        """
        try:
            while self._heap and self._heap[0][0] <= self._until and not self._done():
                when, _, action = heapq.heappop(self._heap)
                self.now = max(self.now, when)
                action()
                if (thread := self._next) is not None:
                    self._next = None
                    return thread
        except BaseException as error:  # noqa: BLE001  it is raised where the run was begun
            self._broken = error
        return None

    def _let(self, thread: SimThread | None) -> None:
        """Let threads have their turns, from this one on, until the run is over."""
        if thread is not None:
            self._pass_to(thread)
            self._baton.acquire()

    def _pass_to(self, thread: SimThread | None) -> None:
        if thread is None:
            self._baton.release()
            return
        if thread.carrier is None:
            thread.carrier = self._idle.pop() if self._idle else Carrier()
            thread.carrier.work = thread.work
        self._current = thread
        thread.carrier.baton.release()

    def _end_of(self, thread: SimThread) -> None:
        thread.over = True
        self._current = None
        upcoming = self._upcoming()
        assert thread.carrier is not None
        self._idle.append(thread.carrier)
        self._pass_to(upcoming)
