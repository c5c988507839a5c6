"""Carries out what `rules` decides for the runs of Promotions that ended without success.

It does the I/O and decides nothing. It writes to the ledger before it sends GitHub anything. Everything else in its
memory may be lost: then it reads a run, or sends a cancel, once more.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from gha_step.contract.errors import CredentialsError, StepError
from gha_step.contract.repo_url import parse_repo_url
from gha_step.github.client import Client
from gha_step.inbound.abort import rules
from gha_step.inbound.abort.rules import Cancel, Close, Find, Known, LookAtPromotion, Reject, Wait, next_step
from gha_step.inbound.duties import resume, write_duty
from gha_step.inbound.promotions import Promotions
from gha_step.inbound.rounds import pause_after
from gha_step.ledger.duties import Cancellation
from gha_step.ledger.record import Record
from gha_step.ledger.store import Conflict, Store
from gha_step.ledger.transitions import GaveUp, IllegalMove, advance
from gha_step.runtime import Clock
from gha_step.steps.access import Repositories, Repository
from gha_step.steps.dispatch.journal import subject_of
from gha_step.steps.dispatch.tasks import DispatchTasks
from gha_step.steps.repository import Credentials, RepositoryConfig
from gha_step.steps.run_control import RunControl
from gha_step.telemetry import log

STEPS: Final = 6  # in one turn
MOVED: Final = 1.0  # seconds, where the record has changed meanwhile
SHORTEST: Final = 5.0  # seconds after a step that failed
NOT_NOW: Final = 10.0  # seconds after GitHub has said that the run cannot be cancelled now


@dataclass
class _Followed:
    """What this process knows of one record; written in its turn."""

    known: Known = field(default_factory=Known)
    unwritten: Cancellation | None = None  # what was done, as long as the ledger does not have it
    closing: Close | None = None
    tries: int = 0


class Aborts:
    """See the module, and `gha_step.inbound.duties.Handler`.

    :param everybodys: whether it follows every record, and keeps it by a finalizer; else those that nobody else keeps.
    :param soon: makes a record's next turn due.
    :param count: hears of each outcome.
    """

    def __init__(
        self,
        *,
        promotions: Promotions,
        access: Repositories,
        client: Client,
        dispatches: DispatchTasks,
        store: Store,
        clock: Clock,
        everybodys: bool,
        soon: Callable[[str], None],
        count: Callable[[str], None],
    ) -> None:
        self._promotions = promotions
        self._access = access
        self._client = client
        self._dispatches = dispatches
        self._store = store
        self._clock = clock
        self._everybodys = everybodys
        self._soon = soon
        self._count = count
        self._lock = threading.Lock()
        self._followed: dict[str, _Followed] = {}

    def owes(self, record: Record) -> bool:
        return record.abort is not None and record.owes and (self._everybodys or not record.held)

    def forget(self, key: str) -> None:
        with self._lock:
            self._followed.pop(key, None)

    def each_minute(self) -> None:
        """Nothing is asked once for all."""

    def turn(self, record: Record) -> float | None:
        with self._lock:
            followed = self._followed.setdefault(record.key, _Followed())
        try:
            return self._turn(followed, record)
        except (Conflict, IllegalMove):  # it has moved: the next turn reads it
            return MOVED
        except StepError as error:
            return self._failed(followed, record, error)

    def _turn(self, followed: _Followed, record: Record) -> float | None:
        if followed.unwritten is not None:
            record = self._write(followed, record, followed.unwritten)
        elif self._everybodys and not record.held and record.deletion is None and not self._store.exclusive:
            record = self._store.write(record)  # with the finalizer
        for _ in range(STEPS):
            if not record.owes:
                return None
            step = next_step(record, followed.known, self._clock.now())
            if isinstance(step, Wait):
                return max(step.seconds, 0.5)
            try:
                record = self._do(followed, record, step)
            except CredentialsError as error:
                if record.deletion is None:
                    raise
                # They go with the project, which waits for our finalizer.
                record = self._close(followed, record, Close("given-up", str(error), error=True))
        return 0.5

    def _do(self, followed: _Followed, record: Record, step: rules.Step) -> Record:
        """One step; the record as it stands after it."""
        match step:
            case LookAtPromotion():
                return self._look_at_promotion(followed, record)
            case Reject(reason):
                assert record.abort is not None
                closed = record.abort.model_copy(update={"outcome": "not-dispatched", "closed": True})
                record = self._store.write(advance(record, GaveUp(reason=reason)).owing(closed))
                self._told(record, Close("not-dispatched", reason))
                return record
            case Find():
                return self._find(followed, record)
            case Cancel(force):
                return self._cancel(followed, record, force)
            case Close():
                return self._close(followed, record, step)
            case _:
                raise AssertionError(step)

    # ---------------------------------------------------------------- the Promotion

    def _look_at_promotion(self, followed: _Followed, record: Record) -> Record:
        duty, now = record.abort, self._clock.now()
        assert duty is not None
        followed.known = replace(followed.known, next_look=now + rules.until_next_look(record, now))
        end = self._promotions.end(record.project, record.promotion, record.promotion_uid)
        self._succeeded(followed)
        if end is None:
            return record
        seen = duty.model_copy(update={"end": end, "ended": now})
        if end == "Succeeded":
            return self._close(followed, record, Close("succeeded", "the Promotion Succeeded"), seen)
        log.info("cancelOnAbort: the Promotion has ended (%s)", end, extra=subject_of(record))
        return self._write(followed, record, seen)

    # ---------------------------------------------------------------- the run

    def _cancel(self, followed: _Followed, record: Record, force: bool | None) -> Record:
        duty = record.abort
        assert duty is not None
        assert record.run is not None
        repository = self._repository(record, duty)
        if repository.endpoint.base != record.target.api_base:
            words = (
                f"the run is on {record.target.api_base}, and the credentials are now for {repository.endpoint.base}"
            )
            return self._close(followed, record, Close("given-up", words, error=True))
        control = RunControl(self._client, repository, record.run.id)
        observed = control.look()
        now = self._clock.now()
        become = rules.seen(duty, observed, control.seen_at, now)
        if become is None:
            assert force is not None
            took = control.cancel(force=force)
            become = rules.answered(duty, force=force, took=took, now=self._clock.now())
        self._succeeded(followed)
        if become is None:
            trouble = f"GitHub says that {control.run} cannot be cancelled now (409), and it is {observed.status}"
            followed.known = replace(followed.known, next_try=now + NOT_NOW, trouble=trouble)
            return record
        if isinstance(become, Close):
            return self._close(followed, record, become)
        return self._write(followed, record, become)

    def _find(self, followed: _Followed, record: Record) -> Record:
        duty = record.abort
        assert duty is not None
        followed.known = replace(followed.known, next_try=self._clock.now() + rules.FIND_EVERY)
        error = resume(self._dispatches, record, lambda record: self._repository(record, duty), self._soon)
        if error is not None:
            raise error
        return record

    def _repository(self, record: Record, duty: Cancellation) -> Repository:
        """:raises StepError: there is none, or no token for it now."""
        owner, _, name = record.target.repo.partition("/")
        if duty.url is not None:
            config = RepositoryConfig.model_construct(
                repo_url=parse_repo_url(duty.url), insecure_skip_tls_verify=duty.insecure
            )
        else:
            credentials = Credentials.model_construct(secret_name=duty.secret or "")
            config = RepositoryConfig.model_construct(credentials=credentials, owner=owner, repo=name)
        return self._access.repository(record.project, config)

    # ---------------------------------------------------------------- the ledger

    def _write(self, followed: _Followed, record: Record, duty: Cancellation) -> Record:
        """:raises LedgerUnavailable: not yet; the next turn tries again first."""
        followed.unwritten = duty
        try:
            record = write_duty(self._store, record, duty)
        except Conflict:
            followed.unwritten = followed.closing = None
            raise
        followed.unwritten = None
        if followed.closing is not None:
            self._told(record, followed.closing)
        return record

    def _close(self, followed: _Followed, record: Record, close: Close, duty: Cancellation | None = None) -> Record:
        duty = duty or record.abort
        assert duty is not None
        closed = duty.model_copy(update={"outcome": close.outcome, "closed": True})
        followed.closing = close
        return self._write(followed, record, closed)

    def _told(self, record: Record, close: Close) -> None:
        self._count(close.outcome)
        run = f"run {record.run.id} of {record.target.repo}" if record.run else record.target.repo
        level = log.error if close.error else log.info
        level("cancelOnAbort of %s: %s (%s)", run, close.words, close.outcome, extra=subject_of(record))

    def _succeeded(self, followed: _Followed) -> None:
        followed.tries = 0
        followed.known = replace(followed.known, trouble="")

    def _failed(self, followed: _Followed, record: Record, error: StepError) -> float:
        """A step is to be repeated: when."""
        now, words = self._clock.now(), str(error)
        if words != followed.known.trouble:
            log.warning("cancelOnAbort: trying again: %s", words, extra=subject_of(record))
        followed.tries += 1
        pause = pause_after(followed.tries, SHORTEST, error.retry_after)
        followed.known = replace(followed.known, next_try=now + pause, trouble=words)
        return pause
