"""What can be asked of GitHub about one run: one request each, conditional where it can be. It decides nothing.

What it remembers (answers with their ETags) is this process's own, bounded, and may be lost: then the next request is
an ordinary one.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.github.annotations import ON_A_PAGE, Annotation, error_annotations
from gha_step.github.client import Client, in_smaller_pages
from gha_step.github.concurrency import Ahead, ahead_of, group_of, group_path
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, Refused, Unclear
from gha_step.github.messages import Answer, date
from gha_step.github.refusals import invisible
from gha_step.github.runs import (
    ObservedJob,
    ObservedRun,
    PendingDeployment,
    RunReference,
    jobs_page,
    no_such_run,
    observed_run,
    pending_deployments,
)

MOST_JOBS: Final = 1_000  # that are read, while a matrix has at most 256
LONGEST_ETAG: Final = 200  # characters; GitHub's have 68
REMEMBERED_PAGES: Final = 200  # of jobs: some 30 kB each
_Key: TypeAlias = tuple[Endpoint, str, Token]
T = TypeVar("T")


class Odd(Unclear):
    """A 200 that is not the run."""


@dataclass(frozen=True)
class Place:
    """Where a run is asked for. ``root``: path of the repository below the API base, under its present name."""

    root: str
    run: RunReference
    token: Token

    @property
    def path(self) -> str:
        """The run's own path below the API base."""
        return f"{self.root}/actions/runs/{self.run.run_id}"


class RunReader:
    """Asks GitHub about runs. Each method raises a `GitHubError` for any answer but the one it is named for."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._answers: Memory[_Key, tuple[str, Any]] = Memory()  # ETag, parsed
        self._pages: Memory[_Key, tuple[str, Any]] = Memory(REMEMBERED_PAGES)

    def run(self, at: Place) -> tuple[ObservedRun, float | None]:
        """The run, and GitHub's clock when it answered.

        :raises Odd: the answer is not this run.
        """

        def parsed(answer: Answer) -> ObservedRun:
            try:
                return observed_run(answer, at.run)
            except Unclear as error:
                raise Odd(str(error)) from None

        return self._get("run", at, at.path, parsed)

    def first_attempt_ended_at(self, at: Place) -> float | None:
        """When its first attempt ended, by GitHub's clock."""
        path = f"{at.path}/attempts/1"
        return self._get("run_attempt", at, path, lambda answer: observed_run(answer, at.run))[0].updated_at

    def pending_deployments(self, at: Place) -> tuple[PendingDeployment, ...]:
        """What it waits for before a job enters an environment."""
        return self._get("pending_deployments", at, f"{at.path}/pending_deployments", pending_deployments)[0]

    def jobs(self, at: Place) -> tuple[ObservedJob, ...]:
        """The jobs of its latest attempt, with those that were carried over."""
        return in_smaller_pages(lambda size: self._jobs(at, size))

    def _jobs(self, at: Place, size: int) -> tuple[ObservedJob, ...]:
        jobs: tuple[ObservedJob, ...] = ()
        for page in range(1, MOST_JOBS // size + 1):
            parameters = {"per_page": str(size), "page": str(page)}
            found, _ = self._get("jobs", at, f"{at.path}/jobs", lambda answer: jobs_page(answer, at.run), parameters)
            jobs += found.jobs
            if not found.jobs or len(jobs) >= min(found.total, MOST_JOBS):
                break
        return jobs

    def annotations(self, at: Place, job: ObservedJob) -> tuple[Annotation, ...]:
        """The errors that a job of its tells of."""
        path = f"{at.root}/check-runs/{job.id}/annotations"
        page = {"per_page": ON_A_PAGE}
        return self._client.read("annotations", at.run.asked, path, at.token, error_annotations, page)

    def group(self, at: Place) -> str | None:
        """The name of the concurrency group in which it waits."""
        path = f"{at.path}/concurrency_groups"
        return self._client.read("groups", at.run.asked, path, at.token, lambda answer: group_of(answer, at.run))

    def ahead(self, at: Place, group: str) -> Ahead | None:
        """Who goes before it in that group."""

        def parsed(answer: Answer) -> Ahead | None:
            return ahead_of(answer, at.run, group)

        parameters = {"ahead_of_run": str(at.run.run_id)}
        return self._get("group", at, f"{at.root}{group_path(group)}", parsed, parameters)[0]

    def why_missing(self, at: Place, refusal: Refused) -> str:
        """The words for a 404 that is final. Whether the run is missing or its repository, one request tells."""
        if not refusal.words:  # no GitHub's
            return str(refusal)
        try:
            self._client.read("repository", at.run.asked, at.root, at.token, lambda answer: None)
        except GitHubError as error:
            if not isinstance(error, Refused) or error.status != 404:
                return str(refusal)
            name = f"{at.run.owner}/{at.run.repo}"
            return f"{at.run} cannot be seen: {invisible(at.run.endpoint, name, at.token)}"
        return no_such_run(at.run)

    # ---------------------------------------------------------------- one request

    def _get(
        self,
        name: str,
        at: Place,
        path: str,
        parse: Callable[[Answer], T],
        parameters: Mapping[str, str] | None = None,
    ) -> tuple[T, float | None]:
        """What ``parse`` reads in the answer, or read in the earlier one that GitHub says still holds; and its Date."""
        memory = self._pages if name == "jobs" else self._answers
        key = (at.run.endpoint, f"{path}?{parameters}", at.token)  # not by its base: see `Listings.read`
        with self._lock:
            etag, had = memory.get(key, (None, None))

        def seen(answer: Answer) -> tuple[T, str | None, float | None]:
            if answer.status == 304:
                value: T = had  # type: ignore[assignment]  # it was parsed from the answer that had this ETag
                return value, etag, date(answer)
            return parse(answer), answer.headers.get("etag", ""), date(answer)

        value, new, moment = self._client.read(name, at.run.asked, path, at.token, seen, parameters, etag=etag)
        with self._lock:
            memory.pop(key, None)
            if new and len(new) <= LONGEST_ETAG and new.isascii() and new.isprintable():  # else it is not sent back
                memory[key] = (new, value)
        return value, moment
