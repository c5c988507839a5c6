"""At most one dispatch per key: the one task that a key has in this process, from the record to the run.

A call starts the task of its key or joins it; the task outlives the call. Each turn of its loop reads the record's
state and does the one thing that this state calls for: send, watch another's attempt, or look for the run. It may
begin to send until 15 s after the call that last joined it. What is legal is decided by `gha_step.ledger.transitions`,
which run is ours by `gha_step.ledger.attribution`; how a request is sent is in `sender` and `attempt`.
"""

import threading
from collections.abc import Callable
from typing import Final

from gha_step.contract.errors import LedgerUnavailable, StepError, TokenUnavailable
from gha_step.contract.result import StepResult
from gha_step.github.client import Client
from gha_step.github.connection import Connector
from gha_step.github.dispatch import Workflow
from gha_step.github.listings import Listings
from gha_step.ledger.duties import Report
from gha_step.ledger.record import Owner, Payload, Record, State, payload_of
from gha_step.ledger.store import Conflict, Store
from gha_step.ledger.transitions import (
    Event,
    GaveUp,
    Trouble,
    advance,
)
from gha_step.runtime import Clock, Workers
from gha_step.steps.access import Repository
from gha_step.steps.dispatch.answers import Note, tell
from gha_step.steps.dispatch.attempt import Attempts
from gha_step.steps.dispatch.gate import Gate
from gha_step.steps.dispatch.journal import LEDGER_RETRY, Journal, refuse_foreign, subject_of
from gha_step.steps.dispatch.pending_result import PendingResults
from gha_step.steps.dispatch.refusals import Refusals
from gha_step.steps.dispatch.request import DispatchCall, DispatchRequest, Key, blank
from gha_step.steps.dispatch.run_finder import RunFinder
from gha_step.steps.dispatch.sender import Sender
from gha_step.steps.dispatch.task import Joined, Task
from gha_step.steps.dispatch.trouble import time_left, too_late
from gha_step.telemetry import Telemetry, log

BEGIN_WITHIN: Final = 15.0  # seconds after the last call that joined


