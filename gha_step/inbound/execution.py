"""How long a call may take: the step runs on bounded threads, and the caller hears within the reply limit.

Work that takes longer goes on by itself; the next call joins it.
"""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Final

from gha_step.contract.request import Caller, StepRequest
from gha_step.contract.result import Status, StepResult
from gha_step.inbound.room import Room
from gha_step.runtime import Clock, Workers
from gha_step.steps.kind import BUSY, SOON, Underway
from gha_step.steps.registry import Steps
from gha_step.telemetry import UNKNOWN_KIND, Telemetry, log, subject

READING: Final = "nothing is known about this step yet: its Secret or the ledger takes long to read"


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
        self.reply_within = reply_within
        self.room = Room()
        self.calls = 0
        """How many calls have no answer yet."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A call that a stop has to wait for."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1

    async def execute(self, request: StepRequest, deadline: float | None = None) -> StepResult:
        """The answer to one call, within the reply limit or by ``deadline``, monotonic seconds."""
        arrived = self._clock.monotonic()
        result = await self._answer(request, arrived, arrived + self.reply_within if deadline is None else deadline)
        kind = request.step.kind if request.step.kind in self._steps.kinds else UNKNOWN_KIND
        self._telemetry.step(kind, result.status, self._clock.monotonic() - arrived)
        # The caller need not wait for a line to be written: it follows when the answer is on its way.
        asyncio.get_running_loop().call_soon(_log, kind, request.caller, result)
        return result

    async def _answer(self, request: StepRequest, arrived: float, deadline: float) -> StepResult:
        job = self._workers.spawn(lambda: self._steps.execute(request, arrived), request.caller.project)
        answerable = _answerable(job)
        if not await self._by(answerable, (arrived + deadline) / 2) and job.cancel():
            return BUSY
        if not await self._by(answerable, deadline) and not job.done():
            return StepResult.running(READING, SOON)
        outcome = job.result()
        return outcome if isinstance(outcome, StepResult) else outcome.answer()

    async def _by(self, answerable: "asyncio.Future[None]", deadline: float) -> bool:
        if not answerable.done():
            await asyncio.wait([answerable], timeout=max(0.0, deadline - self._clock.monotonic()))
        return answerable.done()


def _answerable(job: "Future[StepResult | Underway]") -> "asyncio.Future[None]":
    """Done when the answer can be told: the loop is woken once, however many threads have a part in it.

    Waking it for each of them would have it compete with the dispatch that has just begun.
    """
    loop = asyncio.get_running_loop()
    answerable: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not answerable.done():
            answerable.set_result(None)

    def wake(_: "Future[Any]") -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(tell)

    def called(job: "Future[StepResult | Underway]") -> None:
        outcome = None if job.cancelled() or job.exception() is not None else job.result()
        if outcome is None or isinstance(outcome, StepResult):
            wake(job)
        else:
            outcome.ready.add_done_callback(wake)

    job.add_done_callback(called)
    return answerable


def _log(kind: str, caller: Caller, result: StepResult) -> None:
    run = getattr(result.output, "run_id", None)
    level = logging.WARNING if result.status is Status.FAILED else logging.INFO
    whose = subject(caller.key_parts, caller.promotion, run)
    log.log(level, "%s: %s %s", kind, result.status, result.message, extra=whose)
