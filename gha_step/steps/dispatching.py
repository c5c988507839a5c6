"""At most one dispatch per key: the one task that a key has in this process, from the record to the run.

A call starts the task of its key or joins it; the task outlives the call. Each turn of its loop reads the record's
state and does the one thing that this state calls for: send, watch another's attempt, or look for the run. It may
begin to send until 15 s after the call that last joined it. What is legal is decided by `gha_step.ledger.record`,
which run is ours by `gha_step.ledger.attribution`; here is the order in which things are done:

    connect → move the record to `sending` → fence → bytes → evidence into the record

so that a failure to connect never leaves `reserved`, and no byte leaves before the record is durable.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from gha_step.contract.errors import LedgerUnavailable, StepError
from gha_step.contract.step import StepResult
from gha_step.github.api import (
    AcceptedWithoutRun,
    StartedRun,
    decipher_dispatch,
    dispatch_request,
)
from gha_step.github.connection import Connection, Connector
from gha_step.github.errors import GitHubError, RateLimited, Refused, Unclear, Unsupported, Untrusted
from gha_step.github.exchange import Answer, Exchange
from gha_step.github.servers import Servers
from gha_step.ledger.attribution import DATE_SLACK, attribute, find_marker, looking_ends
from gha_step.ledger.record import (
    LOOKING,
    AcceptedWithoutId,
    AnswerLost,
    Candidate,
    Event,
    ExactId,
    FoundByName,
    Gate,
    GaveUp,
    IllegalMove,
    Indistinguishable,
    NothingFound,
    NotSent,
    OnlyCandidate,
    Owner,
    OwnerGone,
    OwnersEvent,
    Reached,
    Record,
    RecordLost,
    RefusedForNow,
    Run,
    Send,
    State,
    ToldByHost,
    Trouble,
    adopt,
    advance,
)
from gha_step.ledger.record import (
    Refused as RefusedForGood,
)
from gha_step.ledger.store import Conflict, Store
from gha_step.runtime import Clock, Workers
from gha_step.steps.answers import BUSY, Note, tell
from gha_step.steps.listings import Listings
from gha_step.steps.order import Key, Order, blank
from gha_step.telemetry import Telemetry, log, subject

BEGIN_WITHIN: Final = 15.0  # seconds after the last call that joined
FENCE: Final = 10.0  # seconds between the begin of the write that says `sending` and the first byte
ANSWER_WITHIN: Final = 30.0  # seconds of silence after which an answer counts as lost …
LATE_ANSWER_WITHIN: Final = 300.0  # … though it is read, and believed, if it comes after all
WATCH: Final = 90.0  # seconds for which another process's `sending` must stand still
LONG_AGO: Final = 300.0  # seconds, by the wall clock, after which it counts as gone at once
HOLD_LIMIT: Final = 60.0  # seconds: the host is never told to wait longer
LEDGER_RETRY: Final = 10.0  # seconds
EVIDENCE_WITHIN: Final = 120.0  # seconds for which a task tries to write down what it knows
SHARED_FOR: Final = 0.5  # seconds for which one listing serves others as well
GATE_TAKEOVER: Final = 15.0  # seconds for which a holder may not have begun to send
_MEMORY: Final = 10_000  # keys remembered besides the ledger


@dataclass(frozen=True)
class Witness:
    """What the host kept of our own earlier output, in ``sharedState``: the ledger's record may be gone."""

    target: str  # hash
    run_id: int | None
    url: str


class Task:
    """One key's work in this process. `record` and `note` are only ever replaced, so that anybody may read them."""

    def __init__(self, record: Record, order: Order | None, joined: float) -> None:
        self.record = record
        self.order = order
        self.joined = joined
        self.note: Note | None = None
        self.exact: Run | None = None
        self.ready: Future[None] = Future()
        self.job: Future[None] | None = None

    def tell_now(self) -> None:
        """There is something worth telling."""
        if not self.ready.done():
            self.ready.set_result(None)


