"""What becomes of a workflow run: status × conclusion → phase, and what an answer about a run proves. Pure.

Statuses and conclusions are two tables. A status that GitHub invents tomorrow counts as running, a conclusion that
it invents as one that may have failed jobs. A run has ended only when its status is `completed`.

Source: https://docs.github.com/en/rest/actions/workflow-runs and facts/github-dispatch.md ("Runs").
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import quote

from gha_step.github.annotations import Annotation
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Refused, Unclear
from gha_step.github.messages import Answer, entries, own_link, positive_id, shown, text, when
from gha_step.github.refusals import Asked

_MOST_ATTEMPTS: Final = 1_000_000  # of a run; what is more is no number of attempts
_MOST_JOBS: Final = 1_000_000
_MOST_PENDING: Final = 256  # deployments: a matrix has no more jobs
EXACT: Final = 1 << 53  # what every reader of JSON reads alike
_LONGEST_TIMER: Final = 43_200  # minutes, as GitHub documents it


class Phase(Enum):
    """What a waiting step has to do with a run."""

    RUNNING = "wait"
    AWAITING_APPROVAL = "wait, and say for whom"
    COMPLETED = "tell its conclusion"


STATUSES: Final = {
    "requested": (Phase.RUNNING, "requested: GitHub has not queued it yet"),
    "queued": (Phase.RUNNING, "queued: it waits for a runner"),
    "pending": (Phase.RUNNING, "pending: another run of its concurrency group is before it"),
    "waiting": (Phase.AWAITING_APPROVAL, "waiting"),
    "in_progress": (Phase.RUNNING, "in progress"),
    "completed": (Phase.COMPLETED, "completed"),
}


@dataclass(frozen=True)
class Meaning:
    """What a conclusion says. ``by_jobs``: whether single jobs can tell why."""

    by_jobs: bool
    words: str = ""


FINE: Final = frozenset({"success", "neutral", "skipped"})  # conclusions of a run, or a job, that has not failed
CONCLUSIONS: Final = {
    "success": Meaning(by_jobs=False),
    "neutral": Meaning(by_jobs=False),
    "skipped": Meaning(by_jobs=False, words="the `if:` of every job was false"),
    "failure": Meaning(by_jobs=True),
    "timed_out": Meaning(by_jobs=True, words="it ran longer than its timeout-minutes allows"),
    "cancelled": Meaning(by_jobs=True, words="somebody, or a newer run of its concurrency group, cancelled it"),
    "action_required": Meaning(by_jobs=False, words="GitHub asks for an action on the run's page"),
    "stale": Meaning(by_jobs=False, words="GitHub gave up on it after two weeks without progress"),
    "startup_failure": Meaning(by_jobs=False),
}
_INVENTED: Final = Meaning(by_jobs=True)


def meaning_of(conclusion: str) -> Meaning:
    """What a conclusion says, also one that GitHub has invented since."""
    return CONCLUSIONS.get(conclusion, _INVENTED)


@dataclass(frozen=True)
class RunReference:
    """The subject of every message: which run, where. ``owner`` and ``repo`` as the user wrote them."""

    endpoint: Endpoint
    owner: str
    repo: str
    run_id: int

    def __str__(self) -> str:
        return f"run {self.run_id} of {self.owner}/{self.repo}"

    @property
    def repository_path(self) -> str:
        """Path below the API base, escaped."""
        return f"/repos/{quote(self.owner, safe='')}/{quote(self.repo, safe='')}"

    @property
    def page(self) -> str:
        """The run's page, where GitHub's answer holds no link to it."""
        owner, repo = (quote(part, safe="") for part in (self.owner, self.repo))
        return f"{self.endpoint.web}/{owner}/{repo}/actions/runs/{self.run_id}"

    @property
    def asked(self) -> Asked:
        """A request about it, for messages."""
        return Asked(self.endpoint, "show", str(self), self.owner, self.repo, fields=("runID",))


@dataclass(frozen=True)
class ObservedRun:
    """A run as GitHub shows it. ``workflow`` and ``ref``: path of its workflow file and branch or tag, or ''.

    ``repository_id`` and ``owner_id``: 0 where the answer does not tell.
    ``started_at`` and ``updated_at`` are the attempt's, in seconds since 1970 by GitHub's clock.
    """

    status: str
    conclusion: str | None
    attempt: int
    url: str
    workflow: str = ""
    ref: str = ""
    repository_id: int = 0
    owner_id: int = 0
    started_at: float | None = None
    updated_at: float | None = None

    @property
    def phase(self) -> Phase:
        phase, _ = STATUSES.get(self.status, (Phase.RUNNING, ""))
        # A completed run without a conclusion is about to get one.
        return Phase.RUNNING if phase is Phase.COMPLETED and self.conclusion is None else phase

    @property
    def status_words(self) -> str:
        """The status, for a person."""
        return STATUSES[self.status][1] if self.status in STATUSES else self.status

    @property
    def meaning(self) -> Meaning:
        """What its conclusion says."""
        return meaning_of(self.conclusion or "")


@dataclass(frozen=True)
class ObservedJob:
    """A job of a run. ``conclusion``: `None` while it runs; ``failed_step``: its first step that failed.

    ``attempt``: in which it ran; less than the run's, if its result was carried over. ``began``: whether a runner took
    it. ``annotations``: what it says of its failure, where that was asked for.
    """

    name: str
    conclusion: str | None
    failed_step: str | None
    url: str | None
    attempt: int = 1
    id: int | None = None
    began: bool = True
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True)
class JobsPage:
    """One page of a run's jobs. ``total``: how many there are on all pages."""

    jobs: tuple[ObservedJob, ...]
    total: int


