"""Reports runs to Port: carries out what `following` decides, one record at a time.

It does the I/O and decides nothing. Each step follows from the record and from what this process has seen; what Port
has confirmed is in the ledger before the next step. Everything in its memory may be lost.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gha_step.contract.errors import LedgerUnavailable, StepError
from gha_step.github.errors import GitHubError
from gha_step.github.runs import Phase, RunReference
from gha_step.inbound.duties import resume, write_duty
from gha_step.inbound.port import following
from gha_step.inbound.port.api import MOST_ACTIVE, PortApi
from gha_step.inbound.port.client import words
from gha_step.inbound.port.errors import Lost, PortError, Refused
from gha_step.inbound.port.following import Ack, Cancel, Known, Patch, Refusal, Say, Took, Unheard
from gha_step.inbound.port.github import GitHubOfPort
from gha_step.inbound.port.reports import AtPort
from gha_step.inbound.rounds import LONGEST, pause_after
from gha_step.ledger.duties import Report
from gha_step.ledger.record import Record, State
from gha_step.ledger.store import Conflict, Store
from gha_step.ledger.transitions import GaveUp, IllegalMove, advance
from gha_step.runtime import Clock, Workers
from gha_step.steps.dispatch.journal import subject_of
from gha_step.steps.dispatch.tasks import DispatchTasks
from gha_step.steps.wait.config import DEFAULT_ARTIFACT
from gha_step.steps.wait.run_poller import NOTHING, RunPoller
from gha_step.steps.wait.run_poller import Look as LookUnderWay
from gha_step.steps.wait.snapshot import Snapshot, Wanted
from gha_step.steps.waking import Hint
from gha_step.telemetry import log

STEPS: Final = 12  # in one turn; then it is others' turn
LOOK_WITHIN: Final = 25.0  # seconds to wait for a look: it goes on, and the next turn hears of it
SHORTEST: Final = 1.0  # seconds after a step that failed
LISTED_AFTER: Final = 60.0  # seconds for which a new run may be missing in a listing
MOST_DOUBTED: Final = 50  # runs that are read after one listing


@dataclass
class _Followed:
    """What this process knows of one record. Written in its turn, but for ``doubted`` and ``heard``."""

    id: str
    open_run: bool  # an action run that is open at Port, as far as is known
    known: Known
    state: State | None = None
    unwritten: Report | None = None  # what Port has taken, as long as the ledger does not have it
    tries: int = 0  # steps in a row that failed
    failing_since: float | None = None
    said: str = ""  # why, as the log has it
    run: tuple[str, int] | None = None
    doubted: bool = False  # a listing does not show it
    heard: bool = False  # GitHub's webhook has told of its run


class PortReports:
    """See the module, and `gha_step.inbound.duties.Handler`.

    :param soon: makes a record's next turn due.
    :param ends_differ: hears where Port and GitHub tell two different ends of one run.
    """

    def __init__(
        self,
        *,
        api: PortApi,
        github: GitHubOfPort,
        run_poller: RunPoller,
        dispatches: DispatchTasks,
        store: Store,
        clock: Clock,
        workers: Workers,
        rules: following.Rules,
        soon: Callable[[str], None],
        ends_differ: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._github = github
        self._run_poller = run_poller
        self._dispatches = dispatches
        self._store = store
        self._clock = clock
        self._workers = workers
        self._rules = rules
        self._soon = soon
        self._ends_differ = ends_differ
        self._lock = threading.Lock()
        self._followed: dict[str, _Followed] = {}
        self._by_run: dict[tuple[str, int], str] = {}

    # ---------------------------------------------------------------- what is heard

    def owes(self, record: Record) -> bool:
        return record.report is not None and not record.report.closed

    def forget(self, key: str) -> None:
        with self._lock:
            followed = self._followed.pop(key, None)
            if followed is not None and followed.run is not None:
                self._by_run.pop(followed.run, None)

    def heard(self, hint: Hint) -> None:
        """Somebody says that something has happened to a run of GitHub's: the next look is due."""
        with self._lock:
            key = self._by_run.get((f"{hint.owner}/{hint.repo}".lower(), hint.run_id))
            followed = None if key is None else self._followed.get(key)
        if key is not None and followed is not None:
            followed.heard = True
            self._soon(key)

    def each_minute(self) -> None:
        """One listing of the runs that are open at Port: those that it does not show are read."""
        settled = self._clock.now() - LISTED_AFTER
        with self._lock:
            asked = [(key, one) for key, one in self._followed.items() if one.open_run and one.known.since < settled]
        if not asked:
            return
        try:
            active = self._api.active_runs()
        except PortError as error:
            log.info("the open runs cannot be listed, trying again: %s", error)
            return
        missing = [(key, one) for key, one in asked if one.id not in active]
        if len(active) >= MOST_ACTIVE:  # there are more than it shows
            missing = missing[:MOST_DOUBTED]
        for key, followed in missing:
            followed.doubted = True
            self._soon(key)

    @property
    def failing_since(self) -> float | None:
        """When the step began to fail that has failed for longest by now; seconds since 1970."""
        with self._lock:
            return min((one.failing_since for one in self._followed.values() if one.failing_since), default=None)

    # ---------------------------------------------------------------- a turn

    def turn(self, record: Record) -> float | None:
        assert record.report is not None
        new = _Followed(record.report.id, record.report.kind == "run", Known(since=self._clock.now()))
        with self._lock:
            followed = self._followed.setdefault(record.key, new)
        self._take_in(followed, record, self._clock.now())
        turn = _Turn(followed, record)
        if followed.unwritten is not None:
            self._write(turn, followed.unwritten)
        for _ in range(STEPS):
            step = following.next_step(turn.record, followed.known, self._clock.now(), self._rules)
            if isinstance(step, following.Done):
                return None
            if isinstance(step, following.Wait):
                self._succeeded(followed)
                return max(step.seconds, 0.5)
            if (pause := self._do(turn, step)) is not None:
                return pause
        return 0.0

    def _take_in(self, followed: _Followed, record: Record, now: float) -> None:
        """What has happened between two turns."""
        if record.state is State.ACCEPTED and followed.state is not State.ACCEPTED:
            followed.known = replace(followed.known, next_look=0.0, interval=following.FIRST_LOOK, since=now)
            if record.run is not None:
                followed.run = (record.target.repo, record.run.id)
                with self._lock:
                    self._by_run[followed.run] = record.key
        followed.state = record.state
        if followed.doubted:
            followed.doubted = False
            followed.known = replace(followed.known, doubted=True, stale=True)
        if followed.heard:
            followed.heard = False
            followed.known = replace(followed.known, next_look=min(followed.known.next_look, now))

    def _do(self, turn: "_Turn", step: following.Step) -> float | None:
        """One step. Seconds until the next turn; ``None``: go on at once."""
        match step:
            case Ack() | Patch() | Say() | Cancel():
                return self._tell(turn, step)
            case following.ReadPort():
                return self._read_port(turn)
            case following.Look():
                return self._look(turn)
            case following.Resume():
                return self._resume(turn)
            case following.Reject(reason):
                return self._reject(turn, reason)
            case following.Close(words, error, differs):
                level = log.error if error else log.info
                level("report to Port closed: %s", words, extra=subject_of(turn.record))
                if differs:
                    self._ends_differ()
                self._write(turn, turn.report.model_copy(update={"closed": True}))
                return None
            case _:
                raise AssertionError(step)

    # ---------------------------------------------------------------- Port

    def _tell(self, turn: "_Turn", step: Ack | Patch | Say | Cancel) -> float | None:
        followed, report, why, asked = turn.followed, turn.report, "", None
        outcome: following.Outcome
        try:
            outcome, why = self._ask(turn, step, report)
        except Refused as error:
            outcome, why = Refusal(error.status), str(error)
        except (PortError, GitHubError) as error:
            outcome, why, asked = Unheard(sent=isinstance(error, Lost)), str(error), error.retry_after
        except StepError as error:  # GitHub's credentials, where a run is to be cancelled
            outcome, why, asked = Unheard(sent=False), str(error), error.retry_after
        told, followed.known = following.told(step, outcome, report, followed.known, self._clock.now())
        self._write(turn, told)
        if isinstance(outcome, Took) or told != report:
            self._succeeded(followed)
            if not isinstance(outcome, Took):
                log.error("other reports continue: %s", why, extra=subject_of(turn.record))
            return None
        return self._failed(turn, why, asked, at_once=followed.known.refusal is not None or isinstance(step, Ack))

    def _ask(self, turn: "_Turn", step: Ack | Patch | Say | Cancel, report: Report) -> tuple[following.Outcome, str]:
        match step:
            case Ack():
                if self._api.ack(report.kind, report.id):
                    return Took(), ""
                return Refusal(404), "Port knows no such run"
            case Cancel(force):
                self._github.cancel(turn.record, force=force)
                return Took(), ""
            case Patch(_, body):
                answer = self._api.patch(report.kind, report.id, body)
            case Say(_, line):
                answer = self._api.log(report.kind, report.id, line)
        if 200 <= answer.status < 300:
            return Took(), ""
        part = "a log line" if isinstance(step, Say) else "a PATCH"
        return Refusal(answer.status), f"Port refuses {part} ({step.part}): {answer.status} ({words(answer)})"

    def _read_port(self, turn: "_Turn") -> float | None:
        followed, report = turn.followed, turn.report
        seen: AtPort | None
        try:
            if report.kind == "run":
                seen = self._api.read_run(report.id)
            else:
                seen = self._api.read_node(followed.known.external_id or "")
        except PortError as error:
            return self._failed(turn, str(error), error.retry_after)
        read, followed.known = following.read(seen, report, followed.known, self._clock.now())
        self._write(turn, read)
        if seen is None:
            return self._failed(turn, "Port shows no such run", None)
        followed.open_run = report.kind == "run" and not seen.ended
        return None

    # ---------------------------------------------------------------- GitHub and the ledger

    def _look(self, turn: "_Turn") -> float | None:
        followed, record = turn.followed, turn.record
        assert record.run is not None
        try:
            repository = self._github.repository_of(record)
            run = RunReference(repository.endpoint, repository.owner, repository.name, record.run.id)
            project, wanted = record.project, _wanted(record)
            look = self._run_poller.look(run, repository.token, repository.renew, project=project, wanted=wanted)
            snapshot = self._seen(look)
        except StepError as error:
            followed.known = following.unseen(followed.known, self._clock.now())
            return self._failed(turn, str(error), error.retry_after)
        now, known = self._clock.now(), followed.known
        if snapshot is not None and snapshot.missing and isinstance(look, LookUnderWay):
            followed.known = following.looked(None, known, now)
        elif snapshot is None or snapshot.run is None or snapshot.trouble is not None or snapshot.failure is not None:
            followed.known = following.unseen(known, now)
            return self._not_seen(turn, snapshot, now)
        else:
            observed = snapshot.run
            ids = (observed.owner_id, observed.repository_id)
            external = f"gh_{ids[0]}_{ids[1]}_{record.run.id}" if all(ids) else None
            known = following.looked(observed, known, now, external)
            known = replace(known, environments=tuple(one.environment for one in snapshot.pending))
            if observed.phase is Phase.COMPLETED:
                known = replace(known, jobs=snapshot.jobs, more_jobs=snapshot.more_jobs, outputs=snapshot.outputs)
            followed.known = known
        self._succeeded(followed)
        return None

    def _seen(self, look: LookUnderWay | Snapshot) -> Snapshot | None:
        if isinstance(look, Snapshot):
            return look
        self._workers.join(look.ready, LOOK_WITHIN)
        look.told = look.seen is not None
        return look.seen

    def _not_seen(self, turn: "_Turn", snapshot: Snapshot | None, now: float) -> float | None:
        """GitHub does not show the run now; a limit, or a turn that comes later, is no failure."""
        known = turn.followed.known
        if snapshot is not None and snapshot.failure is not None:
            return self._failed(turn, snapshot.failure, LONGEST)
        if snapshot is not None and snapshot.trouble is not None:
            left = snapshot.trouble.until - self._clock.monotonic()
            turn.followed.known = replace(known, next_look=max(now + left, now + SHORTEST))
        return None

    def _resume(self, turn: "_Turn") -> float | None:
        """Let a task look for the run, or find out that the sender is gone; its end is heard."""
        error = resume(self._dispatches, turn.record, self._github.repository_of, self._soon)
        turn.followed.known = following.unseen(turn.followed.known, self._clock.now())
        return None if error is None else self._failed(turn, str(error), error.retry_after)

    def _reject(self, turn: "_Turn", reason: str) -> float | None:
        try:
            turn.record = self._store.write(advance(turn.record, GaveUp(reason=reason)))
        except (Conflict, IllegalMove):
            return SHORTEST  # it has moved: the next turn reads it
        log.info("nothing was dispatched: %s", reason, extra=subject_of(turn.record))
        turn.followed.state = turn.record.state
        return None

    def _write(self, turn: "_Turn", report: Report) -> None:
        """What Port has taken goes into the ledger before anything more is told.

        :raises LedgerUnavailable: not yet; the next turn tries again first.
        """
        turn.followed.unwritten = report
        try:
            turn.record = write_duty(self._store, turn.record, report)
        except Conflict as error:
            turn.followed.unwritten = None
            raise LedgerUnavailable(str(error), SHORTEST) from None
        turn.followed.unwritten = None

    # ---------------------------------------------------------------- what fails

    def _succeeded(self, followed: _Followed) -> None:
        followed.tries, followed.failing_since, followed.said = 0, None, ""

    def _failed(self, turn: "_Turn", why: str, asked: float | None, *, at_once: bool = False) -> float | None:
        """A step is to be repeated: when, or at once where another step comes first."""
        followed = turn.followed
        followed.tries += 1
        if followed.failing_since is None:
            followed.failing_since = self._clock.now()
        if why != followed.said:
            log.warning("not reported to Port yet, trying again: %s", why, extra=subject_of(turn.record))
            followed.said = why
        if at_once and followed.tries == 1:
            return None
        return pause_after(followed.tries, SHORTEST, asked)


def _wanted(record: Record) -> Wanted:
    """What a look is to find besides the run: only a node can tell outputs."""
    report = record.report
    tells = report is not None and report.kind == "node" and report.wanted
    return Wanted(outputs=DEFAULT_ARTIFACT) if tells else NOTHING


@dataclass
class _Turn:
    followed: _Followed
    record: Record

    @property
    def report(self) -> Report:
        assert self.record.report is not None
        return self.record.report
