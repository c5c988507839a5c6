"""Whose call is next: while others are served, no project has more of this one process's time than its part.

Python runs one thread at a time. A project that calls without a pause would have most of it, however fairly threads
and connections are shared, and everybody else would wait for their turn at every step of a call. So what each project
uses is added up, and calls of those who want more than their part wait. As long as there is little to do, what is left
beyond all parts goes to those of whom fewest calls wait. Whoever calls alone never waits.
"""

import asyncio
import math
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final, TypeAlias

from gha_step.runtime import cpu_of_this_thread

LATE: Final = 0.005  # seconds by which this process does things later than it meant to, once there is too much to do
BUSY: Final = 1.0  # of a processor's time: beyond it everybody waits for everybody at each step of a call …
ENOUGH: Final = 0.75  # … so whoever wants more than its part gets none of what is left beyond this
ANYBODYS: Final = 0.25  # of a processor's time: nobody waits who uses less
MARGIN: Final = 1.1  # of what the next uses: two that use the same must not hold each other back ever more
AHEAD: Final = 0.02  # seconds of a processor's time that a project may use at once
SERVED: Final = 1.0  # seconds for which a project counts as one that is served, from its last call on
COST: Final = 0.001, 0.005  # seconds that a call costs besides its step, at least and at most: it is measured
_MEASURE_EACH: Final = 64  # calls
_WINDOW: Final = 0.1  # seconds
_KEPT: Final = 0.8  # of what was used in the windows before
_WHOLE: Final = _WINDOW / (1 - _KEPT)  # seconds of which `recent` tells
_BEAT: Final = 0.01  # seconds
_NEW: Final = 0.1  # of how late this process is on the average: what was measured last
_Turns: TypeAlias = "deque[asyncio.Future[None]]"


@dataclass
class _Project:
    """Seconds of a processor's time. ``owed``: used before they were due; ``reserved``: of them, yet to come."""

    called: float
    owed: float = 0.0
    reserved: float = 0.0
    spent: float = 0.0  # by threads, for `calls` calls
    calls: float = 0.0
    new: float = 0.0  # in this window
    recent: float = 0.0  # in those before

    @property
    def due(self) -> bool:
        """Whether a call may begin even while there is too much to do."""
        return self.owed <= AHEAD

    def begin(self, cost: float) -> None:
        """A call begins. What threads will do for it is known only later, and taken to be what they did for others."""
        expected = self.spent / self.calls if self.calls else 0.0
        if self.due:  # else it takes time that nobody else wants
            self.owed += cost + expected
        self.reserved += expected
        self.new += cost
        self.calls += 1
        if self.calls >= _MEASURE_EACH:  # what was expected and did not come is given back
            self.calls, self.spent = self.calls / 2, self.spent / 2
            self.owed, self.reserved = max(self.owed - self.reserved, 0.0), 0.0

    def spend(self, seconds: float) -> None:
        """Threads have done so much."""
        self.spent += seconds
        self.new += seconds
        self.owed += max(seconds - self.reserved, 0.0)
        self.reserved = max(self.reserved - seconds, 0.0)


def level(rates: list[float]) -> float:
    """How much each may use while there is too much to do: whoever uses most gets no more than the next."""
    return max(MARGIN * sorted(rates)[-2], ANYBODYS) if len(rates) > 1 else math.inf


