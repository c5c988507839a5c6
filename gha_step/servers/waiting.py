"""How long a call may take: the step runs on bounded threads, and the caller hears within the reply limit.

Work that takes longer goes on by itself; the next call joins it.
"""

import asyncio
from concurrent.futures import Future
from typing import Any, Final

from gha_step.contract.step import StepRequest, StepResult
from gha_step.runtime import Clock, Workers
from gha_step.steps.answers import BUSY
from gha_step.steps.registry import Steps
from gha_step.telemetry import Telemetry, log, subject

READING: Final = "nothing is known about this dispatch yet: its Secret or the ledger takes long to read"


class Execution:
    """Executes steps for asynchronous servers.

    :param reply_within: seconds, from a call's arrival to its answer.
    """

    def __init__(
        self, steps: Steps, *, workers: Workers, clock: Clock, telemetry: Telemetry, reply_within: float
    ) -> None:
        self._steps = steps
        self._workers = workers
        self._clock = clock
        self._telemetry = telemetry
        self._reply_within = reply_within
        self.calls = 0
        """How many calls have no answer yet."""

    async def execute(self, request: StepRequest) -> StepResult:
        """The answer to one call, within the reply limit."""
        arrived = self._clock.monotonic()
        self.calls += 1
        try:
            result = await self._answer(request, arrived)
        finally:
            self.calls -= 1
        kind = request.step.kind if request.step.kind in self._steps.kinds else "unknown"
        self._telemetry.step(kind, result.status, self._clock.monotonic() - arrived)
        context = request.context
        parts = (context.project, context.promotion_uid, context.alias)
        run = getattr(result.output, "run_id", None)
        log.info("%s: %s %s", kind, result.status, result.message, extra=subject(parts, context.promotion, run))
        return result

    async def _answer(self, request: StepRequest, arrived: float) -> StepResult:
        job = self._workers.spawn(lambda: self._steps.execute(request, arrived))
        if not await self._within(job, arrived + self._reply_within / 2):
            if job.cancel():
                return StepResult.running(BUSY.message, BUSY.retry_after)
            if not await self._within(job, arrived + self._reply_within):
                return StepResult.running(READING, BUSY.retry_after)
        outcome = job.result()
        if isinstance(outcome, StepResult):
            return outcome
        await self._within(outcome.ready, arrived + self._reply_within)
        return outcome.answer()

    async def _within(self, job: "Future[Any]", deadline: float) -> bool:
        if not job.done():
            waiter = asyncio.wrap_future(job)
            # Shielded: when the time is up the work goes on.
            await asyncio.wait([waiter], timeout=max(0.0, deadline - self._clock.monotonic()))
        return job.done()
