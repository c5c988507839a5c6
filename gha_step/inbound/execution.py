"""Limits how long a call takes: the step runs on bounded threads, and the caller gets an answer in time.

Work that takes longer continues in the background; the next call joins it.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

from gha_step.contract.request import Caller, StepRequest
from gha_step.contract.result import Status, StepResult
from gha_step.inbound.pace import Pace
from gha_step.inbound.room import Room
from gha_step.runtime import Clock, Workers
from gha_step.steps.kind import BUSY, SOON, Underway
from gha_step.steps.registry import INTERNAL_ERROR, Steps
from gha_step.telemetry import UNKNOWN_KIND, Telemetry, log, subject
from gha_step.telemetry import tell as tell_log

LAST_TURN: Final = 0.9  # of the reply limit: a call that has not begun by then hears so
READING: Final = "nothing is known about this step yet: its Secret or the ledger takes long to read"


class Execution:
    """Executes steps for asynchronous servers.

    :param reply_within: seconds, from a call's arrival to its answer.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        workers: Workers,
        clock: Clock,
        telemetry: Telemetry,
        reply_within: float,
        pace: Pace | None = None,
    ) -> None:
        self._steps = steps
        self._workers = workers
        self._clock = clock
        self._telemetry = telemetry
        self.reply_within = reply_within
        self.room = Room()
        self.pace = pace or Pace()
        self._count = _Count()

    @property
    def calls(self) -> int:
        """How many calls have no answer yet."""
        return self._count.calls

    def counted(self) -> "_Count":
        """A call that a stop has to wait for: ``with`` it."""
        return self._count

    async def execute(
        self, request: StepRequest, deadline: float | None = None, *, in_turn: bool = False, worked: float = 0.0
    ) -> StepResult:
        """The answer to one call, within the reply limit or by ``deadline``, monotonic seconds.

        :param in_turn: it has had its `turn` already.
        :param worked: seconds that it took to read, if it is large.
        """
        if worked:
            self.pace.spend(request.caller.project, worked)
        arrived = self._clock.monotonic()
        until = arrived + self.reply_within if deadline is None else deadline
        begins = in_turn or await self.pace.turn(request.caller.project, (until - arrived) * LAST_TURN)
        told = await self._answer(request, arrived, until) if begins else BUSY
        result = told.keeping(request.remembered)
        kind = self._counted(request, arrived, result)
        # The caller need not wait for a line to be written: it follows when the answer is on its way.
        asyncio.get_running_loop().call_soon(_log, kind, request.caller, result)
        return result

    def begin(self, request: StepRequest, tell: Callable[[StepResult], None]) -> bool:
        """As `execute`, and `counted`, but without a task of the loop; whether the call could begin at once.

        :param tell: is called with the answer, once and in the loop.
        """
        if not self.pace.at_once(request.caller.project):
            return False
        arrived = self._clock.monotonic()

        def told(answer: Callable[[], StepResult]) -> None:
            self._count.calls -= 1
            try:
                result = answer()
            except Exception:  # noqa: BLE001  there is no task that would tell
                log.exception("a call failed", extra=subject(request.caller.key_parts, request.caller.promotion))
                result = INTERNAL_ERROR
            result = result.keeping(request.remembered)
            tell(result)
            _log(self._counted(request, arrived, result), request.caller, result)

        self._start(request, arrived, arrived + self.reply_within, told)
        self._count.calls += 1
        return True

    async def _answer(self, request: StepRequest, arrived: float, deadline: float) -> StepResult:
        answered: asyncio.Future[Callable[[], StepResult]] = asyncio.get_running_loop().create_future()

        def told(answer: Callable[[], StepResult]) -> None:
            if not answered.done():  # the caller may have left
                answered.set_result(answer)

        self._start(request, arrived, deadline, told)
        return (await answered)()

    def _start(self, request: StepRequest, arrived: float, deadline: float, tell: "_Tell") -> None:
        job = self._workers.spawn(lambda: self._steps.execute(request, arrived), request.caller.project)
        _Answering(job, deadline, self._clock, tell)

    def _counted(self, request: StepRequest, arrived: float, result: StepResult) -> str:
        """Count an answer; its kind of step, as metrics and the log name it."""
        kind = request.step.kind if request.step.kind in self._steps.kinds else UNKNOWN_KIND
        self._telemetry.step(kind, result.status, self._clock.monotonic() - arrived)
        return kind


_Tell: TypeAlias = Callable[[Callable[[], StepResult]], None]


class _Count:
    """Calls under way, each of which is in the ``with`` of this one object; for one event loop."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> None:
        self.calls += 1

    def __exit__(self, *_: object) -> None:
        self.calls -= 1


class _Answering:
    """One call whose step is at work, until it is answered; for one event loop.

    The loop is woken once, however many threads have a part in it: waking it for each of them would have it compete
    with the dispatch that has just begun.

    :param deadline: monotonic seconds. At half the time that is left by now, a step that no thread has begun is taken
        back.
    :param tell: is called once, with what gives the answer, or raises why there is none.
    """

    def __init__(
        self,
        job: "Future[StepResult | Underway]",
        deadline: float,
        clock: Clock,
        tell: "_Tell",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._job = job
        self._deadline = deadline
        self._clock = clock
        self._tell: _Tell | None = tell
        # Waiting for its turn may have taken most of the time: the deadline stays what it was.
        self._timer = self._loop.call_later(max(self._left / 2, 0.0), self._half_time)
        job.add_done_callback(self._called)

    @property
    def _left(self) -> float:
        return self._deadline - self._clock.monotonic()

    def _called(self, job: "Future[StepResult | Underway]") -> None:
        try:
            outcome = job.result()
        except BaseException:  # noqa: BLE001  whoever is told asks the job itself
            outcome = None
        if outcome is None or isinstance(outcome, StepResult):
            self._wake(job)
        else:
            outcome.ready.add_done_callback(self._wake)

    def _wake(self, _: "Future[Any]") -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._end)

    def _half_time(self) -> None:
        if self._tell is not None and self._job.cancel():
            self._end(lambda: BUSY)
        else:
            self._timer = self._loop.call_later(max(self._left, 0.0), self._time_is_up)

    def _time_is_up(self) -> None:
        self._end(None if self._job.done() else lambda: StepResult.running(READING, SOON))

    def _end(self, answer: Callable[[], StepResult] | None = None) -> None:
        """:param answer: where the step has none."""
        tell, self._tell = self._tell, None
        if tell is None:
            return
        self._timer.cancel()
        outcome = partial(_outcome, self._job)
        # What this waited for refers to it by its callbacks: else what the call brought would stay, in a circle, until
        # the garbage collector comes.
        del self._job
        tell(answer or outcome)


def _outcome(job: "Future[StepResult | Underway]") -> StepResult:
    outcome = job.result()
    return outcome if isinstance(outcome, StepResult) else outcome.answer()


def _log(kind: str, caller: Caller, result: StepResult) -> None:
    run = getattr(result.output, "run_id", None)
    level = logging.WARNING if result.status is Status.FAILED else logging.INFO
    whose = subject(caller.key_parts, caller.promotion, run)
    tell_log(level, f"{kind}: {result.status} {result.message}", whose)