@dataclass(frozen=True)
class Joined:
    """One call's view of the task that it joined; see `gha_step.steps.outcome.Underway`."""

    task: Task
    order: Order | None
    withdraw: Callable[[Task], bool] = field(repr=False)

    @property
    def ready(self) -> "Future[None]":
        return self.task.ready

    def answer(self) -> StepResult:
        if self.withdraw(self.task):
            return StepResult.running(BUSY.message, BUSY.retry_after)
        return tell(self.task.record, note=self.task.note, exact=self.task.exact, order=self.order)


class _Memory(OrderedDict[str, Any]):
    """A dictionary that forgets its oldest entry."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > _MEMORY:
            self.popitem(last=False)


class Dispatching:
    """All tasks of this process."""

    def __init__(
        self,
        *,
        store: Store,
        connector: Connector,
        listings: Listings,
        servers: Servers,
        clock: Clock,
        tasks: Workers,
        late_readers: Workers,
        owner: Owner,
        new_nonce: Callable[[], str],
        settle: float,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._connector = connector
        self._listings = listings
        self._servers = servers
        self._clock = clock
        self._workers = tasks
        self._late_readers = late_readers
        self._owner = owner
        self._new_nonce = new_nonce
        self._settle = settle
        self._telemetry = telemetry
        self._lock = threading.Lock()  # never held across a call into any of the above
        self._tasks: dict[str, Task] = {}
        self._draining = False
        self._on_the_wire = 0
        # What this process knows besides the ledger, by key unless said otherwise.
        self._last_sent: dict[str, Record] = _Memory()  # the witness, should the record vanish
        self._evidence: dict[str, OwnersEvent] = _Memory()  # in hand, and perhaps not yet written
        self._abandoned: dict[str, None] = _Memory()  # nonces that were never sent, and never will be
        self._holds: dict[str, tuple[float, RateLimited]] = _Memory()  # not before (monotonic), and why
        self._watched: dict[str, tuple[object, float]] = _Memory()  # what stood still since (monotonic)

    # ------------------------------------------------------------------ calls

    def call(
        self, key: Key, order: Order | None, witness: Witness | None, arrived: float
    ) -> StepResult | Joined | None:
        """What one call comes to: the recorded end, or the task that it started or joined.

        :param order: ``None`` if this call cannot say what to dispatch: then nothing is begun for it, and
            ``None`` is given back where nothing was sent before.
        :raises LedgerUnavailable: nothing is known, and nothing was begun.
        :raises LedgerError: the record must not be touched.
        """
        if joined := self._join(key, order, arrived):
            return joined
        record = self._read(key, order, witness)
        if record is None or (order is None and record.state is State.RESERVED):
            return None
        if record.final and not self._late_look(record, order):
            return tell(record, note=None, order=order)
        task = Task(record, order, arrived)
        with self._lock:
            task = self._tasks.setdefault(key.hash, task)
        if task.record is not record:  # somebody was quicker
            return self._join(key, order, arrived) or Joined(task, order, self._withdraw)
        task.job = self._workers.spawn(lambda: self._run(task))
        return Joined(task, order, self._withdraw)

    def reject(self, key: Key, reason: str, unknown: Record | None = None) -> None:
        """Write down that nothing was and nothing will be dispatched for this key, unless something was sent.

        What is told as final is written first: a Secret may be mended a moment later, while another call of the
        same step is still on its way.

        :param unknown: the record to begin with where there is none; without it, none is made.
        :raises LedgerUnavailable: this is not known.
        """
        while (record := self._store.read(key.project, key.hash) or unknown) is not None:
            if record.state is not State.RESERVED:
                return
            try:
                self._write(advance(record, GaveUp(reason=reason)))
            except Conflict:
                continue

    def drain(self) -> None:
        """Begin no further send."""
        self._draining = True

    @property
    def on_the_wire(self) -> int:
        """How many POSTs have no answer yet, or one that is not yet in the ledger."""
        return self._on_the_wire

    def _join(self, key: Key, order: Order | None, arrived: float) -> Joined | None:
        with self._lock:
            task = self._tasks.get(key.hash)
            if task is None:
                return None
            task.joined = max(task.joined, arrived)
            if order is not None:
                task.order = order
        return Joined(task, order, self._withdraw)

    def _withdraw(self, task: Task) -> bool:
        """Take back a task that no thread has begun: there is no queue of work that nobody waits for."""
        if task.job is None or not task.job.cancel():
            return False
        self._forget(task)
        return True

    def _forget(self, task: Task) -> None:
        with self._lock:
            if self._tasks.get(task.record.key) is task:
                del self._tasks[task.record.key]

    # ------------------------------------------------------------------ the task

    def _run(self, task: Task) -> None:
        try:
            self._work(task)
        except LedgerUnavailable as error:
            task.note = Note(f"nothing is sent without the ledger ({error})", LEDGER_RETRY)
        except StepError as error:
            task.note = Note(str(error), LEDGER_RETRY)
        except Exception:  # noqa: BLE001  a thread has nobody else to tell
            log.exception("a dispatch task failed", extra=_subject(task.record))
            task.note = Note("an internal error, which the log of gha-step tells", LEDGER_RETRY)
        finally:
            self._forget(task)
            task.tell_now()

    def _work(self, task: Task) -> None:
        """The loop: one turn per state."""
        while True:
            self._settle_evidence(task)
            record = task.record
            if record.final:
                if self._late_look(record, task.order):
                    self._look_for_marker(task, record)
                return
            if not self._wanted(task):
                return
            match record.state:
                case State.RESERVED:
                    go_on = self._send(task, record)
                case State.SENDING:
                    go_on = self._watch(task, record)
                case _:
                    go_on = self._look(task, record)
            if not go_on:
                return

    def _wanted(self, task: Task) -> bool:
        """Whether the host has asked lately, and this process may still begin things."""
        return not self._draining and self._clock.monotonic() - task.joined < BEGIN_WITHIN

    def _pause(self, task: Task, seconds: float) -> bool:
        """Wait, as part of the task; false where the host would rather be told to come again."""
        self._clock.sleep(seconds)
        return self._wanted(task)

    # ------------------------------------------------------------------ the ledger

    def _read(self, key: Key, order: Order | None, witness: Witness | None = None) -> Record | None:
        """The record as it is now; for a key without one, what the witnesses say, or a blank one to begin with."""
        record = self._store.read(key.project, key.hash)
        if record is not None or order is None:
            return record
        fresh = blank(key, order.payload, self._clock.now())
        with self._lock:
            last: Record | None = self._last_sent.get(key.hash)
        if last is not None:
            log.error("the ledger record of a dispatch that was sent is gone", extra=_subject(last))
            lost = last.model_copy(update={"version": 0})
            event = RecordLost(reason="the ledger's record was deleted after it was sent")
            restored = lost if lost.final or lost.state in LOOKING else advance(fresh, event)
        elif witness is not None:
            restored = advance(fresh, _testimony(fresh, witness))
        else:
            return fresh
        try:
            return self._write(restored)
        except Conflict:
            return self._read(key, order, witness)

    def _write(self, record: Record) -> Record:
        """One compare-and-set; a state that is new is counted and logged."""
        stored = self._store.write(record)
        self._remember(stored)
        return stored

    def _remember(self, record: Record) -> None:
        if record.sent:
            with self._lock:
                self._last_sent[record.key] = record

    def _move(self, task: Task, record: Record, event: Event) -> None:
        """Write what ``event`` makes of ``record``; if the record has moved meanwhile, look at it as it is now.

        :raises LedgerUnavailable: no clear answer; the next turn reads what became of it.
        """
        try:
            task.record = self._write(advance(record, event))
            self._report(record, task.record)
        except (Conflict, IllegalMove):
            task.record = self._reread(task, record)

    def _reread(self, task: Task, record: Record) -> Record:
        key = Key(record.key_parts, record.promotion)
        found = self._read(key, task.order)
        if found is None:  # gone, and this call cannot say what to dispatch
            raise LedgerUnavailable("the ledger's record is gone", LEDGER_RETRY)
        return found

    def _report(self, before: Record, after: Record) -> None:
        if before.state is after.state:
            return
        self._telemetry.dispatch(after.state)
        level = log.warning if after.state in (State.AMBIGUOUS, State.UNRESOLVED, State.UNKNOWN) else log.info
        level("dispatch %s%s", after.state, f": {after.reason}" if after.reason else "", extra=_subject(after))

    # ------------------------------------------------------------------ sending

    def _send(self, task: Task, record: Record) -> bool:
        """From `reserved`: connect, move the record, send. True if there is a new state to look at."""
        order = task.order
        if order is None:
            return False
        with self._lock:
            until, limited = self._holds.get(record.key, (0.0, None))
        if limited is not None and (left := until - self._clock.monotonic()) > 0:
            return self._trouble(task, record, limited, left)
        task.record = record = adopt(record, order.payload)
        try:
            preparation = self._prepare(task, record, order)
            if preparation is None or task.order is not order:
                return task.order is not order  # a newer payload, adopted while this one waited
            connection = self._connector.connect(order.endpoint)
        except Untrusted as error:
            self._move(task, task.record, GaveUp(reason=str(error)))
            return True
        except GitHubError as error:
            return self._trouble(task, task.record, error, getattr(error, "wait", None))
        record = task.record
        if record.state is not State.RESERVED:
            connection.close()
            return True
        try:
            return self._send_over(task, record, order, connection, preparation)
        except BaseException:
            connection.close()
            raise

    def _trouble(self, task: Task, record: Record, error: GitHubError, wait: float | None) -> bool:
        """GitHub cannot be asked now. Nothing was sent; wait for as long as that makes sense.

        :param wait: seconds for which GitHub asks us to wait, where it said so.
        """
        now = self._clock.now()
        left = record.timeout - (now - (now if record.trouble_since is None else record.trouble_since))
        asked = isinstance(error, RateLimited) and error.wait is not None
        if left <= 0 or (asked and wait is not None and wait > left):
            self._move(task, record, GaveUp(reason=f"{error} The step's timeout of {record.timeout} s leaves no time."))
            return True
        if record.trouble_since is None:
            self._move(task, record, Trouble(at=now, reason=str(error)))
            if task.record.state is not State.RESERVED:
                return True
        pause = wait if wait is not None else error.retry_after or 1.0
        if isinstance(error, RateLimited):
            with self._lock:
                self._holds[record.key] = (self._clock.monotonic() + pause, error)
        task.note = Note(str(error), min(max(1.0, pause), max(1.0, left), HOLD_LIMIT))
        return False

    def _send_over(
        self, task: Task, record: Record, order: Order, connection: Connection, preparation: "_Preparation"
    ) -> bool:
        if not self._wanted(task):
            connection.close()
            return False
        nonce = self._new_nonce()
        event = Send(
            nonce=nonce,
            owner=self._owner,
            at=self._clock.now(),
            floor=preparation.floor,
            baseline_ids=preparation.baseline_ids,
        )
        begun = self._clock.boottime()
        self._count_wire(+1)
        try:
            sending = self._take(advance(record, event))
            if sending is None:
                connection.close()
                with self._lock:
                    self._abandoned[nonce] = None
                task.record = self._reread(task, record)
                return True
            task.record = sending
            self._report(record, sending)
            if self._clock.boottime() - begun >= FENCE:
                connection.close()
                self._found(task, NotSent(nonce=nonce))
                return True
            self._post(task, sending, order, connection, preparation.actor)
        finally:
            self._count_wire(-1)
        return True

    def _take(self, sending: Record) -> Record | None:
        """Move the record to `sending`. A write without a clear answer is not ours until a fresh read says so.

        :returns: the record, with our nonce; ``None``: the attempt is to be abandoned.
        """
        for _ in range(3):
            try:
                return self._write(sending)
            except (Conflict, LedgerUnavailable):
                pass
            try:
                found = self._store.read(sending.project, sending.key)
            except LedgerUnavailable:
                return None
            if found is not None and found.nonce == sending.nonce:
                if found.state is not State.SENDING:
                    return None
                self._remember(found)
                return found
            if (found.version if found is not None else 0) != sending.version:
                return None
        return None

    def _post(self, task: Task, sending: Record, order: Order, connection: Connection, actor: str | None) -> None:
        """The one POST of this attempt, and what comes of it."""
        assert sending.nonce is not None
        exchange = Exchange(connection, self._clock)
        without = self._servers.without(order.endpoint)
        begun = self._clock.monotonic()
        reader = _Reader(order, sending.nonce, without, actor, begun)
        silent = False
        try:
            exchange.send(dispatch_request(order.workflow, order.inputs, order.token, without=without))
            answer = exchange.receive(ANSWER_WITHIN)
            silent = answer is None
            if answer is None:
                raise Unclear(f"{order.endpoint.host} has not answered within {ANSWER_WITHIN:.0f} s")
            event: OwnersEvent = self._read_answer(reader, answer)
        except Unclear as error:
            event = AnswerLost(nonce=sending.nonce, at=self._clock.now(), reason=str(error))
            self._telemetry.github_request("dispatch", "unclear", self._clock.monotonic() - begun)
        finally:
            if not silent:
                exchange.close()
        if silent:
            self._count_wire(+1)
            self._late_readers.spawn(lambda: self._read_late(task, reader, exchange))
        self._found(task, event)

    def _read_answer(self, reader: "_Reader", answer: Answer) -> OwnersEvent:
        """The event that an answer to our POST amounts to. :raises Unclear: it proves nothing."""
        order, nonce = reader.order, reader.nonce
        seconds = self._clock.monotonic() - reader.begun
        self._telemetry.github_request("dispatch", str(answer.status), seconds)
        try:
            result = decipher_dispatch(answer, order.workflow, without=reader.without)
        except Unsupported as error:
            self._servers.learn_without(order.endpoint, error.feature)
            return RefusedForNow(nonce=nonce, at=None, reason=str(error))
        except RateLimited as error:
            with self._lock:
                self._holds[order.key.hash] = (self._clock.monotonic() + (error.retry_after or 1.0), error)
            return RefusedForNow(nonce=nonce, at=self._clock.now(), reason=str(error))
        except Refused as error:
            return RefusedForGood(nonce=nonce, reason=str(error))
        match result:
            case StartedRun(run_id, url):
                self._servers.learn_names_runs(order.endpoint, names=True)
                return ExactId(nonce=nonce, run=Run(id=run_id, url=url, source="response"))
            case AcceptedWithoutRun(date):
                self._servers.learn_names_runs(order.endpoint, names=False)
                floor = None if date is None else date - seconds - DATE_SLACK
                return AcceptedWithoutId(nonce=nonce, date=date, floor=floor, actor=reader.actor)

    def _read_late(self, task: Task, reader: "_Reader", exchange: Exchange) -> None:
        """Silence is no answer: read on. What comes still counts, however the record stands by then."""
        try:
            answer = exchange.receive(LATE_ANSWER_WITHIN)
            if answer is not None:
                self._found(task, self._read_answer(reader, answer))
        except Unclear:
            pass  # the record says `unknown` already, and that is what is known
        except StepError as error:
            log.error("a late answer could not be recorded: %s", error, extra=_subject(task.record))
        finally:
            exchange.close()
            self._count_wire(-1)

    def _count_wire(self, change: int) -> None:
        with self._lock:
            self._on_the_wire += change

    # ------------------------------------------------------------------ evidence

    def _found(self, task: Task, event: OwnersEvent) -> None:
        """Our own attempt has shown something: keep it until the ledger has it."""
        key = task.record.key
        with self._lock:
            self._evidence[key] = event
        if isinstance(event, ExactId):
            task.exact = event.run
            task.tell_now()
        self._settle_evidence(task)

    def _settle_evidence(self, task: Task) -> None:
        """Write the evidence in hand, if any. A ledger that does not answer is asked again for minutes.

        :raises LedgerUnavailable: the evidence is kept, for the next task of this key.
        """
        deadline = self._clock.monotonic() + EVIDENCE_WITHIN
        pause = 0.5
        while (event := self._evidence_of(task.record)) is not None:
            try:
                self._write_evidence(task, event)
            except LedgerUnavailable as error:
                if isinstance(event, AnswerLost) or self._clock.monotonic() + pause > deadline:
                    raise
                task.note = Note(f"the ledger does not take what is known ({error})", LEDGER_RETRY)
                self._clock.sleep(pause)
                pause = min(2 * pause, LEDGER_RETRY)

    def _evidence_of(self, record: Record) -> OwnersEvent | None:
        with self._lock:
            event: OwnersEvent | None = self._evidence.get(record.key)
            never_sent = record.nonce in self._abandoned and record.state in (State.SENDING, State.UNKNOWN)
        if event is None and never_sent and record.nonce is not None:
            return NotSent(nonce=record.nonce)
        return event

    def _write_evidence(self, task: Task, event: OwnersEvent) -> None:
        record = task.record
        try:
            stored = self._write(advance(record, event))
        except (Conflict, IllegalMove) as error:
            found = self._store.read(record.project, record.key)
            if found is None:  # deleted under our feet: what we know becomes the record
                task.record = record.model_copy(update={"version": 0})
                return
            if found.version != record.version or isinstance(error, Conflict):
                task.record = found
                return
            stored = record  # the ledger shows it already, or it comes too late to count
        else:
            self._check_contradiction(record, stored)
            self._report(record, stored)
        task.record = stored
        with self._lock:
            if self._evidence.get(record.key) is event:
                del self._evidence[record.key]

    def _check_contradiction(self, before: Record, after: Record) -> None:
        if before.run is not None and after.run is not None and before.run.id != after.run.id:
            self._telemetry.contradicted()
            log.error(
                "run %d, named by the rule %s, was not this step's run: GitHub's own answer names %d",
                before.run.id,
                before.run.source,
                after.run.id,
                extra=_subject(after),
            )

    # ------------------------------------------------------------------ before sending: baseline and gate

    def _prepare(self, task: Task, record: Record, order: Order) -> "_Preparation | None":
        """What has to be known before a dispatch whose answer may not name its run.

        :returns: ``None`` if the gate stays busy; `task.note` says so.
        :raises GitHubError: GitHub cannot be asked now.
        """
        if order.payload.marker is not None:
            return _Preparation()
        if self._servers.names_runs(order.endpoint) is None:
            preparation = self._first_contact(order)
            if preparation is not None and self._servers.names_runs(order.endpoint) is not False:
                return preparation
        if self._servers.names_runs(order.endpoint) is not False:
            return _Preparation()
        if not self._enter_gate(task, record, order):
            return None
        return self._baseline(order)

    def _first_contact(self, order: Order) -> "_Preparation | None":
        """Learn what this server does, once per process; ``None`` if somebody else has just done so."""
        contact = self._servers.first_contact(order.endpoint)
        if contact is not None:
            self._workers.join(contact, BEGIN_WITHIN)
            return None
        try:
            return self._baseline(order)
        finally:
            self._servers.end_contact(order.endpoint)

    def _baseline(self, order: Order) -> "_Preparation":
        """The runs that are there already: none of them is ours.

        :raises GitHubError: it may come again later. A refusal is no trouble: the POST's own answer decides.
        """
        try:
            runs = self._listings.read(order.workflow, order.token, None, 0.0)
        except Refused:
            return _Preparation()
        floor = None if runs.date is None else runs.date - DATE_SLACK
        return _Preparation(floor, tuple(run.id for run in runs.runs))

    def _enter_gate(self, task: Task, record: Record, order: Order) -> bool:
        """One dispatch at a time per target, so that each can be told from the others. False: still busy."""
        project, target = record.project, order.payload.target
        while True:
            gate = self._store.read_gate(project, target)
            if gate.holder == record.key or self._is_free(gate, order):
                try:
                    if gate.holder != record.key:
                        self._store.write_gate(gate.entered(record.key))
                except Conflict:
                    continue
                return True
            if record.trouble_since is not None:  # waiting here is no trouble
                self._move(task, record, Reached())
                if task.record.state is not State.RESERVED:
                    return False
                record = task.record
            task.note = Note(
                f"another dispatch of {order.workflow} is being identified first (this server names no runs)", 2.0
            )
            if task.order is not order or not self._pause(task, 1.0):
                return False

    def _is_free(self, gate: Gate, order: Order) -> bool:
        """Whether whoever holds the gate has left it. Whoever waits may finish the holder's work."""
        if gate.holder is None:
            return True
        holder = self._store.read(gate.project, gate.holder)
        if holder is None or holder.state is State.RESERVED or holder.target != gate.target:
            stamp = (gate.version, holder.version if holder is not None else 0)
            return self._stands_still(f"gate {gate.holder}", stamp) >= GATE_TAKEOVER
        with self._lock:
            at_work = gate.holder in self._tasks
        if not holder.final and not at_work:
            holder = self._help(holder, order)
        if holder.state is State.UNKNOWN:
            return self._stands_still(f"unknown {holder.key}", holder.nonce) >= self._settle
        return holder.final

    def _help(self, holder: Record, order: Order) -> Record:
        """Do one turn of another key's work, whose own host may never ask again."""
        helper = Task(holder, None, self._clock.monotonic())
        try:
            if holder.state is State.SENDING:
                self._watch(helper, holder)
            elif holder.state in LOOKING:
                self._look_once(helper, holder, order)
        except GitHubError as error:
            log.info("a listing for another dispatch failed: %s", error, extra=_subject(holder))
        return helper.record

    def _stands_still(self, name: str, stamp: object) -> float:
        """For how many seconds, as this process has watched, ``name`` has had the same stamp."""
        now = self._clock.monotonic()
        with self._lock:
            seen, since = self._watched.get(name, (None, now))
            if seen != stamp:
                since = now
                self._watched[name] = (stamp, now)
        return now - since

    # ------------------------------------------------------------------ another's attempt

    def _watch(self, task: Task, record: Record) -> bool:
        """From `sending`, where nobody here is sending: is the process that was gone? True if that is decided."""
        owner, nonce = record.owner, record.nonce
        assert owner is not None
        assert nonce is not None
        now = self._clock.now()
        if owner.incarnation == self._owner.incarnation:
            event: OwnersEvent = AnswerLost(nonce=nonce, at=now, reason="the sending task ended without a result")
        elif (
            self._store.exclusive
            or (owner.pod is not None and owner.pod == self._owner.pod)
            or now - (record.sending_at or 0.0) > LONG_AGO
            or self._stands_still(f"sending {record.key}", record.version) >= WATCH
        ):
            event = OwnerGone(nonce=nonce, at=now, reason="the process that was sending it is gone")
        else:
            task.note = Note("another process is sending it, or was", 5.0)
            return False
        self._move(task, record, event)
        return True

    # ------------------------------------------------------------------ looking for the run

    def _look(self, task: Task, record: Record) -> bool:
        """From `accepted_without_id` and `unknown`: one look at the workflow's runs, then a pause."""
        order = task.order
        looks = record.listings
        try:
            if order is None:
                raise Refused("the credentials cannot be used to look for the run", 0, "")
            self._look_once(task, record, order)
            task.note = None
        except GitHubError as error:
            if self._since_sending(record) >= looking_ends(record, self._settle):
                self._end_looking(task, record, str(error))
                return True
            task.note = Note(str(error), min(max(2.0, error.retry_after or 2.0), HOLD_LIMIT))
            if order is None or error.retry_after is None or error.retry_after > BEGIN_WITHIN:
                return False
        if task.record.state is not record.state:
            return True
        return self._pause(task, min(5.0, 1.0 + 0.5 * looks))

    def _look_once(self, task: Task, record: Record, order: Order) -> None:
        """Read a listing and write what it proves.

        :raises GitHubError: there is no listing now.
        """
        since_sending = self._since_sending(record)
        listing = self._listings.read(order.workflow, order.token, record.floor, SHARED_FOR)
        # After the listing: whoever started a run that it shows has said so in the ledger before.
        gate = self._store.read_gate(record.project, record.target)
        claimed = gate.taken_from(record.key)
        unique = record.names_promotion and all(
            sibling.state in (State.ACCEPTED, State.REJECTED) or not sibling.sent
            for sibling in self._store.siblings(record)
        )
        event = attribute(
            record,
            listing,
            settle=self._settle,
            since_sending=since_sending,
            claimed=claimed,
            name_is_unique=unique,
        )
        if isinstance(event, FoundByName | OnlyCandidate):
            try:
                self._store.write_gate(gate.claiming(event.run.id, record.key))
            except Conflict:
                return  # somebody has claimed a run meanwhile: look again
        self._move(task, record, event)

    def _end_looking(self, task: Task, record: Record, why: str) -> None:
        candidates: tuple[Candidate, ...] = record.seen
        if candidates:
            self._move(task, record, Indistinguishable(candidates=candidates, reason=why))
        else:
            self._move(task, record, NothingFound(reason=why))

    def _since_sending(self, record: Record) -> float:
        return self._clock.now() - (record.sending_at or 0.0)

    def _late_look(self, record: Record, order: Order | None) -> bool:
        """Whether a record that ended without a run may still be mended by its marker."""
        ended_without = record.state in (State.AMBIGUOUS, State.UNRESOLVED)
        return ended_without and record.marker is not None and order is not None and not self._draining

    def _look_for_marker(self, task: Task, record: Record) -> None:
        order = task.order
        assert order is not None
        try:
            listing = self._listings.read(order.workflow, order.token, record.floor, SHARED_FOR)
        except GitHubError as error:
            log.info("the late look for the marker failed: %s", error, extra=_subject(record))
            return
        claimed = self._store.read_gate(record.project, record.target).taken_from(record.key)
        if (found := find_marker(record, listing, claimed)) is not None:
            self._move(task, record, found)


@dataclass(frozen=True)
class _Preparation:
    """What is known before a dispatch: GitHub's time, and the runs that were there already."""

    floor: float | None = None
    baseline_ids: tuple[int, ...] = ()
    actor: str | None = None


@dataclass(frozen=True)
class _Reader:
    """What it takes to read the answer to one POST, whenever it comes."""

    order: Order
    nonce: str
    without: frozenset[str]
    actor: str | None
    begun: float  # monotonic


def _testimony(fresh: Record, witness: Witness) -> Event:
    """What the host's own memory says of a key that the ledger does not know."""
    if witness.run_id is not None and witness.target == fresh.target.hash:
        return ToldByHost(run=Run(id=witness.run_id, url=witness.url, source="host"))
    return RecordLost(reason="the ledger's record is gone, but the host remembers that it was sent")


def _subject(record: Record) -> dict[str, Any]:
    return subject(record.key_parts, record.promotion, record.run.id if record.run else None)
