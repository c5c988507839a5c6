"""What becomes of a workflow run: status × conclusion → phase, and what an answer about a run proves. Pure.

Statuses and conclusions are two tables. A status that GitHub invents tomorrow counts as running, a conclusion that
it invents as one that may have failed jobs. A run has ended only when its status is `completed`.

Source: https://docs.github.com/en/rest/actions/workflow-runs and facts/github-dispatch.md ("Runs").
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import quote

from gha_step.contract.json_text import parse_json
from gha_step.contract.secret import Token
from gha_step.github.dispatch import NOT_GITHUBS, Workflow, rate_limit
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, RateLimited, Refused, Unclear
from gha_step.github.messages import Answer, github_words

JOBS_PER_PAGE: Final = 100  # the most that GitHub gives
LONGEST_TEXT: Final = 200  # characters of a name that somebody else chose


class Phase(Enum):
    """What a waiting step has to do with a run."""

    RUNNING = "wait"
    AWAITING_APPROVAL = "wait, and say for whom"
    COMPLETED = "tell its conclusion"


STATUSES: Final = {
    "requested": (Phase.RUNNING, "requested: GitHub has not queued it yet"),
    "queued": (Phase.RUNNING, "queued: it waits for a runner"),
    "pending": (Phase.RUNNING, "pending: another run of its concurrency group goes first"),
    "waiting": (Phase.AWAITING_APPROVAL, "waiting"),
    "in_progress": (Phase.RUNNING, "in progress"),
    "completed": (Phase.COMPLETED, "completed"),
}


@dataclass(frozen=True)
class Meaning:
    """What a conclusion says. ``by_jobs``: whether single jobs can tell why."""

    by_jobs: bool
    words: str = ""


CONCLUSIONS: Final = {
    "success": Meaning(by_jobs=False),
    "neutral": Meaning(by_jobs=False),
    "skipped": Meaning(by_jobs=False, words="the `if:` of every job was false"),
    "failure": Meaning(by_jobs=True),
    "timed_out": Meaning(by_jobs=True, words="it ran longer than its timeout-minutes allows"),
    "cancelled": Meaning(by_jobs=True, words="somebody, or a newer run of its concurrency group, cancelled it"),
    "action_required": Meaning(by_jobs=False, words="GitHub asks for an action on the run's page"),
    "stale": Meaning(by_jobs=False, words="GitHub gave it up, because it did not go on for two weeks"),
    "startup_failure": Meaning(by_jobs=False),
}
_INVENTED: Final = Meaning(by_jobs=True)


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


@dataclass(frozen=True)
class ObservedRun:
    """A run as GitHub shows it. ``workflow`` and ``ref``: path of its workflow file and branch or tag, or ''."""

    status: str
    conclusion: str | None
    attempt: int
    url: str
    workflow: str = ""
    ref: str = ""

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
        return CONCLUSIONS.get(self.conclusion or "", _INVENTED)


@dataclass(frozen=True)
class ObservedJob:
    """A job of a run. ``conclusion``: `None` while it runs; ``failed_step``: its first step that failed."""

    name: str
    conclusion: str | None
    failed_step: str | None
    url: str | None


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


def decipher_refusal(answer: Answer, run: RunReference, token: Token) -> GitHubError:
    """What an answer that is neither 200 nor 304 says to a request about ``run``.

    :returns: `RateLimited` (its ``wait`` counts from now on), `Refused`, or `Unclear` for what may pass; its
        ``retry_after``: the seconds that the answer asks for, if it does.
    """
    words = shown(github_words(answer))
    said = f"{answer.status}: {words!r}" if words else str(answer.status)
    # What counts as a limit, and for how long, is told in one place; its message is about a dispatch.
    if limited := rate_limit(answer, words, Workflow(run.endpoint, run.owner, run.repo, file="", ref="")):
        return RateLimited(f"{run.endpoint.host} has rate-limited {token.subject} ({said})", limited.wait)
    if 300 <= answer.status < 500 and answer.status not in _PASSING:
        message = f"GitHub does not show {run} ({said}): {_advice(answer, words, run, token.subject)}"
        return Refused(message, answer.status, words, answer.headers.get("location"))
    unclear = Unclear(f"{run.endpoint.host} answered {said}")
    asked = answer.headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}", asked):
        unclear.retry_after = float(asked)
    return unclear


_PASSING: Final = frozenset({304, 408, 409, 423, 425})


def _advice(answer: Answer, words: str, run: RunReference, token: str) -> str:
    sso = re.search(r"url=(https?://\S+)", answer.headers.get("x-github-sso", ""))
    if sso:
        return f"authorise {token} for the organisation's single sign-on: {shown(sso[1], 500)}"
    if not words and answer.status in NOT_GITHUBS:
        return run.endpoint.not_a_github
    match answer.status:
        case 401:
            return f"{token} is wrong, expired or revoked: renew it"
        case 403 if "by integration" in words:
            return "give the GitHub App the permission Actions: read on this repository"
        case 403 if "by personal access token" in words:
            return f"give {token} the permission Actions: read on this repository"
        case 403:
            return f"{token} may not read runs here: it needs Actions: read (classic: scope repo)"
        case 404:
            return f"correct {run.endpoint.fields('runID')}, or let {token} see the repository"
        case status if 300 <= status < 400:
            return (
                f"the repository was renamed or moved to another server, or {run.endpoint.base} is not its API: "
                f"correct {run.endpoint.fields(address=True)}"
            )
        case _:
            return "correct the step's config"


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


def observed_run(answer: Answer, run: RunReference) -> ObservedRun:
    """The run in a 200.

    :raises Unclear: it is not this run.
    """
    try:
        body = parse_json(answer.body)
        if body["id"] != run.run_id or not isinstance(body["status"], str):
            raise ValueError
        conclusion, attempt = body.get("conclusion"), body.get("run_attempt")
        return ObservedRun(
            status=shown(body["status"]),
            conclusion=shown(conclusion) if isinstance(conclusion, str) and conclusion else None,
            attempt=attempt if isinstance(attempt, int) and attempt > 0 else 1,
            url=_url(body.get("html_url")) or run.page,
            workflow=_text(body.get("path")),
            ref=_text(body.get("head_branch")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear(f"{run.endpoint.host} answered 200, but not with {run}: {run.endpoint.not_a_github}") from None


def jobs_page(answer: Answer) -> JobsPage:
    """The jobs in a 200.

    :raises Unclear: they are none.
    """
    try:
        body = parse_json(answer.body)
        return JobsPage(tuple(_job(entry) for entry in body["jobs"]), int(body["total_count"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with the run's jobs") from None


def _job(entry: dict[str, Any]) -> ObservedJob:
    conclusion = entry.get("conclusion")
    return ObservedJob(
        name=_text(entry["name"]),
        conclusion=shown(conclusion) if isinstance(conclusion, str) else None,
        failed_step=_failed_step(entry.get("steps") or []),
        url=_url(entry.get("html_url")),
    )


def _failed_step(steps: list[dict[str, Any]]) -> str | None:
    for failed in (("failure", "timed_out"), ("cancelled",)):
        for step in steps:
            if step.get("conclusion") in failed:
                return _text(step.get("name")) or f"step {step.get('number')}"
    return None


def failed_jobs(jobs: tuple[ObservedJob, ...]) -> tuple[ObservedJob, ...]:
    """The jobs by which a run failed. Those that were cancelled count only if no other did: a failing job of a
    matrix cancels its siblings."""
    ended = [job for job in jobs if job.conclusion not in (None, "success", "neutral", "skipped")]
    return tuple([job for job in ended if job.conclusion != "cancelled"] or ended)


def pending_deployments(answer: Answer) -> tuple[PendingDeployment, ...]:
    """What a run waits for, in a 200.

    :raises Unclear: the answer does not tell.
    """
    try:
        return tuple(_pending(entry) for entry in parse_json(answer.body))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with the run's pending deployments") from None


def _pending(entry: dict[str, Any]) -> PendingDeployment:
    timer = entry.get("wait_timer")
    return PendingDeployment(
        environment=_text(entry["environment"]["name"]),
        reviewers=tuple(_reviewer(one) for one in entry.get("reviewers") or []),
        wait_minutes=timer if isinstance(timer, int) else 0,
    )


def _reviewer(entry: dict[str, Any]) -> str:
    reviewer = entry["reviewer"]
    if entry.get("type") == "Team":
        return f"team {_text(reviewer.get('slug') or reviewer.get('name'))}"
    return _text(reviewer.get("login"))


def shown(text: str, longest: int = LONGEST_TEXT) -> str:
    """``text`` as a message may hold it: one line, printable, not too long.

    What GitHub sends may hold half of a surrogate pair, with which no answer could be written.
    """
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _text(value: object) -> str:
    return shown(value) if isinstance(value, str) else ""


def _url(value: object) -> str | None:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[!-~]{1,2000}", value):
        return None
    return value
