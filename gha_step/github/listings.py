"""Listings of a workflow's runs: one request serves all that wait for the same workflow."""

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from gha_step.contract.secret import Token
from gha_step.github.client import Client
from gha_step.github.dispatch import Workflow, rate_limit, refused
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, Unclear
from gha_step.github.messages import Answer, date, github_words
from gha_step.github.run_pages import PER_PAGE, WorkflowRun, WorkflowRuns, enterprise_version, runs_page, user_login
from gha_step.github.server_capabilities import ServerCapabilities
from gha_step.runtime import Clock, Workers
from gha_step.telemetry import Telemetry

MAX_PAGES: Final = 10  # a thousand runs within one look: beyond that nobody can tell anything
_JOIN_SECONDS: Final = 30.0


@dataclass(frozen=True)
class _Flight:
    begun: float  # monotonic
    floor: float | None
    result: "Future[WorkflowRuns]"


class Listings:
    """Reads listings, each request once, and lets others share them."""

    def __init__(
        self, client: Client, servers: ServerCapabilities, clock: Clock, workers: Workers, telemetry: Telemetry
    ) -> None:
        self._client = client
        self._servers = servers
        self._clock = clock
        self._workers = workers
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._flights: dict[object, _Flight] = {}
        self._actors: dict[tuple[Endpoint, Token], str | None] = {}

    def read(self, workflow: Workflow, token: Token, floor: float | None, max_age: float) -> WorkflowRuns:
        """The workflow's runs, newest first, back to ``floor`` (GitHub's clock; ``None``: the first page).

        :param max_age: a listing that was begun at most so many seconds ago will do.
        :raises GitHubError: the listing cannot be had now (`Unreachable`, `RateLimited`, `Unclear`), or never
            (`Refused`, `Untrusted`).
        """
        # Not by its base: what a server showed that had to prove nothing is not for those who want proof.
        subject = (workflow.endpoint, workflow.path.lower(), token)
        now = self._clock.monotonic()
        mine = _Flight(now, floor, Future())
        with self._lock:
            flight = self._flights.get(subject)
            if flight is None or now - flight.begun > max_age or not _covers(flight.floor, floor):
                self._flights[subject] = flight = mine
        if flight is mine:
            try:
                mine.result.set_result(self._read(workflow, token, floor))
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
        without = self._servers.without(workflow.endpoint)
        try:
            answer = self._client.get(workflow.endpoint, "/user", token, without=without)
            login = user_login(answer)
        except GitHubError:
            return None  # asked again with the next dispatch
        with self._lock:
            self._actors[workflow.endpoint, token] = login
        return login

    def _read(self, workflow: Workflow, token: Token, floor: float | None) -> WorkflowRuns:
        begun = self._clock.monotonic()
        first = self._page(workflow, token, 1)
        told = date(first)
        started = None if told is None else told - (self._clock.monotonic() - begun)
        runs: list[WorkflowRun] = list(runs_page(first, workflow.endpoint))
        page = 1
        while floor is not None and len(runs) == page * PER_PAGE and page < MAX_PAGES:
            if min(run.created_at for run in runs) < floor:
                break
            page += 1
            runs += runs_page(self._page(workflow, token, page), workflow.endpoint)
        unique = {run.id: run for run in runs}  # a run that is new meanwhile moves others to the next page
        return WorkflowRuns(date=told, begun=started, runs=tuple(unique.values()))

    def _page(self, workflow: Workflow, token: Token, page: int) -> Answer:
        parameters = {"per_page": str(PER_PAGE)} | ({"page": str(page)} if page > 1 else {})
        begun = self._clock.monotonic()
        try:
            answer = self._client.get(
                workflow.endpoint,
                f"{workflow.path}/runs",
                token,
                parameters,
                without=self._servers.without(workflow.endpoint),
            )
        except GitHubError:
            self._telemetry.github_request("runs", "error", self._clock.monotonic() - begun)
            raise
        self._telemetry.github_request("runs", str(answer.status), self._clock.monotonic() - begun)
        self._telemetry.github_budget(workflow.endpoint.host, answer.headers)
        if (version := enterprise_version(answer)) is not None:
            self._servers.learn_version(workflow.endpoint, version)
        if answer.status == 200:
            return answer
        words = github_words(answer, token)
        if limited := rate_limit(answer, words, workflow):
            raise limited
        if 400 <= answer.status < 500 or 300 <= answer.status < 400:
            raise refused(answer, words, workflow, token)
        raise Unclear(f"{workflow.endpoint.host} answered {answer.status} to a listing of the workflow's runs")


def _covers(had: float | None, wanted: float | None) -> bool:
    return wanted is None or (had is not None and had <= wanted)
