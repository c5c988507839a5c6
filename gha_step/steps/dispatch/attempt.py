"""One attempt: set the record to `sending`, check the fence, send, read the response, write the result to the record.

Nothing is sent before the record is durable, and a POST is sent once. Source: ledger.md, "Order of one dispatch".
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gha_step.contract.errors import LedgerUnavailable, StepError
from gha_step.github.client import Client
from gha_step.github.connection import Connection
from gha_step.github.diagnosis import diagnose
from gha_step.github.dispatch import (
    AcceptedWithoutRun,
    StartedRun,
    asked_to_dispatch,
    decipher_dispatch,
    dispatch_request,
)
from gha_step.github.errors import RateLimited, Refused, Unclear, Unsupported
from gha_step.github.exchange import MAX_BODY, Exchange, framed
from gha_step.github.messages import Answer, Dialect
from gha_step.github.rate_limits import DISPATCHES
from gha_step.github.refusals import may_pass
from gha_step.large_answers import Place, is_too_much
from gha_step.ledger.attribution import DATE_SLACK
from gha_step.ledger.record import Owner, Record, Run, State
from gha_step.ledger.store import Conflict
from gha_step.ledger.transitions import (
    AcceptedWithoutId,
    AnswerLost,
    ExactId,
    NotSent,
    OwnersEvent,
    RefusedForGood,
    RefusedForNow,
    Send,
    advance,
)
from gha_step.runtime import Clock, Workers
from gha_step.steps.dispatch.gate import Preparation
from gha_step.steps.dispatch.journal import LEDGER_RETRY, Journal, subject_of
from gha_step.steps.dispatch.pending_result import PendingResults
from gha_step.steps.dispatch.refusals import Refusals
from gha_step.steps.dispatch.request import DispatchRequest
from gha_step.steps.dispatch.task import Task
from gha_step.telemetry import Telemetry, log

FENCE: Final = 10.0  # seconds between the begin of the write that says `sending` and the first byte
ANSWER_WITHIN: Final = 30.0  # seconds of silence after which an answer counts as lost …
LATE_ANSWER_WITHIN: Final = 300.0  # … though it is read, and believed, if it comes after all


@dataclass(frozen=True)
class _Post:
    """What it takes to read the answer to one POST, whenever it comes."""

    request: DispatchRequest
    nonce: str
    dialect: Dialect
    actor: str | None
    begun: float  # monotonic
    place: Place
    data: list[bytes]  # the request, until it is sent: the answer may take minutes
    refusals: list[Refused] = field(default_factory=list)


class Attempts:
    """All attempts of this process."""

    def __init__(
        self,
        *,
        journal: Journal,
        pending: PendingResults,
        refusals: Refusals,
        client: Client,
        clock: Clock,
        late_readers: Workers,
        owner: Owner,
        new_nonce: Callable[[], str],
        telemetry: Telemetry,
    ) -> None:
        self._journal = journal
        self._pending = pending
        self._refusals = refusals
        self._client = client
        self._servers = client.servers
        self._rate_limits = client.rate_limits
        self._clock = clock
        self._late_readers = late_readers
        self._owner = owner
        self._new_nonce = new_nonce
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._on_the_wire = 0

    @property
    def on_the_wire(self) -> int:
        """How many POSTs have no answer yet, or one that is not yet in the ledger."""
        return self._on_the_wire

    def make(
        self, task: Task, record: Record, request: DispatchRequest, connection: Connection, preparation: Preparation
    ) -> None:
        """Send over a fresh connection, if the record can be moved in time; `task.record` is what it comes to.

        :raises LedgerUnavailable: the ledger takes no writes; nothing was sent.
        :raises Unfit: there is no such request; nothing was sent, and the record does not say that it was.
        """
        dialect = self._servers.dialect(request.endpoint)
        data = framed(dispatch_request(request.workflow, request.inputs, request.token, dialect))
        nonce = self._new_nonce()
        event = Send(
            nonce=nonce,
            owner=self._owner,
            sending_at=self._clock.now(),
            floor=preparation.floor,
            baseline_ids=preparation.baseline_ids,
        )
        begun = self._clock.boottime()
        self._count_wire(+1)
        try:
            sending, trouble = self._take(advance(record, event))
            if sending is None:
                connection.close()
                self._abandon(task, record, nonce, trouble)
                return
            task.record = sending
            self._journal.report(record, sending)
            if self._clock.boottime() - begun >= FENCE:
                connection.close()
                self._pending.found(task, NotSent(nonce=nonce))
                return
            place = self._client.place(request.endpoint)
            post = _Post(request, nonce, dialect, preparation.actor, self._clock.monotonic(), place, [data])
            del data
            self._post(task, post, connection)
        finally:
            self._count_wire(-1)

    def _abandon(self, task: Task, record: Record, nonce: str, trouble: StepError | None) -> None:
        """:raises LedgerUnavailable: the ledger takes no writes."""
        self._pending.abandon(nonce)
        task.record = self._journal.reread(task, record)
        if task.record.version == record.version:
            why = f"the ledger is readable but not writable: {trouble}"
            lasting = isinstance(trouble, LedgerUnavailable) and trouble.lasting
            raise LedgerUnavailable(why, LEDGER_RETRY, lasting=lasting)

    def _take(self, sending: Record) -> tuple[Record | None, StepError | None]:
        """Move the record to `sending`. A write without a clear answer is not ours until a fresh read says so.

        :returns: the record, with our nonce; ``None``: the attempt is to be abandoned. And what stood in the way.
        """
        trouble: StepError | None = None
        for _ in range(3):
            try:
                return self._journal.write(sending), None
            except (Conflict, LedgerUnavailable) as error:
                trouble = error
            try:
                found = self._journal.store.read(sending.project, sending.key)
            except LedgerUnavailable:
                break
            if found is not None and found.nonce == sending.nonce:
                if found.state is not State.SENDING:
                    break
                self._journal.remember(found)
                return found, None
            if (found.version if found is not None else 0) != sending.version:
                break
        return None, trouble

    def _post(self, task: Task, post: _Post, connection: Connection) -> None:
        """The one POST of this attempt, and what comes of it."""
        request, nonce, place = post.request, post.nonce, post.place
        exchange = Exchange(connection, self._clock, max_kept=MAX_BODY, grow=place.grow)
        silent = False
        try:
            exchange.hand_over(post.data.pop())
            answer = exchange.receive(ANSWER_WITHIN)
            silent = answer is None
            if answer is None:
                raise Unclear(f"{request.endpoint.host} has not answered within {ANSWER_WITHIN:.0f} s")
            event: OwnersEvent = self._read_answer(post, answer)
        except Unclear as error:
            event = AnswerLost(nonce=nonce, lost_at=self._clock.now(), reason=str(error))
            self._telemetry.github_request("dispatch", "unclear", self._clock.monotonic() - post.begun)
        finally:
            if not silent:
                exchange.close()
                place.leave()
        if silent:
            self._count_wire(+1)
            self._late_readers.spawn(lambda: self._read_late(task, post, exchange), task.record.project)
        self._pending.found(task, event)
        for refusal in post.refusals:  # the record has it by now: what follows only finds better words
            task.diagnosis = diagnose(refusal, request.workflow, request.token, self._client)
            self._refusals.explain(task.record.key, task.diagnosis)

    def _read_answer(self, post: _Post, answer: Answer) -> OwnersEvent:
        """The event that an answer to our POST amounts to. :raises Unclear: it proves nothing."""
        request, nonce = post.request, post.nonce
        seconds = self._clock.monotonic() - post.begun
        post.place.read()
        if is_too_much(answer.body):
            raise Unclear(f"{request.endpoint.host} sends more values than such a response has")
        self._telemetry.github_request("dispatch", str(answer.status), seconds)
        self._telemetry.github_budget(request.endpoint.host, answer.headers)
        self._servers.saw(request.endpoint, answer.headers, post.dialect)
        budget = (request.endpoint, request.token)
        try:
            result = decipher_dispatch(
                answer, request.workflow, request.inputs, request.token, post.dialect, request.secrets
            )
        except RateLimited as error:
            now = self._clock.monotonic()
            self._rate_limits.limited(*budget, error.wait, now, kind=DISPATCHES, why=str(error))
            return RefusedForNow(nonce=nonce, at=self._clock.now(), reason=str(error))
        except Unsupported as error:
            self._rate_limits.answered(*budget, DISPATCHES)
            self._servers.refused(request.endpoint, post.dialect, error.feature)
            return RefusedForNow(nonce=nonce, at=None, reason=str(error))
        except Refused as error:
            self._rate_limits.answered(*budget, DISPATCHES)
            return self._refused(post, error)
        self._rate_limits.answered(*budget, DISPATCHES)
        self._servers.answered_dispatch(request.endpoint, post.dialect, names_run=isinstance(result, StartedRun))
        match result:
            case StartedRun(run_id, url):
                return ExactId(nonce=nonce, run=Run(id=run_id, url=url, source="response"))
            case AcceptedWithoutRun(date):
                floor = None if date is None else date - seconds - DATE_SLACK
                return AcceptedWithoutId(nonce=nonce, date=date, floor=floor, actor=post.actor)

    def _refused(self, post: _Post, error: Refused) -> OwnersEvent:
        request, nonce, key = post.request, post.nonce, post.request.key.hash
        if request.renew is not None and self._refusals.counts(key, request.token):
            asked = asked_to_dispatch(request.workflow, request.inputs)
            if may_pass(error.status, error.words, asked, request.token, post.begun):
                self._refusals.too_new(key, request.token)
                return RefusedForNow(nonce=nonce, at=None, reason=str(error))
            if error.status == 401 and self._refusals.use_up(key, request.token):
                return RefusedForNow(nonce=nonce, at=None, reason=str(error))
        if error.status == 401 and request.renew is not None:
            twice = f"GitHub refused the App's token, and a fresh one in its place (401: {error.words!r})"
            why = f"{request.workflow}: {twice}: see whether the installation is suspended"
            return RefusedForGood(nonce=nonce, reason=why)
        post.refusals.append(error)
        return RefusedForGood(nonce=nonce, reason=str(error))

    def _read_late(self, task: Task, post: _Post, exchange: Exchange) -> None:
        """Silence is no answer: read on. What comes still counts, however the record stands by then."""
        try:
            answer = exchange.receive(LATE_ANSWER_WITHIN)
            if answer is not None:
                self._pending.found(task, self._read_answer(post, answer))
        except Unclear:
            pass  # the record says `unknown` already, and that is what is known
        except StepError as error:
            log.error("a late answer could not be recorded: %s", error, extra=subject_of(task.record))
        finally:
            exchange.close()
            post.place.leave()
            self._count_wire(-1)

    def _count_wire(self, change: int) -> None:
        with self._lock:
            self._on_the_wire += change
