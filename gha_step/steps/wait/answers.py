"""The answer to the host about a run that it waits for, only from what was seen. Pure."""

from typing import Final, NamedTuple

from gha_step.contract.json_text import parse_json
from gha_step.contract.result import StepResult
from gha_step.github.runs import FINE, ObservedJob, ObservedRun, PendingDeployment, Phase, RunReference, meaning_of
from gha_step.steps.wait.config import FailedJob, NamedJob, WaitForWorkflowConfig, WaitForWorkflowOutput
from gha_step.steps.wait.ending import Named, conclusion_of
from gha_step.steps.wait.snapshot import Outputs, Snapshot, Trouble

SLOW: Final = 5.0  # seconds after which to ask for what a look that goes on has seen
HOLD_LIMIT: Final = 60.0  # seconds: trouble never makes the host wait longer, for it may be over
NAMED_JOBS: Final = 5  # in a message; the output holds more
NAMED_ENVIRONMENTS: Final = 5
NAMED_REVIEWERS: Final = 6  # GitHub has no more of one environment
NEVER_BEGAN: Final = (
    "it was cancelled before a job began, most often because a newer run of its concurrency group took its place: with "
    "`queue: max` in the workflow's concurrency the runs wait for their turn"
)


class Wish(NamedTuple):
    """What one step asks for, of which run."""

    run: RunReference
    config: WaitForWorkflowConfig


def tell(wish: Wish, seen: Snapshot, now: float) -> StepResult:
    """The answer to a call. ``now``: monotonic, as `Trouble.until`."""
    run, config = seen.run, wish.config
    output = _output(run)
    if seen.failure is not None:
        return StepResult.failed(seen.failure, output)
    if seen.trouble is not None:
        return _troubled(wish, seen.trouble, run, output, now)
    if run is None:
        return _running(wish, f"{wish.run} is being checked", config.poll_interval, output)
    conclusion = conclusion_of(run, seen.named)
    if conclusion is None and seen.named is not None and seen.named.unseen and run.phase is Phase.COMPLETED:
        return StepResult.failed(_without_a_job(wish, run, seen.named), _ended_output(seen, run, run.conclusion))
    if conclusion is None:
        message = f"{_subject(wish, run)} {_standing(seen, run)}: {run.url}"
        return _running(wish, message, config.poll_interval, output)
    ended = f"{_what(wish, run)} ended with {conclusion}"
    if seen.grace is not None:
        return _waiting_for_a_rerun(wish, seen, run, ended)
    if config.outputs is not None and seen.outputs is None:  # too many were kept
        return _running(wish, f"the outputs of {_subject(wish, run)} are being read once more", SLOW, output)
    output = _ended_output(seen, run, conclusion)
    also = f"{_skipped(seen)}{_of_outputs(seen.outputs)}"
    expected = config.expected_conclusion
    if expected is not None and expected != conclusion:
        what = f"{ended}, but {expected} was expected{_why(seen, run, conclusion)}{also}"
        return StepResult.failed(what, output)
    problem = seen.outputs.problem if seen.outputs is not None else ""
    if problem and config.outputs is not None and config.outputs.required and conclusion in FINE:
        return StepResult.failed(f"{ended}, but it has no outputs: {problem} ({run.url})", output)
    return StepResult.succeeded(f"{ended}{_why(seen, run, conclusion)}{also}", output)


def _waiting_for_a_rerun(wish: Wish, seen: Snapshot, run: ObservedRun, ended: str) -> StepResult:
    left = seen.grace or 0.0
    until = f"waiting {left:.0f} s more for a new attempt" if run.phase is Phase.COMPLETED else "the run continues"
    output = _ended_output(seen, run, None)
    message = f"{ended}; {until}{_why(seen, run, '')}"
    return _running(wish, message, min(wish.config.poll_interval, left + 1.0), output)


def _without_a_job(wish: Wish, run: ObservedRun, named: Named) -> str:
    missing = ", ".join(map(repr, named.unseen))
    there = f"its jobs are {', '.join(map(repr, named.names))}" if named.names else "it has no jobs"
    return (
        f"{_subject(wish, run)} ended with {run.conclusion}, and had no job {missing}; {there}: correct the job's name "
        f"({run.url})"
    )


def _skipped(seen: Snapshot) -> str:
    skipped = [job.name for job in seen.named.jobs if job.conclusion == "skipped"] if seen.named is not None else []
    return f"; skipped: {', '.join(map(repr, skipped[:NAMED_JOBS]))}" if skipped else ""


def _of_outputs(outputs: Outputs | None) -> str:
    if outputs is None:
        return ""
    return f"; no outputs: {outputs.problem}" if outputs.problem else f"; {outputs.note}" if outputs.note else ""


def tell_slow(wish: Wish, before: Snapshot) -> StepResult:
    """The answer while a look goes on. ``before``: what was known when it began."""
    message = f"waiting for {wish.run}, {_last(before.run)} ({wish.run.endpoint.host} takes long to answer)"
    # Not the poll interval: what the look will have seen is told for half a minute only.
    return _running(wish, message, SLOW, _output(before.run))