class Uses:
    """What each project uses of a processor's time. Pure: ``now`` only grows."""

    def __init__(self) -> None:
        self._served: dict[str, _Project] = {}
        self._level = math.inf
        self._window = 0.0
        self.rate = 0.0  # of a processor's time, that all use

    def called(self, project: str, now: float) -> None:
        """It calls, or waits to. What nobody wanted while it was due is not kept."""
        self.go_on(now)
        served = self._served.get(project)
        if served is None:
            served = self._served[project] = _Project(now)
        if served.owed > 0.0:
            served.owed = max(served.owed - self._part(served) * (now - served.called), 0.0)
        served.called = now

    def _part(self, served: _Project) -> float:
        """Of a processor's time, what is due to a project while there is too much to do."""
        left = ENOUGH - (self.rate - served.recent / _WHOLE)
        return max(min(self._level, left), ANYBODYS)

    @property
    def several(self) -> bool:
        """Whether more than one project is served."""
        return len(self._served) > 1

    def may(self, project: str) -> bool:
        """Whether a call of a project that has `called` may begin even while there is too much to do."""
        served = self._served[project]
        if not self.several:  # nothing of this will be held against it
            served.owed = served.reserved = 0.0
        return served.due

    def begin(self, project: str, cost: float) -> None:
        """A call of it begins, which costs so much besides what threads do."""
        self._served[project].begin(cost)

    def spend(self, project: str, seconds: float) -> None:
        """Threads have worked for it."""
        if (served := self._served.get(project)) is not None:
            served.spend(seconds)

    def go_on(self, now: float) -> None:
        """Time goes on."""
        if now - self._window < _WINDOW:
            return
        self._window = now
        self._served = {name: one for name, one in self._served.items() if one.called >= now - SERVED}
        for one in self._served.values():
            one.recent, one.new = one.recent * _KEPT + one.new, 0.0
        rates = [one.recent / _WHOLE for one in self._served.values()]
        self._level, self.rate = level(rates), sum(rates)


class Pace:
    """Of one process; for one event loop, but for `spend`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses = Uses()
        self._waiting: OrderedDict[str, _Turns] = OrderedDict()
        self._beat: asyncio.TimerHandle | None = None
        self._late = 0.0  # seconds, on the average
        self._open = False
        self._cost, self._calls, self._cpu = COST[0], 0, 0.0

    def spend(self, project: str, seconds: float) -> None:
        """A thread has worked for a project so long."""
        with self._lock:
            self._uses.spend(project, seconds)

    def opened(self, project: str) -> None:
        """What costs as much as a call has begun without a `turn`."""
        self.spend(project, self._cost)

    def open(self) -> None:
        """Nobody waits any more: the process stops."""
        self._open = True
        self._release()

    async def turn(self, project: str, seconds: float) -> bool:
        """Wait until a call of this project may begin; whether it may within so many seconds."""
        if self.at_once(project):
            return True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project, deque()).append(turn)
        self._look_again()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            return False
        return True

    def at_once(self, project: str) -> bool:
        """Whether a call of this project may begin now; then it has begun."""
        self._measure()
        if project in self._waiting or not self._may_begin(project, free=self._free(BUSY)):
            return False
        self._look_again()
        return True

    def _free(self, most: float) -> bool:
        return self._late < LATE and self._uses.rate < most

    def _may_begin(self, project: str, *, free: bool) -> bool:
        now = asyncio.get_running_loop().time()
        with self._lock:
            self._uses.called(project, now)
            may = self._uses.may(project) or free or self._open
            if may:
                self._uses.begin(project, self._cost)
            return may

    def _measure(self) -> None:
        """What a call costs this thread, which serves them all."""
        self._calls += 1
        if self._calls >= _MEASURE_EACH:
            now = cpu_of_this_thread()
            self._cost = min(max((now - self._cpu) / self._calls, COST[0]), COST[1])
            self._cpu, self._calls = now, 0

    def _look_again(self) -> None:
        """In a moment, as long as there are others; how late it comes says whether there is too much to do."""
        if self._beat is None and (self._uses.several or self._waiting):
            loop = asyncio.get_running_loop()
            self._beat = loop.call_at(meant := loop.time() + _BEAT, self._beats, meant)

    def _beats(self, meant: float) -> None:
        self._beat = None
        now = asyncio.get_running_loop().time()
        self._late += (now - meant - self._late) * _NEW
        with self._lock:
            self._uses.go_on(now)
        self._release()
        self._look_again()

    def _release(self) -> None:
        """Let those begin who may by now; if there is little to do, one more, of whom fewest calls wait."""
        free = self._free(ENOUGH)
        for project, turns in sorted(self._waiting.items(), key=lambda one: len(one[1])):
            while turns and (turns[0].done() or self._may_begin(project, free=free)):
                turn = turns.popleft()
                if not turn.done():
                    turn.set_result(None)
                    free = False
            if not turns:
                del self._waiting[project]
