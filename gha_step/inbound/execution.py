"""How long a call may take: the step runs on bounded threads, and the caller hears within the reply limit.

Work that takes longer goes on by itself; the next call joins it.
"""

import asyncio
import logging
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from gha_step.contract.request import Caller, StepRequest
from gha_step.contract.result import Status, StepResult
from gha_step.inbound.pace import Pace
from gha_step.inbound.room import Room
from gha_step.runtime import Clock, Workers
from gha_step.steps.kind import BUSY, SOON, Underway
from gha_step.steps.registry import Steps
from gha_step.telemetry import UNKNOWN_KIND, Telemetry, subject, tell

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
        self._pace = pace or Pace()
        self._count = _Count()

    @property
    def calls(self) -> int:
        """How many calls have no answer yet."""
        return self._count.calls

    def counted(self) -> "_Count":
        """A call that a stop has to wait for: ``with`` it."""
        return self._count

    async def turn(self, project: str, seconds: float) -> bool:
        """Wait until a call of this project may begin, fairly; whether it may within so many seconds."""
        return await self._pace.turn(project, seconds)

    def opened(self, project: str) -> None:
        """Something that goes on has begun on behalf of a project: it cost as much as a call."""
        self._pace.opened(project)

    @property
    def crowded(self) -> bool:
        """Whether more than one project is served."""
        return self._pace.several

    def hurry(self) -> None:
        """The process stops: no call waits for its turn any more."""
        self._pace.open()

    async def execute(
        self, request: StepRequest, deadline: float | None = None, *, in_turn: bool = False, worked: float = 0.0
    ) -> StepResult:
        """The answer to one call, within the reply limit or by ``deadline``, monotonic seconds.

        :param in_turn: it has had its `turn` already.
        :param worked: seconds that it took to read, if it is large.
        """
        if worked:
            self._pace.spend(request.caller.project, worked)
        arrived = self._clock.monotonic()
        until = arrived + self.reply_within if deadline is None else deadline
        begins = in_turn or await self.turn(request.caller.project, (until - arrived) * LAST_TURN)
        result = await self._answer(request, arrived, until) if begins else BUSY
        kind = request.step.kind if request.step.kind in self._steps.kinds else UNKNOWN_KIND
        self._telemetry.step(kind, result.status, self._clock.monotonic() - arrived)
        # The caller need not wait for a line to be written: it follows when the answer is on its way.
        asyncio.get_running_loop().call_soon(_log, kind, request.caller, result)
        return result

    async def _answer(self, request: StepRequest, arrived: float, deadline: float) -> StepResult:
        job = self._workers.spawn(lambda: self._steps.execute(request, arrived), request.caller.project)
        answerable = _Answerable(job)
        # Waiting for its turn may have taken most of the time: the deadline stays what it was.
        if not await answerable.within((deadline - self._clock.monotonic()) / 2) and job.cancel():
            return BUSY
        if not await answerable.within(deadline - self._clock.monotonic()) and not job.done():
            return StepResult.running(READING, SOON)
        outcome = job.result()
        return outcome if isinstance(outcome, StepResult) else outcome.answer()


class _Count:
    """Calls under way, each of which is in the ``with`` of this one object; for one event loop."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> None:
        self.calls += 1

    def __exit__(self, *_: object) -> None:
        self.calls -= 1


class _Answerable:
    """Whether the answer can be told: the loop is woken once, however many threads have a part in it.

    Waking it for each of them would have it compete with the dispatch that has just begun.
    """

    def __init__(self, job: "Future[StepResult | Underway]") -> None:
        self._loop = asyncio.get_running_loop()
        self._told = False
        self._waiter: asyncio.Future[None] | None = None
        job.add_done_callback(self._called)

    async def within(self, seconds: float) -> bool:
        """Wait for it; whether it can be told. `asyncio.wait` would take three times as long, with each call."""
        if not self._told:
            waiter = self._waiter = self._loop.create_future()
            timer = self._loop.call_later(max(seconds, 0.0), _end, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
        return self._told

    def _called(self, job: "Future[StepResult | Underway]") -> None:
        try:
            outcome = job.result()
        except BaseException:  # noqa: BLE001  whoever waits asks the job itself
            outcome = None
        if outcome is None or isinstance(outcome, StepResult):
            self._wake(job)
        else:
            outcome.ready.add_done_callback(self._wake)

    def _wake(self, _: "Future[Any]") -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._told = True
        if self._waiter is not None:
            _end(self._waiter)


def _end(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _log(kind: str, caller: Caller, result: StepResult) -> None:
    run = getattr(result.output, "run_id", None)
    level = logging.WARNING if result.status is Status.FAILED else logging.INFO
    whose = subject(caller.key_parts, caller.promotion, run)
    tell(level, f"{kind}: {result.status} {result.message}", whose)
