"""Refreshes the Promotions that wait for a run when GitHub's webhook says that the run has ended.

Stock Kargo (1.11 and later) then checks them at once. Which Promotions wait is known from the calls of this process
and, for Promotions that dispatched the run or cancel it, from the ledger. Refreshing only ever adds a call. A Promotion
is read first and refreshed only while it is Running, and again after each of `PRESSES` while it has not changed.

Source: facts/stock-kargo.md ("Faster than the 10 s floor").
"""

import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from gha_step.contract.errors import StepError
from gha_step.contract.memory import Memory
from gha_step.inbound.rounds import Rounds
from gha_step.ledger.record import Record
from gha_step.runtime import Clock, Workers
from gha_step.steps.waking import Hint
from gha_step.telemetry import Telemetry, log

# Seconds between two presses: GitHub's API may lag behind its delivery, and a look may take longer than its answer.
PRESSES: Final = (1.0, 2.0)
FRESH: Final = 900.0  # seconds for which a call says that its Promotion waits
MOST_OF_ONE_RUN: Final = 20  # Promotions
MOST_IN_LINE: Final = 1_000  # runs and Promotions whose turn is to come; what is more is let go
AT_ONCE: Final = 16
SAID_EVERY: Final = 3600.0  # seconds between two lines about one project


class _Waiting(NamedTuple):
    """A Promotion that waits for a run."""

    project: str
    promotion: str


@dataclass(frozen=True, eq=False)
class _Series:
    """What follows from one delivery: how often it was pressed, and the step at which the Promotion was."""

    times: int = 0
    step: object = None


class Refreshing:
    """See the module.

    :param press: has Kargo look at a Promotion of a project, see `refresh.press`.
    :param recorded: the records of the dispatch that made a run, and of the steps that cancel it.
    :param presses: seconds between presses.
    """

    def __init__(
        self,
        press: Callable[[str, str, object], object],
        recorded: Callable[[int], Iterable[Record]],
        *,
        clock: Clock,
        workers: Callable[[int, str], Workers],
        telemetry: Telemetry,
        presses: tuple[float, ...] = PRESSES,
    ) -> None:
        self._refresh = press
        self._recorded = recorded
        self._clock = clock
        self._telemetry = telemetry
        self._presses = presses
        self._lock = threading.Lock()
        self._waiting: Memory[int, dict[_Waiting, float]] = Memory()
        self._series: dict[_Waiting, _Series] = {}
        self._pressed: Memory[_Waiting, float] = Memory()  # when
        self._asked: dict[int, Hint] = {}
        self._said: Memory[str, float] = Memory()
        self._workers = workers(AT_ONCE + 1, "refresh")
        self._rounds: Rounds[int | _Waiting] = Rounds(
            self._turn,
            clock=clock,
            workers=self._workers,
            at_once=AT_ONCE,
            what="refreshing Promotions",
            share=lambda name: name.project if isinstance(name, _Waiting) else "",
        )

    def start(self) -> None:
        """Begin."""
        self._workers.spawn(self._rounds.run)

    def stop(self) -> None:
        """Begin nothing more."""
        self._rounds.stop()

    def waits(self, run_id: int, project: str, promotion: str) -> None:
        """A call of this Promotion's has been told that the run goes on."""
        now, one = self._clock.monotonic(), _Waiting(project, promotion)
        with self._lock:
            known = self._waiting.get(run_id, {})
            fresh = {other: at for other, at in known.items() if now - at < FRESH and other != one}
            self._waiting[run_id] = dict(itertools.islice(fresh.items(), MOST_OF_ONE_RUN - 1)) | {one: now}

    def hint(self, hint: Hint) -> None:
        """See `gha_step.steps.waking.Listener`. Of what goes on nobody is told more than they know."""
        if not hint.ended:
            return
        with self._lock:
            if len(self._asked) >= MOST_IN_LINE:
                return
            self._asked[hint.run_id] = hint
        self._rounds.soon(hint.run_id)

    def _turn(self, name: int | _Waiting) -> float | None:
        if isinstance(name, _Waiting):
            return self._press(name)
        with self._lock:
            hint = self._asked.pop(name, None)
        if hint is not None:
            for one in self._who_waits(hint):
                self._begin(one)
        return None

    def _who_waits(self, hint: Hint) -> set[_Waiting]:
        now = self._clock.monotonic()
        with self._lock:
            found = {one for one, at in self._waiting.get(hint.run_id, {}).items() if now - at < FRESH}
        if not hint.dispatched:
            return found
        try:
            records = [*itertools.islice(self._recorded(hint.run_id), MOST_OF_ONE_RUN)]
        except StepError as error:  # it is away, or a record in it cannot be read
            log.info("the Promotions that wait for run %d cannot be listed now: %s", hint.run_id, error)
            return found
        repo = f"{hint.owner}/{hint.repo}".lower()
        theirs = [one for one in records if one.promotion and one.target.repo == repo]
        return found | {_Waiting(one.project, one.promotion) for one in theirs}

    def _begin(self, one: _Waiting) -> None:
        with self._lock:
            if one not in self._series and len(self._series) >= MOST_IN_LINE:
                return
            self._series[one] = _Series()
            since = self._clock.monotonic() - self._pressed.get(one, float("-inf"))
        self._rounds.soon(one, max(0.0, self._presses[0] - since))

    def _press(self, one: _Waiting) -> float | None:
        with self._lock:
            series = self._series.get(one)
            self._pressed[one] = self._clock.monotonic()
        if series is None:
            return None
        step: object = series.step
        try:
            step = self._refresh(one.project, one.promotion, series.step)
        except StepError as error:
            self._say(one.project, error)
            self._telemetry.refreshes.add("failed")
            over = error.retry_after is None
        else:
            self._telemetry.refreshes.add("done" if step is not None else "unneeded")
            over = step is None
        with self._lock:
            if self._series.get(one) is not series:
                return None  # another delivery has begun anew, and its turn comes
            if over or series.times >= len(self._presses):
                del self._series[one]
                return None
            self._series[one] = _Series(series.times + 1, step)
        return self._presses[series.times]

    def _say(self, project: str, error: StepError) -> None:
        now = self._clock.monotonic()
        with self._lock:
            if now - self._said.get(project, float("-inf")) < SAID_EVERY:
                return
            self._said[project] = now
        log.warning("%s", error)
