"""Polls workflow runs: one request each, conditional if possible, and none before the time that GitHub has asked to
wait.

`gha_step.steps.wait.answers` turns the result into an answer. All memory is bounded, belongs to this process, and may
be lost: then the next poll is an ordinary request.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from gha_step.contract.errors import StepError
from gha_step.contract.memory import Memory, weight
from gha_step.contract.secret import Token
from gha_step.github.artifacts import BadArtifact, NoArtifact
from gha_step.github.errors import GitHubError, RateLimited, Refused, Unclear, Untrusted
from gha_step.github.rate_limits import RateLimits
from gha_step.github.run_reader import Odd, Place, RunReader
from gha_step.github.runs import (
    ObservedRun,
    Phase,
    RunReference,
    failed_jobs,
    meaning_of,
    moved_to,
    never_began,
)
from gha_step.runtime import Clock, Workers
from gha_step.steps.wait.ending import KEPT_JOBS, conclusion_of, grace_left, may_be_run_again, named
from gha_step.steps.wait.outputs import OutputsReader
from gha_step.steps.wait.reasons import Known, Reasons
from gha_step.steps.wait.snapshot import Outputs, Snapshot, Trouble, Wanted
from gha_step.steps.waking import Hint
from gha_step.telemetry import log

FRESH_FOR: Final = 30.0  # seconds for which a look that ended after its call was answered serves the next call
REFUSED_APART: Final = 10.0  # seconds between the two looks whose refusal ends a wait
PAUSE: Final = 5.0  # seconds after the first trouble, then doubled
MAX_PAUSE: Final = 60.0
TRIES: Final = 3  # looks for which a failed run's jobs may be in trouble, before it is told without them
OUTPUTS_WITHIN: Final = 300.0  # seconds for which reading them may be in trouble: nobody sees what a Running step says
PENDING: Final = "pending"  # in a concurrency group
KEPT_OUTPUTS: Final = 8 << 20  # characters of all outputs that are kept
WATCHES: Final = 32 << 20  # bytes of all that is known of runs
_OF_A_LOOK: Final = 2_000  # characters, of anything
NOTHING: Final = Wanted()
Renew = Callable[[Token], Token]


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

    def forget_outputs(self) -> None:
        """Let go of what takes memory; whoever has not heard of it yet looks again."""
        self.told = True
        if self._seen is not None:
            self._seen = (replace(self._seen[0], outputs=None), self._seen[1])

    def serves(self, now: float) -> bool:
        """Whether a call may join it: it goes on, or nobody has heard its fresh result."""
        return self._seen is None or (not self.told and now - self._seen[1] < FRESH_FOR)


@dataclass
class _Watch:
    """One run as this process sees it with one token. Its one look writes it, but for `look` and `turn`."""

    wanted: Wanted
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
    jobs_refused_since: float | None = None
    first_failed_at: float | None = None  # by GitHub's clock
    outputs_since: float | None = None  # the first of the looks in a row that could not read its outputs
    known: Known = field(default_factory=Known)


def _size(watch: _Watch) -> int:
    """Outputs are bounded for themselves."""
    return 500 + weight(watch.seen)


class RunPoller:
    """Looks at runs, one look at a time for each run and token.

    :param workers: threads for looks: each may wait ten seconds for GitHub.
    """

    def __init__(
        self,
        *,
        reader: RunReader,
        reasons: Reasons,
        outputs: OutputsReader,
        rate_limits: RateLimits,
        clock: Clock,
        workers: Workers,
    ) -> None:
        self._reader = reader
        self._reasons = reasons
        self._outputs = outputs
        self._rate_limits = rate_limits
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._watches: Memory[tuple[RunReference, Token, Wanted], _Watch] = Memory(room=WATCHES, weigh=_size)
        self._latest: Memory[tuple[RunReference, str], _Watch] = Memory(room=WATCHES, weigh=_size)  # by run and project
        self._kept: OrderedDict[Look, int] = OrderedDict()  # looks with outputs, and their sizes
        self._kept_size = 0

    def look(
        self,
        run: RunReference,
        token: Token,
        renew: Renew | None = None,
        *,
        project: str = "",
        wanted: Wanted = NOTHING,
    ) -> Look | Snapshot:
        """A look that has begun, possibly by this call; or what is known, where none may begin now.

        :param project: who waits. Its Secret is read for every call: a new token goes on where the old one stopped.
        :param renew: gives another token for one that GitHub refused with 401, where that may help; it may raise.
        """
        now = self._clock.monotonic()
        held = self._rate_limits.hold(run.endpoint, token).until
        with self._lock:
            watch = self._watch(run, token, project, wanted)
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
                crowd = f"many steps wait with this token: {run} is checked in its turn"
                return replace(watch.seen, trouble=Trouble(crowd, watch.turn), failure=None)
            watch.turn = None
            look = watch.look = Look(watch.seen)
        at = Place(watch.root, run, token)
        self._workers.spawn(lambda: self._look(watch, look, at, renew), project)
        return look

    def hint(self, hint: Hint) -> None:
        """GitHub itself says that a run has changed, so it need not be spared any longer; its limits still hold."""
        now = self._clock.monotonic()
        with self._lock:
            for (run, _, _), watch in self._watches.items():
                if run.run_id == hint.run_id:
                    watch.ask_after = min(watch.ask_after, now)
                    if watch.look is not None and watch.look.seen is not None:
                        watch.look.told = True  # what it saw, and nobody has heard yet, is no longer fresh

    def _watch(self, run: RunReference, token: Token, project: str, wanted: Wanted) -> _Watch:
        watch = self._watches.get((run, token, wanted))
        if watch is None:
            watch = _Watch(wanted, run.repository_path)
            if (before := self._latest.get((run, project))) is not None:
                watch.good, watch.refused_since = before.good, before.refused_since
        self._watches[run, token, wanted] = self._latest[run, project] = watch
        return watch

    def _look(self, watch: _Watch, look: Look, at: Place, renew: Renew | None) -> None:
        try:
            seen = self._see(watch, at, renew)
        except Exception:  # noqa: BLE001  a host takes a 500 as final; the next look may do better
            log.exception("a look at %s failed", at.run)
            internal = Unclear("internal error; see gha-step's log")
            seen = self._troubled(watch, at, internal)
        watch.seen = replace(seen, outputs=None)
        with self._lock:
            if self._watches.get((at.run, at.token, watch.wanted)) is watch:
                self._watches[at.run, at.token, watch.wanted] = watch  # which weighs it anew
        look.end(seen, self._clock.monotonic())
        if seen.outputs is not None and seen.outputs.json:
            self._keep_outputs(look, len(seen.outputs.json))

    def _keep_outputs(self, look: Look, size: int) -> None:
        """Of all runs no more than so many characters are kept: a look that loses its outputs is made again."""
        with self._lock:
            self._kept[look] = size + _OF_A_LOOK
            self._kept_size += size + _OF_A_LOOK
            while self._kept_size > KEPT_OUTPUTS:
                oldest, its_size = self._kept.popitem(last=False)
                self._kept_size -= its_size
                oldest.forget_outputs()

    # ---------------------------------------------------------------- one look

    def _see(self, watch: _Watch, at: Place, renew: Renew | None, *, renewed: bool = False) -> Snapshot:
        run = at.run
        watch.seen = replace(watch.seen, missing=False)
        held = self._rate_limits.hold(run.endpoint, at.token).until
        if held > self._clock.monotonic():  # since this look was asked for, another one was refused
            return replace(watch.seen, trouble=_held(run, held), failure=None)
        try:
            observed, asked_at, at = self._run(watch, at)
        except Refused as error:
            if error.status == 401 and renew is not None:
                return self._renewed(watch, at, renew, error)
            if error.status == 401 and renewed:
                return self._refused(watch, f"{_app_refused(run, error)}, and a fresh one in its place: {_SUSPENDED}")
            if error.status == 404:
                why_missing = partial(self._reader.why_missing, at, error)
                return replace(self._refused(watch, str(error), at_once=False, final=why_missing), missing=True)
            return self._refused(watch, str(error))
        except Untrusted as error:
            return self._refused(watch, f"{run} could not be checked: {error}")
        except Odd as error:
            return self._odd(watch, at, error)
        except GitHubError as error:
            return self._troubled(watch, at, error)
        watch.good, watch.refused_since, watch.odd_since = True, None, None
        watch.troubles = 0
        seen = self._with_named(watch, Snapshot(observed), at)
        for more in (self._details, partial(self._with_grace, now=asked_at), self._with_outputs):
            if seen.trouble is None and seen.failure is None:
                seen = more(watch, seen, at)
        return seen

    def _run(self, watch: _Watch, at: Place) -> tuple[ObservedRun, float | None, Place]:
        try:
            return *self._reader.run(at), at
        except Refused as error:
            root = moved_to(error, at.run)
            if root is None or root == at.root:
                raise
            watch.root = root  # renamed between dispatch and wait: its ID stays
            at = replace(at, root=root)
            return *self._reader.run(at), at

    def _with_named(self, watch: _Watch, seen: Snapshot, at: Place) -> Snapshot:
        """``seen`` with the jobs that the step names, if it does: its end depends on them."""
        if not watch.wanted.jobs:
            return seen
        assert seen.run is not None
        try:
            jobs = self._reader.jobs(at)
        except (Refused, Untrusted) as error:
            now = self._clock.monotonic()
            if watch.jobs_refused_since is not None and now - watch.jobs_refused_since >= REFUSED_APART:
                return replace(seen, failure=f"the jobs of {at.run} cannot be read: {error}")
            watch.jobs_refused_since = watch.jobs_refused_since or now
            return self._troubled(watch, at, error, seen.run)
        except GitHubError as error:
            return self._troubled(watch, at, error, seen.run)
        watch.jobs_refused_since = None
        if never_began(seen.run, jobs):
            return seen  # the jobs that are waited for ended with the run, and may not even be listed
        return replace(seen, named=named(jobs, watch.wanted.jobs))

    def _details(self, watch: _Watch, seen: Snapshot, at: Place) -> Snapshot:
        """What more requests tell of a run that waits for approval or in its concurrency group, or has failed."""
        observed = seen.run
        assert observed is not None
        conclusion = conclusion_of(observed, seen.named)
        try:
            if seen.named is not None and conclusion is not None:
                seen = replace(seen, jobs=seen.named.failed, more_jobs=seen.named.more_failed)
            elif conclusion is not None and meaning_of(conclusion).by_jobs:
                jobs = self._reader.jobs(at)
                failed, unbegun = failed_jobs(jobs), never_began(observed, jobs)
                more = max(0, len(failed) - KEPT_JOBS)
                seen = replace(seen, jobs=failed[:KEPT_JOBS], more_jobs=more, never_began=unbegun)
            elif conclusion is None and observed.phase is Phase.AWAITING_APPROVAL:
                seen = replace(seen, pending=self._reader.pending_deployments(at))
            elif conclusion is None and observed.status == PENDING:
                seen = replace(seen, ahead=self._reasons.ahead(watch.known, at))
        except (RateLimited, Refused, Untrusted) as error:  # a limit may last for an hour: the run is told without
            return replace(seen, detail=str(error))
        except GitHubError as error:
            watch.tries += 1
            if observed.phase is Phase.COMPLETED and watch.tries < TRIES:
                # The run is over and will be so in some seconds: its failed jobs are worth another look.
                return self._troubled(watch, at, error, observed)
            seen = replace(seen, detail=str(error))
        watch.tries = 0
        if seen.jobs and not seen.never_began:
            seen = replace(seen, jobs=self._reasons.explain(watch.known, at, observed, seen.jobs))
        return seen

    def _with_grace(self, watch: _Watch, seen: Snapshot, at: Place, *, now: float | None) -> Snapshot:
        """``seen`` with the time for which a new attempt of a failed run is waited for."""
        run, wanted = seen.run, watch.wanted
        assert run is not None
        conclusion = conclusion_of(run, seen.named)
        if not wanted.grace or conclusion in (None, wanted.expected) or not may_be_run_again(str(conclusion)):
            return seen
        if run.phase is not Phase.COMPLETED:  # GitHub runs no job again before the run has ended
            return replace(seen, grace=wanted.grace)
        if run.attempt > 1 and watch.first_failed_at is None:
            try:
                watch.first_failed_at = self._reader.first_attempt_ended_at(at)
            except Refused:
                watch.first_failed_at = run.updated_at
            except GitHubError as error:
                return self._troubled(watch, at, error, run)
        moment = self._clock.now() if now is None else now
        return replace(seen, grace=grace_left(run, watch.first_failed_at, wanted.grace, moment) or None)

    def _with_outputs(self, watch: _Watch, seen: Snapshot, at: Place) -> Snapshot:
        """``seen`` with the outputs, if they are wanted and the run is over; later steps need them, so that trouble is
        waited out for some minutes."""
        run, name = seen.run, watch.wanted.outputs
        if name is None or run is None or conclusion_of(run, seen.named) is None or seen.grace is not None:
            return seen
        now = self._clock.monotonic()
        since = watch.outputs_since if watch.outputs_since is not None else now
        watch.outputs_since = None
        try:
            return replace(seen, outputs=self._outputs.read(at, run, name, lambda: self._reader.jobs(at)))
        except (BadArtifact, Untrusted) as error:
            return replace(seen, outputs=Outputs(problem=str(error), missing=isinstance(error, NoArtifact)))
        except RateLimited as error:
            return self._troubled(watch, at, error, run)
        except GitHubError as error:
            if now - since >= (REFUSED_APART if isinstance(error, Refused) else OUTPUTS_WITHIN):
                return replace(seen, outputs=Outputs(problem=str(error)))
            watch.outputs_since = since
            return self._troubled(watch, at, error, run)

    # ---------------------------------------------------------------- what may come in between

    def _troubled(self, watch: _Watch, at: Place, error: GitHubError, observed: ObservedRun | None = None) -> Snapshot:
        """Something that passes: a rate limit when GitHub says; what else lasts is asked less and less often.

        :param observed: the run, where this look has seen it before the trouble came.
        """
        if not isinstance(error, RateLimited):
            now = self._clock.monotonic()
            watch.ask_after = now + min(PAUSE * 2.0 ** min(watch.troubles, 10), MAX_PAUSE)
            watch.troubles += 1
        until = max(watch.ask_after, self._rate_limits.hold(at.run.endpoint, at.token).until)
        return replace(watch.seen, run=observed or watch.seen.run, trouble=Trouble(str(error), until), failure=None)

    def _renewed(self, watch: _Watch, at: Place, renew: Renew, refusal: Refused) -> Snapshot:
        """The same look with another token, once: an App's comes from our own memory and may have been revoked."""
        run = at.run
        try:
            fresh = renew(at.token)
        except StepError as error:
            if error.retry_after is None:
                return self._refused(watch, f"{_app_refused(run, refusal)}, and there is no other: {error}")
            until = self._clock.monotonic() + error.retry_after
            return replace(watch.seen, trouble=Trouble(str(error), until), failure=None)
        if fresh == at.token:
            return self._refused(watch, f"{_app_refused(run, refusal)}, and gives no other: {_SUSPENDED}")
        return self._see(watch, replace(at, token=fresh), None, renewed=True)

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
            return replace(watch.seen, trouble=Trouble(f"{why}; checking once more", again_at), failure=None)
        return replace(watch.seen, trouble=None, failure=final() if final is not None else why)

    def _odd(self, watch: _Watch, at: Place, error: Odd) -> Snapshot:
        """A 200 that is not the run: final where two looks saw it and no look ever saw a run."""
        now = self._clock.monotonic()
        if watch.odd_since is None:
            watch.odd_since = now
        if watch.seen.run is None and now - watch.odd_since >= REFUSED_APART:
            return replace(watch.seen, trouble=None, failure=str(error))
        return self._troubled(watch, at, error)


_SUSPENDED: Final = "see whether the installation is suspended"


def _app_refused(run: RunReference, refusal: Refused) -> str:
    """Nobody renews an App's token by hand, as the refusal's own advice has it."""
    return f"GitHub does not show {run}: it refused the App's token ({refusal.status}: {refusal.words!r})"


def _held(run: RunReference, until: float) -> Trouble:
    return Trouble(f"{run.endpoint.host} asked to wait, and nothing is asked with this token before that ends", until)
