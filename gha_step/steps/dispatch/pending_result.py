"""Results of this process's attempts, kept until the ledger has them. It asks neither a host nor GitHub."""

import threading
from typing import Final

from gha_step.contract.errors import LedgerUnavailable
from gha_step.contract.memory import Memory
from gha_step.ledger.record import Record, Run, State
from gha_step.ledger.store import Conflict, RecordRefused
from gha_step.ledger.transitions import AnswerLost, ExactId, IllegalMove, NotSent, OwnersEvent, advance
from gha_step.runtime import Clock
from gha_step.steps.dispatch.answers import Note
from gha_step.steps.dispatch.journal import LEDGER_RETRY, Journal
from gha_step.steps.dispatch.task import Task

WITHIN: Final = 120.0  # seconds for which a task tries to write down what it knows


class PendingResults:
    """Of all keys; threads share it."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._in_hand: dict[str, OwnersEvent] = Memory()  # by key: perhaps not yet written
        self._abandoned: dict[str, None] = Memory()  # nonces that were never sent, and never will be

    def abandon(self, nonce: str) -> None:
        """This attempt sends nothing, whatever the ledger says of it."""
        with self._lock:
            self._abandoned[nonce] = None

    def exact(self, key: str) -> Run | None:
        """The run that GitHub itself has named, if that may not be written yet."""
        with self._lock:
            event = self._in_hand.get(key)
        return event.run if isinstance(event, ExactId) else None

    def found(self, task: Task, event: OwnersEvent) -> None:
        """Our own attempt has shown something: keep it until the ledger has it."""
        key = task.record.key
        with self._lock:
            held = self._in_hand.get(key)
            # That an answer is missing says nothing against one that has come meanwhile.
            if held is None or held.nonce != event.nonce or not isinstance(event, AnswerLost):
                self._in_hand[key] = event
        self.settle(task)

    def settle(self, task: Task) -> None:
        """Write the evidence in hand, if any. A ledger that does not answer is asked again for minutes.

        :raises LedgerUnavailable: the evidence is kept, for the next task of this key.
        """
        deadline = self._clock.monotonic() + WITHIN
        pause = 0.5
        while (event := self._in_hand_for(task.record)) is not None:
            try:
                self._write(task, event)
            except LedgerUnavailable as error:
                if isinstance(event, ExactId):  # exact knowledge is enough to answer; it is written when it can be
                    task.exact = event.run
                    task.tell_now()
                late = self._clock.monotonic() + pause > deadline
                # What the store refuses it will refuse again: the thread is for others, and the next call tries anew.
                if isinstance(event, AnswerLost) or isinstance(error, RecordRefused) or late:
                    raise
                task.note = Note(f"the ledger does not accept the result ({error})", LEDGER_RETRY)
                self._clock.sleep(pause)
                pause = min(2 * pause, LEDGER_RETRY)

    def _in_hand_for(self, record: Record) -> OwnersEvent | None:
        with self._lock:
            event: OwnersEvent | None = self._in_hand.get(record.key)
            never_sent = record.nonce in self._abandoned and record.state in (State.SENDING, State.UNKNOWN)
        if event is None and never_sent and record.nonce is not None:
            return NotSent(nonce=record.nonce)
        return event

    def _write(self, task: Task, event: OwnersEvent) -> None:
        record = task.record
        try:
            stored = self._journal.write(advance(record, event))
        except (Conflict, IllegalMove) as error:
            found = self._journal.store.read(record.project, record.key)
            if found is None:  # deleted under our feet: what we know becomes the record
                task.record = record.model_copy(update={"version": 0})
                return
            if found.version != record.version or isinstance(error, Conflict):
                task.record = found
                return
            stored = record  # the ledger shows it already, or it comes too late to count
        else:
            task.record = stored
            if stored.state is State.ACCEPTED:
                task.tell_now()  # what operators want to know can wait for the caller
            self._journal.report(record, stored)
        task.record = stored
        with self._lock:
            if self._in_hand.get(record.key) is event:
                del self._in_hand[record.key]
