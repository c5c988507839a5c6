"""``gha-cancel-workflow``: cancels a workflow run and waits for its end, but never cancels a later attempt.

One call is one poll and at most one cancel request. The attempt is in the ledger before anything is cancelled. When the
cancel was sent, and whether a poll was refused, only this process remembers: if that is lost, it is sent once more.
"""

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final

from gha_step.contract.errors import LedgerUnavailable, StepError
from gha_step.contract.memory import Memory
from gha_step.contract.request import Caller
from gha_step.contract.result import StepResult
from gha_step.contract.values import ConfigModel
from gha_step.github.client import Client
from gha_step.github.errors import GitHubError, Refused, Untrusted
from gha_step.github.runs import ObservedRun, Phase, RunReference
from gha_step.ledger.bounds import too_long
from gha_step.ledger.keys import step_key
from gha_step.ledger.store import Conflict, Store
from gha_step.runtime import Clock, Workers
from gha_step.steps.access import Repositories, Repository
from gha_step.steps.cancel.config import KIND, CancelWorkflowConfig
from gha_step.steps.cancel.record import attempt_of, new_record
from gha_step.steps.kind import SOON, Call, Underway
from gha_step.steps.run_control import RunControl
from gha_step.steps.run_fields import RunOutput
from gha_step.telemetry import log

REFUSED_APART: Final = 10.0  # seconds between the two refusals that end the step
TROUBLE: Final = 10.0  # seconds after which to ask again


@dataclass
class _Turn:
    """What this process remembers of one step. Its one job writes it."""

    job: "Future[StepResult] | None" = None
    found_ended: bool = False
    asked_at: float | None = None  # monotonic
    forced: bool = False
    refused_since: float | None = None


class CancelWorkflow:
    """See `gha_step.steps.kind.StepKind`."""

    kind = KIND
    config: type[ConfigModel] = CancelWorkflowConfig

    def __init__(self, *, access: Repositories, client: Client, store: Store, clock: Clock, workers: Workers) -> None:
        self._access = access
        self._client = client
        self._store = store
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._turns: Memory[str, _Turn] = Memory()

    def execute(self, call: Call) -> StepResult | Underway:
        caller = call.request.caller
        names = [("context.promotion", caller.promotion), ("context.alias", caller.alias)]
        if (why := too_long([*names, ("context.promotionUID", caller.promotion_uid)])) is not None:
            return StepResult.failed(f"nothing was cancelled: {why}")
        config = CancelWorkflowConfig.parse(call.request.step.config)
        repository = self._access.repository(caller.project, config)
        run = RunReference(repository.endpoint, repository.owner, repository.name, config.run_id)
        key = step_key(*caller.key_parts)
        with self._lock:
            turn = self._turns.get(key) or _Turn()
            self._turns[key] = turn
            if turn.job is None or turn.job.done():
                job = partial(self._job, turn, caller, config, repository, run)
                turn.job = self._workers.spawn(job, caller.project)
            return _Going(turn.job, run)

    def _job(
        self, turn: _Turn, caller: Caller, config: CancelWorkflowConfig, repository: Repository, run: RunReference
    ) -> StepResult:
        work = RunControl(self._client, repository, run.run_id)
        try:
            result = self._go(turn, caller, config, work)
        except (Refused, Untrusted) as error:
            return self._refused(turn, error, work)
        except LedgerUnavailable as error:
            if error.lasting and turn.asked_at is None:
                return StepResult.failed(f"nothing is cancelled without the ledger: {error}")
            return StepResult.running(str(error), error.retry_after or TROUBLE)
        except StepError as error:
            wait = error.retry_after if not isinstance(error, GitHubError) else max(error.retry_after or 0, TROUBLE)
            return StepResult.failed(str(error)) if wait is None else StepResult.running(str(error), min(wait, 60.0))
        except Exception:  # noqa: BLE001  a host takes a 500 as final
            log.exception("cancelling %s failed", run)
            return StepResult.running("internal error; see gha-step's log", TROUBLE)
        turn.refused_since = None
        return result

    def _go(self, turn: _Turn, caller: Caller, config: CancelWorkflowConfig, work: RunControl) -> StepResult:
        record = self._store.read(caller.project, step_key(*caller.key_parts))
        meant = None if record is None else attempt_of(record, caller, work.run)
        observed = work.look()
        ended = observed.phase is Phase.COMPLETED
        if meant is None:  # of a run that has ended, too: somebody may run it again before the host calls once more
            try:
                self._store.write(new_record(caller, work.run, observed.attempt, self._clock.now()))
            except Conflict:
                return StepResult.running(f"{work.run} is checked once more", SOON, _output(observed))
            meant, turn.found_ended = observed.attempt, ended
        if observed.attempt != meant:
            return StepResult.succeeded(
                f"attempt {meant} of {work.run} has ended; attempt {observed.attempt} has begun since and is "
                f"left alone: {observed.url}",
                RunOutput(url=observed.url, attempt=meant),
            )
        if ended:
            how = f"ended with {observed.conclusion}"
            note = "had ended before, so nothing was cancelled" if turn.found_ended else how
            return StepResult.succeeded(f"{work.run} {note}: {observed.url}", _output(observed))
        return self._ask(turn, config, work, observed)

    def _ask(self, turn: _Turn, config: CancelWorkflowConfig, work: RunControl, observed: ObservedRun) -> StepResult:
        now = self._clock.monotonic()
        if turn.asked_at is None:
            if work.cancel(force=False, fields=("runID",)):
                turn.asked_at = now
        elif config.force is not None and not turn.forced and now - turn.asked_at >= config.force:
            turn.forced = work.cancel(force=True, fields=("runID",))
        asked = "about to be cancelled" if turn.asked_at is None else "cancelled"
        said = "force-cancelled" if turn.forced else asked
        message = f"{work.run} is {said}; waiting for its end, it is {observed.status_words}: {observed.url}"
        again = config.poll_interval
        if config.force is not None and turn.asked_at is not None and not turn.forced:
            again = min(again, max(1.0, turn.asked_at + config.force - now))
        return StepResult.running(message, again, _output(observed), waits_for=work.run.run_id)

    def _refused(self, turn: _Turn, error: GitHubError, work: RunControl) -> StepResult:
        """One odd refusal may pass; two some seconds apart do not."""
        now = self._clock.monotonic()
        if turn.refused_since is None:
            turn.refused_since = now
        left = turn.refused_since + REFUSED_APART - now
        if left > 0:
            return StepResult.running(f"{error}; trying once more", left)
        turn.refused_since = None
        return StepResult.failed(work.why(error))


@dataclass(frozen=True)
class _Going:
    """One call's view of the job that it joined; see `gha_step.steps.kind.Underway`."""

    job: "Future[StepResult]"
    run: RunReference

    @property
    def ready(self) -> "Future[None]":
        return self.job  # type: ignore[return-value]  # what it holds is read by `answer` only

    def answer(self) -> StepResult:
        if not self.job.done():
            return StepResult.running(f"{self.run} is being checked", SOON)
        return self.job.result()


def _output(run: ObservedRun) -> RunOutput:
    conclusion = run.conclusion if run.phase is Phase.COMPLETED else None
    return RunOutput(conclusion=conclusion, status=run.status, url=run.url, attempt=run.attempt)