class DispatchTasks:
    """All tasks of this process."""

    def __init__(
        self,
        *,
        store: Store,
        connector: Connector,
        client: Client,
        listings: Listings,
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
        self._pending = PendingResults(self._journal, clock)
        self._refusals = Refusals(clock)
        self._run_finder = RunFinder(self._journal, listings, clock, owner, settle)
        self._gate = Gate(self._journal, self._run_finder, listings, client.servers, clock, tasks, self._at_work)
        self._attempts = Attempts(
            journal=self._journal,
            pending=self._pending,
            refusals=self._refusals,
            client=client,
            clock=clock,
            late_readers=late_readers,
            owner=owner,
            new_nonce=new_nonce,
            telemetry=telemetry,
        )
        self._sender = Sender(
            attempts=self._attempts,
            journal=self._journal,
            refusals=self._refusals,
            run_finder=self._run_finder,
            gate=self._gate,
            connector=connector,
            client=client,
            clock=clock,
            pause=self._pause,
            look_back=look_back,
        )
        self._clock = clock
        self._workers = tasks
        self._lock = threading.Lock()  # never held across a call into any of the above
        self._tasks: dict[str, Task] = {}
        self._draining = False

    # ------------------------------------------------------------------ calls

    def decide(self, call: DispatchCall) -> StepResult | Joined:
        """What one call comes to: the recorded end, the task that it started or joined, or why there is none.

        :raises LedgerUnavailable: nothing is known, and nothing was begun.
        :raises LedgerError: the record must not be touched.
        """
        joined = self._join(call)
        try:
            # Also beside a task: it may be stuck, while another process has come to the end of this key.
            record = self._record(call) if joined is None else self._journal.stored(call.key)
        except LedgerUnavailable as error:
            return self._tell_from_memory(call, joined, error)
        if joined is not None:
            return joined if record is None or not record.final else self._tell_end(record, call)
        if record is None or (call.request is None and record.state is State.RESERVED):
            return self._not_begun(call)
        if record.final and not self._run_finder.late_look(record, call.request):
            return self._tell_end(record, call)
        mine = Task(record, call.request, call.arrived)
        with self._lock:
            task = self._tasks.setdefault(call.key.hash, mine)
        if task is not mine:  # somebody was quicker
            return self._join(call) or Joined(task, call, self._withdraw)
        task.job = self._workers.follow(lambda: self._run(task), record.project)
        return Joined(task, call, self._withdraw)

    def resume(self, record: Record, repository: Repository | StepError) -> StepResult | Joined:
        """Look for the run of what was sent, or find out that its sender is gone, though no host calls. Sends nothing.

        :param repository: or why there is none.
        :raises LedgerUnavailable: nothing is known.
        """
        key, request, problem = Key.of_record(record), None, None
        if isinstance(repository, StepError):
            problem = repository
        else:
            target = record.target
            workflow = Workflow(repository.endpoint, repository.owner, repository.name, target.workflow, target.ref)
            request = DispatchRequest.to_look(record, workflow, repository.token, repository.renew)
        return self.decide(DispatchCall(key, request, payload_of(record), problem, None, self._clock.monotonic()))

    def _record(self, call: DispatchCall) -> Record | None:
        return self._journal.read(call.key, call.payload, call.witness)

    def _tell_end(self, record: Record, call: DispatchCall) -> StepResult:
        diagnosis = self._refusals.explanation(record.key)
        return tell(record, note=None, request=call.request, problem=call.why, diagnosis=diagnosis)

    def _tell_from_memory(
        self, call: DispatchCall, joined: Joined | None, error: LedgerUnavailable
    ) -> StepResult | Joined:
        """What this process knows of a key while the ledger cannot be read.

        :raises LedgerUnavailable: nothing.
        """
        last, exact = self._journal.last_sent(call.key), self._pending.exact(call.key.hash)
        if last is not None and (last.final or exact is not None):
            return tell(last, note=None, exact=exact, request=call.request, problem=call.why)
        if joined is not None and joined.ready.done():
            return joined
        if last is not None:
            note = Note(f"the ledger cannot be read now: {error}", LEDGER_RETRY)
            return tell(last, note=note, request=call.request)
        raise error

    def _not_begun(self, call: DispatchCall) -> StepResult | Joined:
        """The answer to a call that cannot say what to dispatch, where nothing was sent before."""
        problem, payload = call.problem, call.payload
        assert problem is not None
        if call.witness is not None:  # and neither a record nor a config to make one from
            return StepResult.failed(
                "this step has been dispatched before, as the host remembers, but the ledger's record is gone; it is "
                f"not sent again. {problem}"
            )
        reported = isinstance(call.key.duty, Report)
        owed = reported and problem.retry_after is not None  # somebody is told even if it never ends
        if payload is not None and (owed or isinstance(problem, TokenUnavailable)):
            return self._put_off(call.key, payload, problem)
        if problem.retry_after is not None:
            return StepResult.running(f"nothing dispatched yet: {problem}", problem.retry_after)
        # What is told as final is written first: a Secret may be right a moment later, while another call of the same
        # step is still on its way.
        unknown = None if payload is None else blank(call.key, payload, self._clock.now())
        record = self._move_unsent(call.key, unknown, lambda record: GaveUp(reason=str(problem)))
        if record is not None and record.sent:  # another call of this step was quicker
            return self._join(call) or tell(record, note=None, problem=call.why)
        return StepResult.failed(f"nothing was dispatched: {problem}")

    def _put_off(self, key: Key, payload: Payload, error: StepError) -> StepResult:
        """Without a token, say, nothing is sent: as if GitHub itself could not be reached.

        :raises LedgerUnavailable: whether something was sent before is not known.
        """
        now = self._clock.now()
        asked = error.wait if isinstance(error, TokenUnavailable) else None

        def event(record: Record) -> Event | None:
            if (why := too_late(record, now, asked, str(error))) is not None:
                return GaveUp(reason=why)
            return Trouble(at=now, reason=str(error)) if record.trouble_since is None else None

        record = self._move_unsent(key, blank(key, payload, now), event)
        assert record is not None
        pause = min(error.retry_after or LEDGER_RETRY, max(1.0, time_left(record, now)))
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
        return self._attempts.on_the_wire

    def _at_work(self, key: str) -> bool:
        with self._lock:
            return key in self._tasks

    def _join(self, call: DispatchCall) -> Joined | None:
        with self._lock:
            task = self._tasks.get(call.key.hash)
            if task is None:
                return None
            refuse_foreign(task.record, call.key)
            task.joined = max(task.joined, call.arrived)
            if call.request is not None:
                task.newer_request(call.request)
        return Joined(task, call, self._withdraw)

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
            message = f"nothing is sent without the ledger ({error})"
            task.note = Note(message, error.retry_after or LEDGER_RETRY, final=error.lasting)
        except StepError as error:
            task.note = Note(str(error), LEDGER_RETRY)
        except Exception:  # noqa: BLE001  a thread has nobody else to tell
            log.exception("a dispatch task failed", extra=subject_of(task.record))
            task.note = Note("internal error; see gha-step's log", LEDGER_RETRY)
        finally:
            self._forget(task)
            task.tell_now()

    def _work(self, task: Task) -> None:
        """The loop: one turn per state."""
        while True:
            self._pending.settle(task)
            record = task.record
            if record.final:
                if self._run_finder.late_look(record, task.request):
                    self._run_finder.look_for_marker(task, record)
                return
            if not self._wanted(task):
                return
            match record.state:
                case State.RESERVED:
                    go_on = self._sender.send(task, record)
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