def _troubled(
    wish: Wish, trouble: Trouble, run: ObservedRun | None, output: WaitForWorkflowOutput, now: float
) -> StepResult:
    left = max(0.0, trouble.until - now)
    again = max(wish.config.poll_interval, min(left, HOLD_LIMIT))
    message = f"waiting for {wish.run}, {_last(run)} ({trouble.message}; {_until(left)})"
    return _running(wish, message, again, output)


def _running(wish: Wish, message: str, retry_after: float, output: WaitForWorkflowOutput) -> StepResult:
    return StepResult.running(message, retry_after, output, waits_for=wish.run.run_id)


def _last(run: ObservedRun | None) -> str:
    return "not seen yet" if run is None else f"when last seen it was {run.status_words}: {run.url}"


def _until(seconds: float) -> str:
    return f"asked again in {seconds:.0f} s" if seconds >= 1 else "asked again with the next call"


def _subject(wish: Wish, run: ObservedRun) -> str:
    return str(wish.run) + (f" (attempt {run.attempt})" if run.attempt > 1 else "")


def _what(wish: Wish, run: ObservedRun) -> str:
    """What is waited for: the run, or jobs of it."""
    jobs = wish.config.jobs
    if not jobs:
        return _subject(wish, run)
    named = ", ".join(map(repr, jobs[:NAMED_JOBS])) + (", …" if len(jobs) > NAMED_JOBS else "")
    return f"{'job' if len(jobs) == 1 else 'jobs'} {named} of {_subject(wish, run)}"


def _standing(seen: Snapshot, run: ObservedRun) -> str:
    if run.phase is Phase.AWAITING_APPROVAL:
        return _awaiting(seen)
    if seen.ahead is not None:
        return f"is {run.status}: it waits {seen.ahead}"
    if run.status == "completed":
        return "is completed, but GitHub does not show its conclusion yet"
    return f"is {run.status_words}"


def _awaiting(seen: Snapshot) -> str:
    if seen.detail:
        return f"is waiting for approval; reviewers unknown ({seen.detail})"
    if not seen.pending:
        return "waits for a deployment protection rule"
    more = len(seen.pending) - NAMED_ENVIRONMENTS
    also = [f"for {more} more environments"] if more > 0 else []
    return "waits " + ", and ".join([*map(_deployment, seen.pending[:NAMED_ENVIRONMENTS]), *also])


def _deployment(pending: PendingDeployment) -> str:
    if pending.reviewers:
        reviewers = " or ".join(pending.reviewers[:NAMED_REVIEWERS])
        return f"for the approval of environment {pending.environment} by {reviewers}"
    if pending.wait_minutes:
        return f"for the timer of environment {pending.environment} ({pending.wait_minutes} minutes)"
    return f"for a protection rule of environment {pending.environment}"


def _why(seen: Snapshot, run: ObservedRun, conclusion: str) -> str:
    """What there is to add to a conclusion, and the link to the run."""
    words = meaning_of(conclusion).words
    if conclusion == "startup_failure":
        where = f" {run.workflow}" if run.workflow else ""
        at = f" at {run.ref}" if run.ref else ""
        words = f"the workflow file{where} is invalid{at}, so nothing ran: correct it there, the run's page says what"
    elif seen.never_began:
        words = NEVER_BEGAN
    elif seen.jobs:
        words = "; ".join(_job(job) for job in seen.jobs[:NAMED_JOBS])
        if (more := len(seen.jobs) - NAMED_JOBS + seen.more_jobs) > 0:
            words += f"; and {more} more"
    elif seen.detail:
        words = f"its jobs could not be read: {seen.detail}"
    return f": {words} ({run.url})" if words else f": {run.url}"


def _job(job: ObservedJob) -> str:
    step = f" in its step {job.failed_step!r}" if job.failed_step else ""
    link = f" ({job.url})" if job.url else ""
    errors = "".join(f": {error}" if n == 0 else f", and {error}" for n, error in enumerate(job.annotations))
    return f"job {job.name!r} ended with {job.conclusion}{step}{link}{errors}"


def _output(run: ObservedRun | None) -> WaitForWorkflowOutput:
    """Without a conclusion, even if there was one: a run that was over when last seen may have been re-run."""
    if run is None:
        return WaitForWorkflowOutput()
    return WaitForWorkflowOutput(status=run.status, url=run.url, attempt=run.attempt)


def _named(seen: Snapshot) -> tuple[NamedJob, ...] | None:
    jobs = seen.named.jobs if seen.named is not None else ()
    return tuple(NamedJob(name=job.name, conclusion=job.conclusion, url=job.url) for job in jobs) or None


def _ended_output(seen: Snapshot, run: ObservedRun, conclusion: str | None) -> WaitForWorkflowOutput:
    return WaitForWorkflowOutput(
        conclusion=conclusion,
        status=run.status,
        url=run.url,
        attempt=run.attempt,
        failed_jobs=tuple(_failed(job) for job in seen.jobs) or None,
        jobs=_named(seen),
        outputs=parse_json(seen.outputs.json) if seen.outputs is not None and seen.outputs.json else None,
    )


def _failed(job: ObservedJob) -> FailedJob:
    return FailedJob(
        name=job.name,
        conclusion=job.conclusion or "",
        failed_step=job.failed_step,
        url=job.url,
        errors=tuple(map(str, job.annotations)) or None,
    )
