"""Listings of a workflow's runs: one request serves every dispatch that waits for the same workflow."""

import threading
from concurrent.futures import Future
from typing import Final, NamedTuple

from gha_step.contract.listing import WorkflowRun, WorkflowRuns
from gha_step.contract.memory import Memory, weight
from gha_step.contract.secret import Token
from gha_step.github.client import Client, in_smaller_pages
from gha_step.github.dispatch import Workflow
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, Unclear
from gha_step.github.messages import Answer, date
from gha_step.github.refusals import Asked
from gha_step.github.run_pages import runs_page, user_login
from gha_step.runtime import Clock, Workers

MOST_RUNS: Final = 1_000  # within one look: beyond that nobody can tell anything
KEPT: Final = 16 << 20  # bytes of all listings
_JOIN_SECONDS: Final = 30.0


class _Flight(NamedTuple):
    begun: float  # monotonic
    floor: float | None
    result: "Future[WorkflowRuns]"


def _size(flight: _Flight) -> int:
    heard = flight.result.done() and flight.result.exception() is None
    return 500 + (weight(flight.result.result()) if heard else 0)


class Listings:
    """Reads listings, each request once, and lets others share them."""

    def __init__(self, client: Client, clock: Clock, workers: Workers) -> None:
        self._client = client
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._flights: Memory[object, _Flight] = Memory(room=KEPT, weigh=_size)
        self._actors: Memory[tuple[Endpoint, Token], str | None] = Memory()

    def read(self, workflow: Workflow, token: Token, floor: float | None, max_age: float) -> WorkflowRuns:
        """The workflow's runs, newest first, back to ``floor`` (GitHub's clock; ``None``: the first page).

        :param max_age: a listing that was begun at most so many seconds ago will do.
        :raises GitHubError: the listing cannot be had now (`Unreachable`, `RateLimited`, `Unclear`), or never
            (`Refused`, `Untrusted`).
        """
        # Files differ by case, repositories do not. Not by the API's base: what a server showed that had to prove
        # nothing is not for those who want proof.
        subject = (workflow.endpoint, workflow.repository_path.lower(), workflow.file, token)
        now = self._clock.monotonic()
        mine = _Flight(now, floor, Future())
        with self._lock:
            flight = self._flights.get(subject)
            if flight is None or now - flight.begun > max_age or not _covers(flight.floor, floor):
                self._flights[subject] = flight = mine
        if flight is mine:
            try:
                runs = in_smaller_pages(lambda size: self._read(workflow, token, floor, size))
                mine.result.set_result(runs)
                with self._lock:
                    if self._flights.get(subject) is mine:
                        self._flights[subject] = mine  # which weighs it anew
            except BaseException as error:
                mine.result.set_exception(error)
                raise
        elif not self._workers.join(flight.result, _JOIN_SECONDS):
            raise Unclear("another listing of this workflow takes too long")
        return flight.result.result()

    def actor(self, workflow: Workflow, token: Token) -> str | None:
        """The login under which runs of this token start, asked once per process; ``None`` where it does not tell.

        An installation token may not ask: then any actor's run may be ours.
        """
        with self._lock:
            if (workflow.endpoint, token) in self._actors:
                return self._actors[workflow.endpoint, token]
        try:
            login = user_login(self._client.get("user", _asked(workflow), "/user", token))
        except GitHubError:
            return None  # asked again with the next dispatch
        with self._lock:
            self._actors[workflow.endpoint, token] = login
        return login

    def _read(self, workflow: Workflow, token: Token, floor: float | None, size: int) -> WorkflowRuns:
        begun = self._clock.monotonic()
        told, first = self._page(workflow, token, size, 1)
        started = None if told is None else told - (self._clock.monotonic() - begun)
        runs: list[WorkflowRun] = list(first)
        page = 1
        while floor is not None and len(runs) == page * size and len(runs) < MOST_RUNS:
            if min(run.created_at for run in runs) < floor:
                break
            page += 1
            runs += self._page(workflow, token, size, page)[1]
        unique = {run.id: run for run in runs}  # a run that is new meanwhile moves others to the next page
        return WorkflowRuns(date=told, begun=started, runs=tuple(unique.values()))

    def _page(
        self, workflow: Workflow, token: Token, size: int, page: int
    ) -> tuple[float | None, tuple[WorkflowRun, ...]]:
        """GitHub's Date and the runs."""
        parameters = {"per_page": str(size)} | ({"page": str(page)} if page > 1 else {})

        def parse(answer: Answer) -> tuple[float | None, tuple[WorkflowRun, ...]]:
            return date(answer), runs_page(answer, workflow)

        return self._client.read("runs", _asked(workflow), f"{workflow.path}/runs", token, parse, parameters)


def _asked(workflow: Workflow) -> Asked:
    """A listing names no ref."""
    return Asked(
        workflow.endpoint,
        "list the runs of",
        f"{workflow.owner}/{workflow.repo} workflow {workflow.file}",
        workflow.owner,
        workflow.repo,
        file=workflow.file,
    )


def _covers(had: float | None, wanted: float | None) -> bool:
    return wanted is None or (had is not None and had <= wanted)
