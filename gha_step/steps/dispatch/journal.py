"""The ledger as the tasks use it: compare-and-set transitions, and what to do if a record has disappeared."""

import logging
import threading
from dataclasses import replace
from typing import Any, Final

from gha_step.contract.errors import LedgerError, LedgerUnavailable
from gha_step.contract.memory import Memory
from gha_step.ledger.bounds import fitted, without_optional
from gha_step.ledger.record import LOOKING, Payload, Record, Run, State, payload_of
from gha_step.ledger.store import Conflict, RecordRefused, Store
from gha_step.ledger.transitions import Event, IllegalMove, RecordLost, ToldByHost, advance
from gha_step.runtime import Clock
from gha_step.steps.dispatch.answers import run_page
from gha_step.steps.dispatch.request import Key, Witness, blank
from gha_step.steps.dispatch.task import Task
from gha_step.telemetry import Telemetry, log, subject, tell

_LEVELS: Final = {
    State.SENDING: logging.DEBUG,
    State.UNKNOWN: logging.WARNING,
    State.REJECTED: logging.WARNING,
    State.AMBIGUOUS: logging.WARNING,
    State.UNRESOLVED: logging.WARNING,
}
LEDGER_RETRY: Final = 10.0  # seconds
WITNESSES: Final = 16 << 20  # bytes


class Journal:
    """One process's view of the ledger, and its memory of what was sent."""

    def __init__(self, store: Store, clock: Clock, telemetry: Telemetry) -> None:
        self.store = store
        self._clock = clock
        self._telemetry = telemetry
        self._lock = threading.Lock()
        # By key: the witness, should the record vanish.
        self._last_sent: dict[str, Record] = Memory(room=WITNESSES, weigh=_size)

    def read(self, key: Key, payload: Payload | None, witness: Witness | None = None) -> Record | None:
        """The record as it is now; for a key without one, what the witnesses say, or a blank one to begin with."""
        record = self.stored(key)
        if record is not None:
            return record
        last = self.last_sent(key)
        if last is not None:
            payload = payload or payload_of(last)
            key = replace(key, duty=last.duty or key.duty)  # what is owed does not go with the record
        if payload is None:
            return None
        fresh = blank(key, payload, self._clock.now())
        if last is not None:
            log.error("the ledger record of a dispatch that was sent is gone", extra=subject_of(last))
            lost = last.model_copy(update={"version": 0})
            event = RecordLost(reason="the ledger's record was deleted after it was sent")
            restored = lost if lost.final or lost.state in LOOKING else advance(fresh, event)
        elif witness is not None:
            restored = advance(fresh, _testimony(fresh, witness))
        else:
            return fresh
        try:
            return self.write(restored)
        except Conflict:
            return self.read(key, payload, witness)

    def stored(self, key: Key) -> Record | None:
        """The record as the store has it.

        :raises LedgerError: it is that of another Promotion, which had the same name.
        """
        record = self.store.read(key.caller.project, key.hash)
        if record is not None:
            refuse_deleted(record)  # first: it may be another's, and is about to make room
            refuse_foreign(record, key)
        return record

    def write(self, record: Record) -> Record:
        """One compare-and-set; what a store refuses as it is, it is given again without what is optional."""
        record = fitted(record, lambda run_id: run_page(record, run_id))
        try:
            stored = self.store.write(record)
        except RecordRefused as error:
            if (less := without_optional(record)) == record:
                raise
            log.warning("the ledger refuses a record, which is written shorter: %s", error, extra=subject_of(record))
            stored = self.store.write(less)
        self.remember(stored)
        return stored

    def remember(self, record: Record) -> None:
        """Keep what was sent as a witness."""
        if record.sent:
            with self._lock:
                self._last_sent[record.key] = record

    def last_sent(self, key: Key) -> Record | None:
        """The newest record of a key that was sent, as this process knows it."""
        with self._lock:
            last: Record | None = self._last_sent.get(key.hash)
        return None if last is None or _is_foreign(last, key) else last

    def move(self, task: Task, record: Record, event: Event) -> None:
        """Write what ``event`` makes of ``record``; if the record has moved meanwhile, look at it as it is now.

        :raises LedgerUnavailable: no clear answer; the next turn reads what became of it.
        """
        try:
            task.record = self.write(advance(record, event))
            self.report(record, task.record)
        except (Conflict, IllegalMove):
            task.record = self.reread(task, record)

    def reread(self, task: Task, record: Record) -> Record:
        """The record as it is now.

        :raises LedgerUnavailable: it cannot be read, or it is gone and nobody can say what it was.
        """
        key = Key.of_record(record)
        found = self.read(key, payload_of(record))
        if found is None:  # gone, and this call cannot say what to dispatch
            raise LedgerUnavailable("the ledger's record is gone", LEDGER_RETRY)
        return found

    def report(self, before: Record, after: Record) -> None:
        """Count and log a move; raise an alarm where it shows that a run was attributed wrongly."""
        if before.run is not None and after.run is not None and before.run.id != after.run.id:
            self._telemetry.contradicted.add()
            log.error(
                "run %d, named by the rule %s, was not this step's run: GitHub's own answer names %d",
                before.run.id,
                before.run.source,
                after.run.id,
                extra=subject_of(after),
            )
        if before.state is after.state:
            return
        self._telemetry.dispatches.add(after.state)
        level = _LEVELS.get(after.state, logging.INFO)
        why = f": {after.reason}" if after.reason else ""
        if after.asked is not None and before.state in (State.RESERVED, State.SENDING):
            why += f"; asked for by {after.asked}"
        tell(level, f"dispatch {after.state}{why}", subject_of(after))


