"""Works through what records still have to do (reports, cancels), in any state, from the ledger alone.

It knows no kind of duty: a handler does one record's next step and says when the one after it is due.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from gha_step.contract.errors import LedgerError, LedgerUnavailable, StepError
from gha_step.inbound.rounds import Bell, Rounds
from gha_step.ledger.duties import Duty
from gha_step.ledger.leader import Leader
from gha_step.ledger.record import Record, State
from gha_step.ledger.store import Conflict, Standing, Store
from gha_step.runtime import Clock, Workers
from gha_step.steps.access import Repository
from gha_step.steps.dispatch.task import Joined
from gha_step.steps.dispatch.tasks import DispatchTasks
from gha_step.telemetry import log

LIST_EVERY: Final = 5.0  # seconds
SLOWER: Final = 0.01  # seconds more for each duty: what is listed grows with them
AT_ONCE: Final = 32  # turns: each may wait for the other side, GitHub or the ledger
LEDGER_RETRY: Final = 10.0


class Handler(Protocol):
    """One kind of duty."""

    def owes(self, record: Record) -> bool:
        """Whether the record owes something of this kind."""

    def turn(self, record: Record) -> float | None:
        """Do what comes next for a record, which was read this moment.

        :returns: seconds until the next turn; ``None``: nothing more is owed.
        :raises LedgerUnavailable: the ledger does not answer now.
        """

    def forget(self, key: str) -> None:
        """This process follows the record no more."""

    def each_minute(self) -> None:
        """What is asked once for all. It may raise nothing."""


def write_duty(store: Store, record: Record, duty: Duty) -> Record:
    """The record with its duty as it stands now, whatever else has changed in it meanwhile.

    :raises Conflict: it has gone, or somebody else has written the duty otherwise.
    :raises LedgerUnavailable: not yet.
    """
    found: Record | None = record
    while found is not None and (stands := found.duty) is not None and stands != duty:
        if not stands.may_become(duty, sent=found.sent):  # type: ignore[arg-type]  # of one kind
            break
        try:
            found = store.write(found.owing(duty))
        except Conflict:
            found = store.read(record.project, record.key)
    if found is None or found.duty != duty:
        raise Conflict("the record is gone, or another process has finished it")
    return found


def resume(
    dispatches: DispatchTasks,
    record: Record,
    repository: Callable[[Record], Repository],
    soon: Callable[[str], None],
) -> StepError | None:
    """Let a task look for a record's run, or find out that its sender is gone; its end makes the next turn due.

    :param repository: where the run is. :returns: what it raised: then nothing can be looked for now.
    """
    found: Repository | StepError
    try:
        found = repository(record)
    except StepError as error:
        found = error
    outcome = dispatches.resume(record, found)
    if isinstance(outcome, Joined):
        outcome.ready.add_done_callback(lambda _: soon(record.key))
    return found if isinstance(found, StepError) else None


class Duties:
    """See the module.

    :param leader: whether this process is the one.
    :param owed: the records that owe something, where this process does not follow all of the store's.
    """

    def __init__(
        self,
        *,
        store: Store,
        handler: Handler,
        leader: Leader,
        clock: Clock,
        workers: Callable[[int, str], Workers],
        owed: Callable[[], Iterable[Record]] | None = None,
    ) -> None:
        self._store = store
        self._owed = owed or store.owed
        self._handler = handler
        self._leader = leader
        self._clock = clock
        self._workers = workers(AT_ONCE + 8, "duty")
        self._rounds: Rounds[str] = Rounds(
            self._turn,
            clock=clock,
            workers=self._workers,
            at_once=AT_ONCE,
            what="duties",
            share=lambda key: self._projects.get(key, ""),
        )
        self._lock = threading.Lock()
        self._projects: dict[str, str] = {}  # of the keys that are followed
        self._standing: dict[str, Standing] = {}
        self._stopped = False
        self._bell = Bell(self._workers)

    @property
    def leads(self) -> bool:
        """Whether this process works off duties now."""
        return self._leader.leads()

    @property
    def standing(self) -> dict[str, Standing]:
        """What is owed, by the records' states, as it was listed last; nothing where another process lists it."""
        return dict(self._standing) if self.leads else {}

    def run(self) -> None:
        """Work until `stop`."""
        self._workers.spawn(lambda: self._leader.run(lambda: self._stopped))
        self._workers.spawn(self._rounds.run)
        next_minute, trouble = 0.0, ""
        while not self._stopped:
            pause, rung = LIST_EVERY, self._bell.listen()
            if self.leads:
                try:
                    pause = LIST_EVERY + SLOWER * self._list()
                    trouble = ""
                except Exception as error:  # noqa: BLE001  whatever it is, nobody else would follow
                    pause = LEDGER_RETRY
                    if str(error) != trouble:  # and not again with every try
                        unexpected = None if isinstance(error, StepError) else error
                        log.warning("records with unfinished work cannot be listed: %s", error, exc_info=unexpected)
                    trouble = str(error)
                if self._clock.monotonic() >= next_minute:
                    next_minute = self._clock.monotonic() + 60.0
                    self._workers.spawn(self._handler.each_minute)
            elif self._projects:
                self._let_go()
            self._bell.wait(rung, pause)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True
        self._rounds.stop()
        self._bell.ring()

    def nudge(self, record: Record) -> None:
        """Something has happened to a record that owes something: its next turn is due."""
        if not self._stopped and self.leads and record.owes:
            with self._lock:
                self._projects[record.key] = record.project
            self._rounds.soon(record.key)

    def list_soon(self) -> None:
        """Somebody knows that there is more to follow."""
        self._bell.ring()

    def soon(self, key: str) -> None:
        """A followed record's next turn is due: something was heard of it."""
        if key in self._projects:
            self._rounds.soon(key)

    def _list(self) -> int:
        """Follow what is new, and nothing that owes no more; how many there are."""
        counts: Counter[State] = Counter()
        oldest: dict[State, float] = {}
        listed: set[str] = set()
        with self._lock:
            before = set(self._projects)
        for record in self._owed():
            if not self._handler.owes(record):
                continue  # another process's to do
            listed.add(record.key)
            counts[record.state] += 1
            oldest[record.state] = min(oldest.get(record.state, record.created_at), record.created_at)
            with self._lock:
                self._projects.setdefault(record.key, record.project)
            if record.key not in before:
                self._rounds.soon(record.key)
        for key in before - listed:
            self._drop(key)
        self._standing = {state: Standing(counts[state], oldest.get(state)) for state in State}
        return len(listed)

    def _turn(self, key: str) -> float | None:
        project = self._projects.get(key)
        if project is None or self._stopped or not self.leads:
            return None
        try:
            record = self._store.read(project, key)
            pause = None if record is None or not self._handler.owes(record) else self._handler.turn(record)
        except LedgerUnavailable as error:
            return error.retry_after
        except LedgerError as error:
            log.error("%s", error)
            return 600.0
        if pause is None:
            self._drop(key)
        return pause

    def _drop(self, key: str) -> None:
        with self._lock:
            self._projects.pop(key, None)
        self._rounds.forget(key)
        self._handler.forget(key)

    def _let_go(self) -> None:
        """Another process leads: it knows nothing of what this one remembers, and asks anew."""
        for key in list(self._projects):
            self._drop(key)