@dataclass(frozen=True)
class PendingDeployment:
    """What a waiting run waits for. ``reviewers``: logins, and ``team …``; ``wait_minutes``: a timer, or 0."""

    environment: str
    reviewers: tuple[str, ...]
    wait_minutes: int


def moved_to(refusal: Refused, run: RunReference) -> str | None:
    """The path below the API base under which a renamed repository is found, if it stays on its server.

    The token goes nowhere else: the redirect must lead below the very same base.
    """
    if not 300 <= refusal.status < 400 or refusal.location is None:
        return None
    below = re.fullmatch(
        rf"{re.escape(run.endpoint.base)}(/repositories/[0-9]{{1,20}})/actions/runs/{run.run_id}", refusal.location
    )
    return below[1] if below else None


def no_such_run(run: RunReference) -> str:
    """Where its repository is seen, and it is not."""
    return (
        f"{run.owner}/{run.repo} has no run {run.run_id}: {run.endpoint.name_of('runID')} belongs to a run of another "
        "repository or was deleted, e.g. by the retention of runs: take it from the output runID of the step that "
        "dispatched it"
    )


def observed_run(answer: Answer, run: RunReference) -> ObservedRun:
    """The run in a 200.

    :raises Unclear: it is not this run.
    """
    try:
        body = answer.json()
        if positive_id(body["id"]) != run.run_id or not isinstance(body["status"], str):
            raise ValueError
        repository = body.get("repository") or {}
        return ObservedRun(
            status=shown(body["status"]),
            conclusion=text(body.get("conclusion")) or None,
            attempt=_count(body.get("run_attempt"), _MOST_ATTEMPTS) or 1,
            url=own_link(body.get("html_url"), run.endpoint) or run.page,
            workflow=text(body.get("path")),
            ref=text(body.get("head_branch")),
            repository_id=_count(repository.get("id"), EXACT),
            owner_id=_count((repository.get("owner") or {}).get("id"), EXACT),
            started_at=when(body.get("run_started_at")),
            updated_at=when(body.get("updated_at")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear(f"{run.endpoint.host} answered 200, but not with {run}: {run.endpoint.not_a_github}") from None


def _count(value: object, most: int) -> int:
    """A number of things; 0 where it cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else 0


def jobs_page(answer: Answer, run: RunReference) -> JobsPage:
    """The jobs in a 200.

    :raises Unclear: they are none.
    """
    try:
        body = answer.json()
        total = _count(body["total_count"], _MOST_JOBS)
        return JobsPage(tuple(_job(entry, run.endpoint) for entry in entries(body["jobs"])), total)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with the run's jobs") from None


def _job(entry: dict[str, Any], endpoint: Endpoint) -> ObservedJob:
    return ObservedJob(
        name=text(entry["name"]),
        conclusion=text(entry.get("conclusion")) or None,
        failed_step=_failed_step(entry.get("steps") or []),
        url=own_link(entry.get("html_url"), endpoint),
        attempt=_count(entry.get("run_attempt"), _MOST_ATTEMPTS) or 1,
        id=_count(entry.get("id"), 2**63 - 1) or None,
        began=bool(entry.get("steps")),
    )


def _failed_step(steps: list[dict[str, Any]]) -> str | None:
    for failed in (("failure", "timed_out"), ("cancelled",)):
        for step in steps:
            if step.get("conclusion") in failed:
                return text(step.get("name")) or f"step {_count(step.get('number'), _MOST_JOBS)}"
    return None


def failed_jobs(jobs: tuple[ObservedJob, ...]) -> tuple[ObservedJob, ...]:
    """The jobs by which a run failed. Those that were cancelled count only if no other did: a failing job of a
    matrix cancels its siblings."""
    ended = [job for job in jobs if job.conclusion not in (None, *FINE)]
    return tuple([job for job in ended if job.conclusion != "cancelled"] or ended)


def never_began(run: ObservedRun, jobs: Iterable[ObservedJob]) -> bool:
    """Whether the run was cancelled before any job of this attempt began. ``jobs``: all of it."""
    return run.conclusion == "cancelled" and not any(job.began and job.attempt == run.attempt for job in jobs)


def pending_deployments(answer: Answer) -> tuple[PendingDeployment, ...]:
    """What a run waits for, in a 200.

    :raises Unclear: the answer does not tell.
    """
    try:
        return tuple(_pending(entry) for entry in entries(answer.json(), _MOST_PENDING))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with the run's pending deployments") from None


def _pending(entry: dict[str, Any]) -> PendingDeployment:
    return PendingDeployment(
        environment=text(entry["environment"]["name"]),
        reviewers=tuple(_reviewer(one) for one in entries(entry.get("reviewers") or [])),
        wait_minutes=_count(entry.get("wait_timer"), _LONGEST_TIMER),
    )


def _reviewer(entry: dict[str, Any]) -> str:
    reviewer = entry["reviewer"]
    if entry.get("type") == "Team":
        return f"team {text(reviewer.get('slug') or reviewer.get('name'))}"
    return text(reviewer.get("login"))
