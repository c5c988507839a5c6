"""At most one dispatch per key: the one task that a key has in this process, from the record to the run.

A call starts the task of its key or joins it; the task outlives the call. Each turn of its loop reads the record's
state and does the one thing that this state calls for: send, watch another's attempt, or look for the run. It may
begin to send until 15 s after the call that last joined it. What is legal is decided by `gha_step.ledger.record`,
which run is ours by `gha_step.ledger.attribution`; here is the order in which things are done:

    connect → move the record to `sending` → fence → bytes → evidence into the record

so that a failure to connect never leaves `reserved`, and no byte leaves before the record is durable.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from gha_step.contract.errors import LedgerUnavailable, StepError, TokenUnavailable, Unavailable
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token
from gha_step.github.client import Client
from gha_step.github.connection import Connection, Connector
from gha_step.github.diagnosis import diagnose
from gha_step.github.dispatch import AcceptedWithoutRun, StartedRun, decipher_dispatch, dispatch_request
from gha_step.github.errors import GitHubError, RateLimited, Refused, Unclear, Unsupported, Untrusted
from gha_step.github.exchange import Exchange
from gha_step.github.listings import Listings
from gha_step.github.messages import Answer
from gha_step.github.runs import shown
from gha_step.github.server_capabilities import ServerCapabilities
from gha_step.github.workflow_file import Unreadable
from gha_step.ledger import transitions as ledger
from gha_step.ledger.attribution import DATE_SLACK
from gha_step.ledger.record import Owner, Payload, Record, Run, State
from gha_step.ledger.store import Conflict, Store
from gha_step.ledger.transitions import (
    AcceptedWithoutId,
    AnswerLost,
    Event,
    ExactId,
    GaveUp,
    NotSent,
    OwnersEvent,
    RefusedForNow,
    Send,
    Trouble,
    adopt,
    advance,
)
from gha_step.runtime import Clock, Workers
from gha_step.steps.dispatch.answers import HOLD_LIMIT, Note, tell
from gha_step.steps.dispatch.gate import Gate, Preparation
from gha_step.steps.dispatch.input_check import check_inputs
from gha_step.steps.dispatch.journal import LEDGER_RETRY, Journal, refuse_foreign, subject_of
from gha_step.steps.dispatch.pending_result import PendingResults
from gha_step.steps.dispatch.request import DispatchRequest, Key, blank
from gha_step.steps.dispatch.run_finder import RunFinder
from gha_step.steps.dispatch.task import Joined, Memory, Task, Witness
from gha_step.telemetry import Telemetry, log

BEGIN_WITHIN: Final = 15.0  # seconds after the last call that joined
FENCE: Final = 10.0  # seconds between the begin of the write that says `sending` and the first byte
ANSWER_WITHIN: Final = 30.0  # seconds of silence after which an answer counts as lost …
LATE_ANSWER_WITHIN: Final = 300.0  # … though it is read, and believed, if it comes after all
LONGEST_MISFITS: Final = 1000  # characters told of inputs that do not fit


class DispatchTasks:
    """All tasks of this process."""

    def __init__(
        self,
        *,
        store: Store,
        connector: Connector,
        client: Client,
        listings: Listings,
        servers: ServerCapabilities,
        clock: Clock,
        tasks: Workers,
        late_readers: Workers,
        owner: Owner,
        new_nonce: Callable[[], str],
        settle: float,
        telemetry: Telemetry,
        look_back: bool = False,
    ) -> None:
        """:param look_back: whether the ledger may have died with what it knew: then markers are looked for first."""
        self._journal = Journal(store, clock, telemetry)
        self._evidence = PendingResults(self._journal, clock)
        self._run_finder = RunFinder(self._journal, listings, clock, owner, settle)
        self._gate = Gate(self._journal, self._run_finder, listings, servers, clock, tasks, self._at_work)
        self._connector = connector
        self._client = client
        self._servers = servers
        self._clock = clock
        self._workers = tasks
        self._late_readers = late_readers
        self._owner = owner
        self._new_nonce = new_nonce
        self._look_back = look_back
        self._looked_back: dict[str, None] = Memory()  # keys whose marker no run showed
        self._telemetry = telemetry
        self._lock = threading.Lock()  # never held across a call into any of the above
        self._tasks: dict[str, Task] = {}
        self._draining = False
        self._on_the_wire = 0
        self._diagnoses: dict[str, str] = Memory()  # by key: why GitHub refused, in better words than the record's
        self._holds: dict[str, tuple[float, RateLimited]] = Memory()  # by key: not before (monotonic), and why
        self._refused: dict[str, Token] = Memory()  # by key: the installation token in whose place one other is tried

    # ------------------------------------------------------------------ calls

    def call(
        self,
        key: Key,
        order: DispatchRequest | None,
        payload: Payload | None,
        problem: str | None,
        witness: Witness | None,
        arrived: float,
    ) -> StepResult | Joined | None:
        """What one call comes to: the recorded end, or the task that it started or joined.

        :param order: ``None`` if this call cannot say what to dispatch, for the reason ``problem``: then nothing is
            begun for it, and ``None`` is given back where nothing was sent before.
        :param payload: what a record is to remember of this call, as far as it can be said.
        :raises LedgerUnavailable: nothing is known, and nothing was begun.
        :raises LedgerError: the record must not be touched.
        """
        joined = self._join(key, order, problem, arrived)
        try:
            # Also beside a task: it may be stuck, while another process has come to the end of this key.
            record = self._journal.stored(key) if joined is not None else self._journal.read(key, payload, witness)
        except LedgerUnavailable as error:
            return self._tell_from_memory(key, order, problem, joined, error)
        if joined is not None:
            if record is None or not record.final:
                return joined
            return self._tell_end(record, order, problem)
        if record is None or (order is None and record.state is State.RESERVED):
            return None
        if record.final and not self._run_finder.late_look(record, order):
            return self._tell_end(record, order, problem)
        mine = Task(record, order, arrived)
        with self._lock:
            task = self._tasks.setdefault(key.hash, mine)
        if task is not mine:  # somebody was quicker
            return self._join(key, order, problem, arrived) or Joined(task, order, problem, self._withdraw)
        task.job = self._workers.spawn(lambda: self._run(task))
        return Joined(task, order, problem, self._withdraw)

    def _tell_end(self, record: Record, order: DispatchRequest | None, problem: str | None) -> StepResult:
        with self._lock:
            diagnosis = self._diagnoses.get(record.key)
        return tell(record, note=None, order=order, problem=problem, diagnosis=diagnosis)

    def _tell_from_memory(
        self,
        key: Key,
        order: DispatchRequest | None,
        problem: str | None,
        joined: Joined | None,
        error: LedgerUnavailable,
    ) -> StepResult | Joined:
        """What this process knows of a key while the ledger cannot be read.

        :raises LedgerUnavailable: nothing.
        """
        last, exact = self._journal.last_sent(key), self._evidence.exact(key.hash)
        if last is not None and (last.final or exact is not None):
            return tell(last, note=None, exact=exact, order=order, problem=problem)
        if joined is not None and joined.ready.done():
            return joined
        if last is not None:
            return tell(last, note=Note(f"the ledger cannot be read now: {error}", LEDGER_RETRY), order=order)
        raise error

    def reject(self, key: Key, reason: str, unknown: Record | None = None) -> Record | None:
        """Write down that nothing was and nothing will be dispatched for this key, unless something was sent.

        What is told as final is written first: a Secret may be mended a moment later, while another call of the
        same step is still on its way.

        :param unknown: the record to begin with where there is none; without it, none is made.
        :returns: the record as it stands: rejected, or what another call has come to meanwhile; ``None`` if none is.
        :raises LedgerUnavailable: this is not known.
        """
        return self._move_unsent(key, unknown, lambda record: GaveUp(reason=reason))

    def put_off(self, key: Key, payload: Payload, error: TokenUnavailable) -> StepResult:
        """What a call comes to that has no token, where nothing was sent: as if GitHub itself could not be reached.

        :param payload: what a record is to remember of the call, if there is none.
        :raises LedgerUnavailable: this is not known.
        """
        now = self._clock.now()

        def event(record: Record) -> Event | None:
            if (why := _too_late(record, now, error.wait, str(error))) is not None:
                return GaveUp(reason=why)
            return Trouble(at=now, reason=str(error)) if record.trouble_since is None else None

        record = self._move_unsent(key, blank(key, payload, now), event)
        assert record is not None
        pause = min(error.retry_after or LEDGER_RETRY, max(1.0, _time_left(record, now)))
        return tell(record, note=Note(str(error), pause))

    def _move_unsent(
        self, key: Key, unknown: Record | None, event_of: Callable[[Record], Event | None]
    ) -> Record | None:
        """Write what an event makes of a record of which nothing was sent; the record as it stands then.

        :param unknown: the record to begin with where there is none.
        :raises LedgerUnavailable: it is not known.
        """
        while (record := self._journal.stored(key) or unknown) is not None:
            if record.state is not State.RESERVED or (event := event_of(record)) is None:
                return record
            try:
                return self._journal.write(advance(record, event))
            except Conflict:
                continue
        return None

    def drain(self) -> None:
        """Begin no further send."""
        self._draining = True

    @property
    def on_the_wire(self) -> int:
        """How many POSTs have no answer yet, or one that is not yet in the ledger."""
        return self._on_the_wire

    def _at_work(self, key: str) -> bool:
        with self._lock:
            return key in self._tasks

    def _join(self, key: Key, order: DispatchRequest | None, problem: str | None, arrived: float) -> Joined | None:
        with self._lock:
            task = self._tasks.get(key.hash)
            if task is None:
                return None
            refuse_foreign(task.record, key)
            task.joined = max(task.joined, arrived)
            if order is not None:
                task.order = order
        return Joined(task, order, problem, self._withdraw)

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
            log.exception("a dispatch task failed", extra=subject_of(task.record))
            task.note = Note("an internal error, which the log of gha-step tells", LEDGER_RETRY)
        finally:
            self._forget(task)
            task.tell_now()

    def _work(self, task: Task) -> None:
        """The loop: one turn per state."""
        while True:
            self._evidence.settle(task)
            record = task.record
            if record.final:
                if self._run_finder.late_look(record, task.order):
                    self._run_finder.look_for_marker(task, record)
                return
            if not self._wanted(task):
                return
            match record.state:
                case State.RESERVED:
                    go_on = self._send(task, record)
                case State.SENDING:
                    go_on = self._run_finder.watch(task, record)
                case _:
                    pause = self._run_finder.look(task, record)
                    go_on = pause is not None and self._pause(task, pause)
            if not go_on:
                return

    def _wanted(self, task: Task) -> bool:
        """Whether the host has asked lately, and this process may still begin things."""
        return not self._draining and self._clock.monotonic() - task.joined < BEGIN_WITHIN

    def _pause(self, task: Task, seconds: float) -> bool:
        """Wait, as part of the task; false where the next call goes on."""
        if seconds > 0:
            self._clock.sleep(seconds)
        return self._wanted(task)

    # ------------------------------------------------------------------ sending

    def _send(self, task: Task, record: Record) -> bool:
        """From `reserved`: connect, move the record, send. True if there is a new state to look at."""
        order = task.order
        if order is None:
            return False
        with self._lock:
            until, limited = self._holds.get(record.key, (0.0, None))
            refused = self._refused.get(record.key)
        if refused is not None and order.token == refused:
            return self._renew(task, record, order)
        if limited is not None and (left := until - self._clock.monotonic()) > 0:
            return self._trouble(task, record, limited, left)
        task.record = record = adopt(record, order.payload)
        try:
            if self._look_back and record.marker is not None and record.key not in self._looked_back:
                if self._run_finder.look_back(task, record, order):
                    return True
                with self._lock:
                    self._looked_back[record.key] = None
            preparation = self._gate.prepare(
                task, record, order, lambda seconds: task.order is order and self._pause(task, seconds)
            )
            if preparation is None or task.order is not order:
                return task.order is not order  # a newer payload, adopted while this one waited
            if len(order.inputs) > (most := self._servers.max_inputs(order.endpoint)):
                why = f"config.inputs: has {len(order.inputs)} inputs, but {order.endpoint.host} takes at most {most}"
                self._journal.move(task, task.record, GaveUp(reason=why))
                return True
            if order.validate_inputs and (misfits := self._misfits(task, order)):
                self._journal.move(task, task.record, GaveUp(reason=misfits))
                return True
            connection = self._connector.connect(order.endpoint)
        except Untrusted as error:
            self._journal.move(task, task.record, GaveUp(reason=str(error)))
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

    def _renew(self, task: Task, record: Record, order: DispatchRequest) -> bool:
        """Another token in place of the one that GitHub has refused, for the next turn. Nothing is sent here."""
        assert order.renew is not None
        try:
            token = order.renew(order.token)
        except Unavailable as error:  # the next call finds a token by itself
            task.note = Note(str(error), error.retry_after or LEDGER_RETRY)
            return False
        except StepError as error:
            self._journal.move(task, record, GaveUp(reason=str(error)))
            return True
        if token == order.token:
            self._journal.move(task, record, GaveUp(reason=f"{order.endpoint.host} gives only tokens that it refuses"))
            return True
        with self._lock:
            if task.order is order:
                task.order = replace(order, token=token)
        return True

    def _misfits(self, task: Task, order: DispatchRequest) -> str | None:
        """What the workflow file says against the inputs; what cannot be read is a warning, never a failure."""
        try:
            problems = check_inputs(order.workflow, order.inputs, order.token, self._client)
        except (Unreadable, GitHubError) as error:
            task.warning = f"The inputs were not validated: {error}."
            log.warning("inputs not validated: %s", error, extra=subject_of(task.record))
            return None
        # Names and choices come from a file that anybody may have written, or from a server that is no GitHub.
        return (
            f"{order.workflow}: {shown(order.token.hide('; '.join(problems)), LONGEST_MISFITS)}" if problems else None
        )

    def _trouble(self, task: Task, record: Record, error: GitHubError, wait: float | None) -> bool:
        """GitHub cannot be asked now. Nothing was sent; wait for as long as that makes sense.

        :param wait: seconds for which GitHub asks us to wait, where it said so.
        """
        now = self._clock.now()
        asked = wait if isinstance(error, RateLimited) and error.wait is not None else None
        if (why := _too_late(record, now, asked, str(error))) is not None:
            self._journal.move(task, record, GaveUp(reason=why))
            return True
        if record.trouble_since is None:
            self._journal.move(task, record, Trouble(at=now, reason=str(error)))
            if task.record.state is not State.RESERVED:
                return True
        pause = wait if wait is not None else error.retry_after or 1.0
        if isinstance(error, RateLimited):
            with self._lock:
                self._holds[record.key] = (self._clock.monotonic() + pause, error)
        task.note = Note(str(error), min(max(1.0, pause), max(1.0, _time_left(record, now)), HOLD_LIMIT))
        return False

    def _send_over(
        self, task: Task, record: Record, order: DispatchRequest, connection: Connection, preparation: Preparation
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
            sending, trouble = self._take(advance(record, event))
            if sending is None:
                connection.close()
                self._evidence.abandon(nonce)
                task.record = self._journal.reread(task, record)
                if task.record.version == record.version:
                    raise LedgerUnavailable(f"it can be read, but takes no writes{trouble}", LEDGER_RETRY)
                return True
            task.record = sending
            self._journal.report(record, sending)
            if self._clock.boottime() - begun >= FENCE:
                connection.close()
                self._evidence.found(task, NotSent(nonce=nonce))
                return True
            self._post(task, sending, order, connection, preparation.actor)
        finally:
            self._count_wire(-1)
        return True

    def _take(self, sending: Record) -> tuple[Record | None, str]:
        """Move the record to `sending`. A write without a clear answer is not ours until a fresh read says so.

        :returns: the record, with our nonce; ``None``: the attempt is to be abandoned. And what stood in the way.
        """
        trouble = ""
        for _ in range(3):
            try:
                return self._journal.write(sending), ""
            except (Conflict, LedgerUnavailable) as error:
                trouble = f": {error}"
            try:
                found = self._journal.store.read(sending.project, sending.key)
            except LedgerUnavailable:
                break
            if found is not None and found.nonce == sending.nonce:
                if found.state is not State.SENDING:
                    break
                self._journal.remember(found)
                return found, ""
            if (found.version if found is not None else 0) != sending.version:
                break
        return None, trouble

    def _post(
        self, task: Task, sending: Record, order: DispatchRequest, connection: Connection, actor: str | None
    ) -> None:
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
        self._evidence.found(task, event)
        for refusal in reader.refusals:  # the record has it by now: what follows only finds better words
            task.diagnosis = diagnose(refusal, order.workflow, order.token, self._client)
            with self._lock:
                self._diagnoses[task.record.key] = task.diagnosis

    def _read_answer(self, reader: "_Reader", answer: Answer) -> OwnersEvent:
        """The event that an answer to our POST amounts to. :raises Unclear: it proves nothing."""
        order, nonce = reader.order, reader.nonce
        seconds = self._clock.monotonic() - reader.begun
        self._telemetry.github_request("dispatch", str(answer.status), seconds)
        self._telemetry.github_budget(order.endpoint.host, answer.headers)
        try:
            result = decipher_dispatch(answer, order.workflow, order.token, without=reader.without)
        except Unsupported as error:
            self._servers.learn_without(order.endpoint, error.feature)
            return RefusedForNow(nonce=nonce, at=None, reason=str(error))
        except RateLimited as error:
            with self._lock:
                self._holds[order.key.hash] = (self._clock.monotonic() + (error.retry_after or 1.0), error)
            return RefusedForNow(nonce=nonce, at=self._clock.now(), reason=str(error))
        except Refused as error:
            if error.status == 401 and order.renew is not None:
                if self._first_refusal(order):
                    return RefusedForNow(nonce=nonce, at=None, reason=str(error))
                twice = f"GitHub refused the App's token, and a fresh one in its place (401: {error.words!r})"
                why = f"{order.workflow}: {twice}: see whether the installation is suspended"
                return ledger.Refused(nonce=nonce, reason=why)
            reader.refusals.append(error)
            return ledger.Refused(nonce=nonce, reason=str(error))
        match result:
            case StartedRun(run_id, url):
                self._servers.learn_names_runs(order.endpoint, names=True)
                return ExactId(nonce=nonce, run=Run(id=run_id, url=url, source="response"))
            case AcceptedWithoutRun(date):
                self._servers.learn_names_runs(order.endpoint, names=False)
                floor = None if date is None else date - seconds - DATE_SLACK
                return AcceptedWithoutId(nonce=nonce, date=date, floor=floor, actor=reader.actor)

    def _first_refusal(self, order: DispatchRequest) -> bool:
        """Whether no installation token was refused for this key before: one other is tried, and no more."""
        with self._lock:
            if order.key.hash in self._refused:
                return False
            self._refused[order.key.hash] = order.token
        return True

    def _read_late(self, task: Task, reader: "_Reader", exchange: Exchange) -> None:
        """Silence is no answer: read on. What comes still counts, however the record stands by then."""
        try:
            answer = exchange.receive(LATE_ANSWER_WITHIN)
            if answer is not None:
                self._evidence.found(task, self._read_answer(reader, answer))
        except Unclear:
            pass  # the record says `unknown` already, and that is what is known
        except StepError as error:
            log.error("a late answer could not be recorded: %s", error, extra=subject_of(task.record))
        finally:
            exchange.close()
            self._count_wire(-1)

    def _count_wire(self, change: int) -> None:
        with self._lock:
            self._on_the_wire += change


@dataclass(frozen=True)
class _Reader:
    """What it takes to read the answer to one POST, whenever it comes."""

    order: DispatchRequest
    nonce: str
    without: frozenset[str]
    actor: str | None
    begun: float  # monotonic
    refusals: list[Refused] = field(default_factory=list)


def _time_left(record: Record, now: float) -> float:
    """Seconds for which GitHub may still be unreachable before the step gives up."""
    return record.timeout - (now - (now if record.trouble_since is None else record.trouble_since))


def _too_late(record: Record, now: float, asked: float | None, trouble: str) -> str | None:
    """Why trying again makes no sense any more, if it does not. ``asked``: for how long GitHub asks us to wait."""
    left = _time_left(record, now)
    if left > 0 and (asked is None or asked <= left):
        return None
    return f"{trouble.rstrip('.')}; the step's timeout of {record.timeout} s leaves no time to try again"
