"""When a wait ends: with its run, with the jobs that it names, or when nobody has re-run a failed run in time. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gha_step.github.runs import CONCLUSIONS, ObservedJob, ObservedRun, Phase, failed_jobs, meaning_of

ALL_GRACES: Final = 86_400.0  # seconds from the first failure on, however often it is run again
SHOWN_NAMES: Final = 20
KEPT_JOBS: Final = 50  # a host writes them into its own database
# Of several jobs the first of these that one of them has; a conclusion that GitHub invents comes before `neutral`.
_WORST: Final = ("failure", "timed_out", "startup_failure", "cancelled", "action_required", "stale")


@dataclass(frozen=True)
class Named:
    """The jobs that a step waits for. ``conclusion``: what they have come to; ``None`` as long as one of them has not.

    ``failed``: those by which they failed, and ``more_failed``: how many more did. ``unseen``: names of which there was
    no job; ``names``: of all jobs of the run.
    """

    jobs: tuple[ObservedJob, ...]
    conclusion: str | None
    failed: tuple[ObservedJob, ...]
    more_failed: int
    unseen: tuple[str, ...]
    names: tuple[str, ...]


def is_named(job: str, name: str) -> bool:
    """Whether ``job`` is the whole name, or that of one job of a matrix: `name (eu, large)`.

    The job of a workflow that a matrix calls has a name that goes on after the bracket, and is another one.
    """
    return job == name or (job.startswith(f"{name} (") and job.endswith(")") and ") / " not in job[len(name) :])


def named(jobs: Iterable[ObservedJob], names: tuple[str, ...]) -> Named:
    """Those of ``jobs`` that ``names`` mean, each by its latest attempt."""
    latest: dict[str, ObservedJob] = {}
    for job in jobs:
        if job.name not in latest or latest[job.name].attempt < job.attempt:
            latest[job.name] = job
    meant = tuple(job for job in latest.values() if any(is_named(job.name, name) for name in names))
    unseen = tuple(name for name in names if not any(is_named(job.name, name) for job in meant))
    conclusion = None if unseen else _worst({job.conclusion for job in meant})
    failed = failed_jobs(meant) if conclusion is not None else ()
    more = max(0, len(failed) - KEPT_JOBS)
    return Named(meant[:KEPT_JOBS], conclusion, failed[:KEPT_JOBS], more, unseen, tuple(latest)[:SHOWN_NAMES])


def _worst(found: set[str | None]) -> str | None:
    if None in found:
        return None
    invented = sorted(one for one in found if one is not None and one not in CONCLUSIONS)
    return next((one for one in (*_WORST, *invented, "neutral", "success", "skipped") if one in found), None)


def conclusion_of(run: ObservedRun, jobs: Named | None) -> str | None:
    """What is waited for has come to this; ``None``: it goes on."""
    if jobs is not None:
        return jobs.conclusion
    return run.conclusion if run.phase is Phase.COMPLETED else None


def may_be_run_again(conclusion: str) -> bool:
    """Whether somebody who sees it is likely to press "Re-run"."""
    return conclusion != "cancelled" and meaning_of(conclusion).by_jobs


def grace_left(run: ObservedRun, first_failed_at: float | None, grace: float, now: float) -> float:
    """Seconds for which a new attempt of a run that has failed is still waited for; 0: none.

    :param first_failed_at: when its first attempt ended. All times are GitHub's, so that a restart begins nothing anew.
    """
    ended = now if run.updated_at is None else run.updated_at
    until = min(ended + grace, (ended if first_failed_at is None else first_failed_at) + ALL_GRACES)
    return max(0.0, until - now)