def _size(record: Record) -> int:
    """About how many bytes it takes, by what may be long: to look at all of it takes longer than to keep it."""
    target, asked, run = record.target, record.asked, record.run
    names = f"{record.key_parts}{record.promotion}{target.api_base}{target.repo}{target.workflow}{target.ref}"
    texts = f"{record.reason}{record.actor}{record.marker_input}"
    if asked is not None:
        texts += f"{asked.actor}{asked.via}{asked.subject}"
    if run is not None:
        texts += run.url
    size = 4_000 + len(names) + len(texts) + 40 * len(record.baseline_ids)
    if runs := (*record.seen, *record.candidates):
        size += sum(400 + len(run.url) for run in runs)
    return size


def refuse_foreign(record: Record, key: Key) -> None:
    """A record must be of exactly the step, and carry exactly the UID, that the call has, where that is known.

    A caller who knows its Promotion by name has the key of every Promotion that ever had this name, and others can work
    that key out before the Promotion exists.

    :raises LedgerError: the record is another's.
    """
    if not _is_foreign(record, key):
        return
    if not record.promotion_uid and record.key_parts == key.caller.key_parts:
        whose = f"carries no UID of a Promotion, and {key.caller.promotion!r} has the UID {key.caller.promotion_uid}"
    elif record.key_parts == key.caller.key_parts:
        whose = (
            f"is that of another Promotion with the name {record.promotion!r} "
            f"(UID {record.promotion_uid}, this one has {key.caller.promotion_uid})"
        )
    else:
        whose = "names another step in its keyParts"
    raise LedgerError(
        f"the ledger record {record.key} in the project {key.caller.project} {whose}: nothing is sent; see who made "
        "it, and start a promotion under a new name"
    )


def refuse_deleted(record: Record) -> None:
    """Nothing is sent for a record that is about to vanish. :raises LedgerUnavailable: it is one."""
    if record.state is State.RESERVED and record.deletion is not None:
        raise LedgerUnavailable(
            f"the ledger record {record.key} is being deleted, and waits for its finalizers: nothing is sent meanwhile"
        )


def _is_foreign(record: Record, key: Key) -> bool:
    other_uid = key.caller.promotion_uid != "" and record.promotion_uid != key.caller.promotion_uid
    return other_uid or record.key_parts != key.caller.key_parts


def _testimony(fresh: Record, witness: Witness) -> Event:
    """What the host's own memory says of a key that the ledger does not know."""
    if witness.run_id is not None and fresh.target.has_hash(witness.target):
        return ToldByHost(run=Run(id=witness.run_id, url=witness.url or run_page(fresh, witness.run_id), source="host"))
    return RecordLost(reason="the ledger's record is gone, but the host remembers that it was sent")


def subject_of(record: Record) -> dict[str, Any]:
    """Whose log line it is."""
    return subject(record.key_parts, record.promotion, record.run.id if record.run else None)
