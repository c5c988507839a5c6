"""Looks at workflow runs: one request each, conditional where it can be, and none that GitHub asked not to send.

`gha_step.steps.wait.answers` puts what a look has seen into words. All memory is this process's own, bounded, and may
be lost: then the next look is an ordinary request.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

from gha_step.contract.errors import StepError
from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.github.client import Client, in_smaller_pages
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, RateLimited, Refused, Unclear, Untrusted
from gha_step.github.messages import Answer
from gha_step.github.rate_limits import RateLimits
from gha_step.github.refusals import invisible, read_refusal
from gha_step.github.runs import (
    ObservedJob,
    ObservedRun,
    Phase,
    RunReference,
    failed_jobs,
    jobs_page,
    moved_to,
    observed_run,
    pending_deployments,
)
from gha_step.runtime import Clock, Workers
from gha_step.steps.wait.snapshot import Snapshot, Trouble
from gha_step.steps.waking import Hint
from gha_step.telemetry import log

FRESH_FOR: Final = 30.0  # seconds for which a look that ended after its call was answered serves the next call
REFUSED_APART: Final = 10.0  # seconds between the two looks whose refusal ends a wait
PAUSE: Final = 5.0  # seconds after the first trouble, then doubled
MAX_PAUSE: Final = 60.0
TRIES: Final = 3  # looks for which a failed run's jobs may be in trouble, before it is told without them
MOST_JOBS: Final = 1_000  # that are read, while a matrix has at most 256
MAX_FAILED_JOBS: Final = 50  # that are kept and told: a host writes them into its own database
LONGEST_ETAG: Final = 200  # characters; GitHub's have 68
Renew = Callable[[Token], Token]
T = TypeVar("T")


class Look:
    """One look, for all calls that come while it goes on. ``before``: what was known when it began."""

    def __init__(self, before: Snapshot) -> None:
        self.before = before
        self.ready: Future[None] = Future()
        self.told = False
        self._seen: tuple[Snapshot, float] | None = None

    def end(self, seen: Snapshot, now: float) -> None:
        """It has ended with this."""
        self._seen = (seen, now)
        self.ready.set_result(None)

    @property
    def seen(self) -> Snapshot | None:
        """Its result; ``None`` while it goes on."""
        return self._seen[0] if self._seen is not None else None

    def serves(self, now: float) -> bool:
        """Whether a call may join it: it goes on, or nobody has heard its fresh result."""
        return self._seen is None or (not self.told and now - self._seen[1] < FRESH_FOR)


@dataclass
class _Watch:
    """One run as this process sees it with one token. Its one look writes it, but for `look` and `turn`."""

    root: str  # path of the repository below the API base
    seen: Snapshot = field(default_factory=Snapshot)
    look: Look | None = None
    turn: float | None = None  # a reserved time to look, monotonic
    good: bool = False  # whether a look has shown the run to this project, even if with an earlier token
    refused_since: float | None = None  # the first refused look since the last good one
    odd_since: float | None = None
    ask_after: float = float("-inf")
    troubles: int = 0  # in a row
    tries: int = 0  # to read the jobs of a run that is over


class RunPoller:
    """Looks at runs, one look at a time for each run and token.

    :param workers: threads for looks: each may wait ten seconds for GitHub.
    """

    def __init__(
        self,
        *,
        client: Client,
        rate_limits: RateLimits,
        clock: Clock,
        workers: Workers,
    ) -> None:
        self._client = client
        self._rate_limits = rate_limits
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._watches: Memory[tuple[RunReference, Token], _Watch] = Memory()
        self._latest: Memory[tuple[RunReference, str], _Watch] = Memory()  # by run and project
        self._answers: Memory[tuple[Endpoint, str, Token], tuple[str, Any]] = Memory()  # ETag, parsed

    def look(
        self, run: RunReference, token: Token, renew: Renew | None = None, *, project: str = ""
    ) -> Look | Snapshot:
        """A look that has begun, possibly by this call; or what is known, where none may begin now.

        :param project: who waits. Its Secret is read for every call: a new token goes on where the old one stopped.
        :param renew: gives another token for one that GitHub refused with 401, where that may help; it may raise.
        """
        now = self._clock.monotonic()
        held = self._rate_limits.hold(run.endpoint, token).until
        with self._lock:
            watch = self._watch(run, token, project)
            if watch.look is not None and watch.look.serves(now):
                return watch.look
            if watch.ask_after > now and watch.seen.trouble is not None:
                return watch.seen
            # A failure was another call's, and final for that one; by now the cause may be fixed.
            if held > now:
                return replace(watch.seen, trouble=_held(run, held), failure=None)
            if watch.turn is None:
                waits = watch.seen.run is not None and watch.seen.run.phase is Phase.AWAITING_APPROVAL
                watch.turn = self._rate_limits.take_turn(run.endpoint, token, now, requests=2 if waits else 1)
            if watch.turn > now:
                crowd = f"many runs are waited for with this token: {run} is looked at when its turn comes"
                return replace(watch.seen, trouble=Trouble(crowd, watch.turn), failure=None)
            watch.turn = None
            look = watch.look = Look(watch.seen)
        self._workers.spawn(lambda: self._look(watch, look, run, token, renew))
        return look

    def hint(self, hint: Hint) -> None:
        """GitHub itself says that a run has changed, so it need not be spared any longer; its limits still hold."""
        now = self._clock.monotonic()
        with self._lock:
            for (run, _), watch in self._watches.items():
                if run.run_id == hint.run_id:
                    watch.ask_after = min(watch.ask_after, now)

    def _watch(self, run: RunReference, token: Token, project: str) -> _Watch:
        watch = self._watches.get((run, token))
        if watch is None:
            watch = _Watch(run.repository_path)
            if (before := self._latest.get((run, project))) is not None:
                watch.good, watch.refused_since = before.good, before.refused_since
        self._watches[run, token] = self._latest[run, project] = watch
        return watch

    def _look(self, watch: _Watch, look: Look, run: RunReference, token: Token, renew: Renew | None) -> None:
        try:
            watch.seen = self._see(watch, run, token, renew)
        except Exception:  # noqa: BLE001  a host takes a 500 as final; the next look may do better
            log.exception("a look at %s failed", run)
            internal = Unclear("internal error; see gha-step's log")
            watch.seen = self._troubled(watch, run, token, internal)
        look.end(watch.seen, self._clock.monotonic())

    # ---------------------------------------------------------------- one look

    def _see(
        self, watch: _Watch, run: RunReference, token: Token, renew: Renew | None, *, renewed: bool = False
    ) -> Snapshot:
        watch.seen = replace(watch.seen, missing=False)
        held = self._rate_limits.hold(run.endpoint, token).until
        if held > self._clock.monotonic():  # since this look was asked for, another one was refused
            return replace(watch.seen, trouble=_held(run, held), failure=None)
        try:
            observed = self._run(watch, run, token)
        except RateLimited as error:
            return self._limited(watch, run, token, error)
        except Refused as error:
            if error.status == 401 and renew is not None:
                return self._renewed(watch, run, token, renew, error)
            if error.status == 401 and renewed:
                return self._refused(watch, f"{_app_refused(run, error)}, and a fresh one in its place: {_SUSPENDED}")
            if error.status == 404:
                why_missing = partial(self._why_missing, watch, run, token, error)
                return replace(self._refused(watch, str(error), at_once=False, final=why_missing), missing=True)
            return self._refused(watch, str(error))
        except Untrusted as error:
            return self._refused(watch, f"{run} was not looked at: {error}")
        except _Odd as error:
            return self._odd(watch, run, token, error)
        except GitHubError as error:
            return self._troubled(watch, run, token, error)
        watch.good, watch.refused_since, watch.odd_since = True, None, None
        watch.troubles = 0
        return self._details(watch, Snapshot(observed), run, token)

    def _run(self, watch: _Watch, run: RunReference, token: Token) -> ObservedRun:
        def parsed(answer: Answer) -> ObservedRun:
            try:
                return observed_run(answer, run)
            except Unclear as error:
                raise _Odd(str(error)) from None

        path = f"/actions/runs/{run.run_id}"
        try:
            return self._get("run", run, token, watch.root + path, parsed)
        except Refused as error:
            root = moved_to(error, run)
            if root is None or root == watch.root:
                raise
            watch.root = root  # renamed between dispatch and wait: its ID stays
            return self._get("run", run, token, watch.root + path, parsed)

    def _details(self, watch: _Watch, seen: Snapshot, run: RunReference, token: Token) -> Snapshot:
        """What one more request tells of a run that waits for approval or has failed."""
        observed = seen.run
        assert observed is not None
        try:
            match observed.phase:
                case Phase.AWAITING_APPROVAL:
                    pending = self._get(
                        "pending_deployments",
                        run,
                        token,
                        f"{watch.root}/actions/runs/{run.run_id}/pending_deployments",
                        pending_deployments,
                    )
                    seen = replace(seen, pending=pending)
                case Phase.COMPLETED if observed.meaning.by_jobs:
                    failed = failed_jobs(self._jobs(watch, run, token))
                    seen = replace(seen, jobs=failed[:MAX_FAILED_JOBS], more_jobs=max(0, len(failed) - MAX_FAILED_JOBS))
        except RateLimited as error:
            self._limited(watch, run, token, error)  # it may last for an hour: the run is told without
            return replace(seen, detail=str(error))
        except (Refused, Untrusted) as error:
            return replace(seen, detail=str(error))
        except GitHubError as error:
            watch.tries += 1
            if observed.phase is Phase.COMPLETED and watch.tries < TRIES:
                # The run is over and will be so in some seconds: its failed jobs are worth another look.
                return replace(self._troubled(watch, run, token, error), run=observed)
            seen = replace(seen, detail=str(error))
        watch.tries = 0
        return seen

    def _jobs(self, watch: _Watch, run: RunReference, token: Token) -> tuple[ObservedJob, ...]:
        return in_smaller_pages(lambda size: self._pages_of_jobs(watch, run, token, size))

    def _pages_of_jobs(self, watch: _Watch, run: RunReference, token: Token, size: int) -> tuple[ObservedJob, ...]:
        path = f"{watch.root}/actions/runs/{run.run_id}/jobs"
        jobs: tuple[ObservedJob, ...] = ()
        for page in range(1, MOST_JOBS // size + 1):
            parameters = {"per_page": str(size), "page": str(page)}
            found = self._ask("jobs", run, token, path, lambda answer: jobs_page(answer, run), parameters)
            jobs += found.jobs
            if not found.jobs or len(jobs) >= found.total:
                break
        return jobs

    # ---------------------------------------------------------------- what may come in between

    def _limited(self, watch: _Watch, run: RunReference, token: Token, error: RateLimited) -> Snapshot:
        until = self._rate_limits.hold(run.endpoint, token).until
        return replace(watch.seen, trouble=Trouble(str(error), until), failure=None)

    def _troubled(self, watch: _Watch, run: RunReference, token: Token, error: GitHubError) -> Snapshot:
        """Something that passes: the longer it lasts, the less often it is asked."""
        now = self._clock.monotonic()
        watch.ask_after = now + min(PAUSE * 2.0 ** min(watch.troubles, 10), MAX_PAUSE)
        watch.troubles += 1
        until = max(watch.ask_after, self._rate_limits.hold(run.endpoint, token).until)
        return replace(watch.seen, trouble=Trouble(str(error), until), failure=None)

    def _renewed(self, watch: _Watch, run: RunReference, token: Token, renew: Renew, refusal: Refused) -> Snapshot:
        """The same look with another token, once: an App's comes from our own memory and may have been revoked."""
        try:
            fresh = renew(token)
        except StepError as error:
            if error.retry_after is None:
                return self._refused(watch, f"{_app_refused(run, refusal)}, and there is no other: {error}")
            until = self._clock.monotonic() + error.retry_after
            return replace(watch.seen, trouble=Trouble(str(error), until), failure=None)
        if fresh == token:
            return self._refused(watch, f"{_app_refused(run, refusal)}, and gives no other: {_SUSPENDED}")
        return self._see(watch, run, fresh, None, renewed=True)

    def _refused(
        self, watch: _Watch, why: str, *, at_once: bool = True, final: Callable[[], str] | None = None
    ) -> Snapshot:
        """The look was refused, or not even asked for. Failing a wait may mean a second deployment: one odd answer
        after a good look does not; two do, some seconds apart, without a good one in between.

        :param at_once: whether one such look is enough where none was good yet.
        :param final: better words for the end of the wait.
        """
        now = self._clock.monotonic()
        if watch.refused_since is None:
            watch.refused_since = now
        again_at = watch.refused_since + REFUSED_APART
        if now < again_at and (watch.good or not at_once):
            return replace(watch.seen, trouble=Trouble(f"{why}; it is looked at once more", again_at), failure=None)
        return replace(watch.seen, trouble=None, failure=final() if final is not None else why)

    def _why_missing(self, watch: _Watch, run: RunReference, token: Token, error: Refused) -> str:
        """The repository tells whether the run or the whole repository is invisible: one request, after the failure."""
        if not error.words:  # no GitHub's 404
            return str(error)
        name = f"{run.owner}/{run.repo}"
        try:
            self._ask("repository", run, token, watch.root, lambda answer: None)
        except RateLimited as limit:
            self._limited(watch, run, token, limit)
            return str(error)
        except GitHubError as other:
            if not isinstance(other, Refused) or other.status != 404:
                return str(error)
            return f"{run} cannot be seen: {invisible(run.endpoint, name, token)}"
        return (
            f"{name} has no run {run.run_id}: runID belongs to a run of another repository or was deleted, e.g. by the "
            "retention of runs: take runID from the output of the step that dispatched it"
        )

    def _odd(self, watch: _Watch, run: RunReference, token: Token, error: "_Odd") -> Snapshot:
        """A 200 that is not the run: final where two looks saw it and no look ever saw a run."""
        now = self._clock.monotonic()
        if watch.odd_since is None:
            watch.odd_since = now
        if watch.seen.run is None and now - watch.odd_since >= REFUSED_APART:
            return replace(watch.seen, trouble=None, failure=str(error))
        return self._troubled(watch, run, token, error)

    # ---------------------------------------------------------------- one request

    def _get(self, name: str, run: RunReference, token: Token, path: str, parse: Callable[[Answer], T]) -> T:
        """What ``parse`` reads in the answer, or read in the earlier one that GitHub says still holds.

        :raises GitHubError: see `read_refusal` and `Client`.
        """
        key = (run.endpoint, path, token)  # not by its base: see `Listings.read`
        with self._lock:
            etag, had = self._answers.get(key, (None, None))

        def seen(answer: Answer) -> tuple[T, str | None]:
            if answer.status == 304:
                value: T = had  # type: ignore[assignment]  # it was parsed from the answer that had this ETag
                return value, etag
            return parse(answer), answer.headers.get("etag", "")

        value, etag = self._ask(name, run, token, path, seen, etag=etag)
        with self._lock:
            self._answers.pop(key, None)
            if etag and len(etag) <= LONGEST_ETAG and etag.isascii() and etag.isprintable():  # else it is not sent back
                self._answers[key] = (etag, value)
        return value

    def _ask(
        self,
        name: str,
        run: RunReference,
        token: Token,
        path: str,
        parse: Callable[[Answer], T],
        parameters: Mapping[str, str] | None = None,
        *,
        etag: str | None = None,
    ) -> T:
        """One request; what ``parse`` finds in a 200, or with an ETag in a 304.

        :raises GitHubError: any other answer, or none.
        """

        def good(answer: Answer) -> T:
            if answer.status != 200 and (answer.status != 304 or etag is None):
                raise read_refusal(answer, run.asked, token)
            return parse(answer)

        return self._client.read(name, run.asked, path, token, good, parameters, etag=etag)


class _Odd(Unclear):
    """A 200 that is not the run."""


_SUSPENDED: Final = "see whether the installation is suspended"


def _app_refused(run: RunReference, refusal: Refused) -> str:
    """Nobody renews an App's token by hand, as the refusal's own advice has it."""
    return f"GitHub does not show {run}: it refused the App's token ({refusal.status}: {refusal.words!r})"


def _held(run: RunReference, until: float) -> Trouble:
    return Trouble(f"{run.endpoint.host} asked to wait, and nothing is asked with this token before that ends", until)
