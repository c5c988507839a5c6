"""Runs one step to its end for a person at a shell; Ctrl-C and SIGTERM end the wait, not what was started.

The steps run on other threads. This one only waits, so that a signal never interrupts anything halfway.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final

from gha_step.contract.errors import StepError
from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.inbound.shell.jobs import Jobs
from gha_step.inbound.shell.progress import Progress
from gha_step.runtime import Clock, Workers
from gha_step.steps.cancel import config as cancel
from gha_step.steps.follow import Following
from gha_step.steps.kind import Underway
from gha_step.steps.registry import Steps

ANSWER_WITHIN: Final = 5.0  # seconds: what a call has come to by then is told, and it goes on
DRAIN: Final = 25.0  # seconds for a POST on the wire to be answered and recorded
TICK: Final = 1.0  # seconds

Signals = SimpleQueue[str | None]
"""Names of signals, as they come; ``None``: something else to look at. Its put() may be called by a signal handler."""


class Interrupted(StepError):
    """A signal has ended the waiting.

    :param result: the last that is known of the step; ``None``: nothing.
    """

    def __init__(self, name: str, result: StepResult | None = None) -> None:
        super().__init__(name)
        self.result = result


class Follower:
    """Follows steps, one after the other.

    :param begin_no_more: lets no further dispatch begin.
    :param on_the_wire: how many POSTs have no answer yet, or one that is not yet in the ledger.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        workers: Workers,
        clock: Clock,
        signals: Signals,
        progress: Progress,
        begin_no_more: Callable[[], None],
        on_the_wire: Callable[[], int],
    ) -> None:
        self._steps = steps
        self._workers = workers
        self._clock = clock
        self._signals = signals
        self._progress = progress
        self._begin_no_more = begin_no_more
        self._on_the_wire = on_the_wire
        self._jobs: Jobs | None = None
        self._called: Future[StepResult | Underway] | None = None

    def follow(self, request: StepRequest, jobs: Jobs | None = None) -> StepResult:
        """The last answer to the step.

        :param jobs: of the run that is waited for, where somebody watches them.
        :raises Interrupted: a signal came first.
        """
        following = Following(request)
        result: StepResult | None = None
        self._jobs = jobs
        try:
            while following.wait is not None:
                self._until(lambda: False, following.wait)
                result = self._call(following.request)
                self._tell_jobs(result)
                if following.hear(result):
                    self._progress.news(result)
        except Interrupted as signal:
            raise Interrupted(str(signal), self._stop(following.request) or result) from None
        assert result is not None
        return result

    def _call(self, request: StepRequest) -> StepResult:
        arrived = self._clock.monotonic()
        self._called = self._workers.spawn(lambda: self._steps.execute(request, arrived))
        return self._answered(self._called, ANSWER_WITHIN)

    def _answered(self, call: "Future[StepResult | Underway]", within: float) -> StepResult:
        self._until_done(call, None)
        outcome = call.result()
        if isinstance(outcome, StepResult):
            return outcome
        self._until_done(outcome.ready, within)
        return outcome.answer()

    def _tell_jobs(self, result: StepResult) -> None:
        if self._jobs is None or "status" not in result.output_to_wire():  # nothing was seen of the run
            return
        job = self._workers.spawn(self._jobs.ended)
        self._until_done(job, ANSWER_WITHIN)
        for line in job.result() if job.done() else ():
            self._progress.say(line)

    def _stop(self, request: StepRequest) -> StepResult | None:
        """What has come of the step, once a POST that is on the wire has its answer. A second signal ends this."""
        self._begin_no_more()
        try:
            if request.step.kind == cancel.KIND:  # a further call might ask for what was not asked for yet
                return None if self._called is None else self._answered(self._called, DRAIN)
            self._until(lambda: not self._on_the_wire(), DRAIN, tick=0.05)
            return self._call(request)
        except Interrupted:
            return None

    def _until_done(self, job: "Future[Any]", seconds: float | None) -> None:
        job.add_done_callback(lambda _: self._signals.put(None))
        self._until(job.done, seconds)

    def _until(self, done: Callable[[], bool], seconds: float | None, tick: float = TICK) -> None:
        """Wait until ``done``, for at most so long. :raises Interrupted: a signal came."""
        deadline = None if seconds is None else self._clock.monotonic() + seconds
        while not done():
            left = tick if deadline is None else min(tick, deadline - self._clock.monotonic())
            if left <= 0:
                return
            try:
                name = self._signals.get(timeout=left)
            except Empty:
                self._progress.tick("" if self._jobs is None else self._jobs.summary)
                continue
            if name is not None:
                raise Interrupted(name)
