"""``gha-wait-for-workflow``: waits for a workflow run to end, and returns its conclusion.

One call is one poll. It resolves the call (config, Secret, endpoint), lets `RunPoller` poll and `answers` answer. It
keeps nothing that may not be lost: without memory it polls as if for the first time.
"""

from concurrent.futures import Future
from dataclasses import dataclass

from gha_step.contract.result import StepResult
from gha_step.contract.values import ConfigModel
from gha_step.github.runs import RunReference
from gha_step.runtime import Clock
from gha_step.steps.access import Repositories
from gha_step.steps.kind import Call, Underway
from gha_step.steps.wait.answers import Wish, tell, tell_slow
from gha_step.steps.wait.config import KIND, WaitForWorkflowConfig
from gha_step.steps.wait.run_poller import Look, RunPoller
from gha_step.steps.wait.snapshot import Wanted


class WaitForWorkflow:
    """See `gha_step.steps.kind.StepKind`."""

    kind = KIND
    config: type[ConfigModel] = WaitForWorkflowConfig

    def __init__(self, *, access: Repositories, run_poller: RunPoller, clock: Clock) -> None:
        self._access = access
        self._run_poller = run_poller
        self._clock = clock

    def execute(self, call: Call) -> StepResult | Underway:
        config = WaitForWorkflowConfig.parse(call.request.step.config)
        repository = self._access.repository(call.request.caller.project, config)
        run = RunReference(repository.endpoint, repository.owner, repository.name, config.run_id)
        wish = Wish(run, config)
        look = self._run_poller.look(
            run,
            repository.token,
            repository.renew,
            project=call.request.caller.project,
            wanted=Wanted(
                outputs=None if config.outputs is None else config.outputs.artifact,
                jobs=config.jobs,
                grace=config.rerun_grace,
                expected=config.expected_conclusion if config.rerun_grace else None,
            ),
        )
        if isinstance(look, Look):
            return LookUnderway(wish, look, self._clock)
        return tell(wish, look, self._clock.monotonic())


@dataclass(frozen=True)
class LookUnderway:
    """One call's view of the look that it joined; see `gha_step.steps.kind.Underway`."""

    wish: Wish
    look: Look
    clock: Clock

    @property
    def ready(self) -> "Future[None]":
        return self.look.ready

    def answer(self) -> StepResult:
        seen = self.look.seen
        if seen is None:
            return tell_slow(self.wish, self.look.before)
        self.look.told = True
        return tell(self.wish, seen, self.clock.monotonic())
