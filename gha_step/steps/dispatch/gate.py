"""Checks before a dispatch whose response may have no run ID: a baseline of existing runs, and one dispatch at a time.

Only for dispatches without a marker, on servers that return no run ID or that this process does not know yet.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from gha_step.contract.errors import LedgerError, LedgerUnavailable
from gha_step.github.errors import GitHubError, Refused
from gha_step.github.listings import Listings
from gha_step.github.server_capabilities import ServerCapabilities
from gha_step.ledger.attribution import DATE_SLACK, WAIT_FOR_OTHERS, time_left
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import LOOKING, Record, State
from gha_step.ledger.store import Conflict
from gha_step.ledger.transitions import Reached
from gha_step.runtime import Clock, Workers
from gha_step.steps.dispatch.answers import Note
from gha_step.steps.dispatch.journal import Journal, subject_of
from gha_step.steps.dispatch.request import DispatchRequest
from gha_step.steps.dispatch.run_finder import RunFinder
from gha_step.steps.dispatch.task import Task
from gha_step.telemetry import log

TAKEOVER: Final = 15.0  # seconds for which a holder may do nothing before it has begun to send
AGAIN: Final = 1.0  # seconds between two looks at a Lease …
UNUSABLE_AGAIN: Final = 5.0  # … and where it could not be used: it may be one that costs the API server most
CONTACT_WITHIN: Final = 15.0  # seconds to wait for somebody else's first contact


class Preparation(NamedTuple):
    """What is known before a dispatch: GitHub's time, and the runs that were there already."""

    floor: float | None = None
    baseline_ids: tuple[int, ...] = ()
    actor: str | None = None


class _Kept(NamedTuple):
    """Kept out: why, and for how many seconds to wait before the next look."""

    why: str
    again: float = AGAIN


class Gate:
    """Prepares dispatches.

    :param at_work: whether this process has a task for a key.
    """

    def __init__(
        self,
        journal: Journal,
        run_finder: RunFinder,
        listings: Listings,
        servers: ServerCapabilities,
        clock: Clock,
        workers: Workers,
        at_work: Callable[[str], bool],
    ) -> None:
        self._journal = journal
        self._run_finder = run_finder
        self._listings = listings
        self._servers = servers
        self._clock = clock
        self._workers = workers
        self._at_work = at_work

    def prepare(
        self, task: Task, record: Record, request: DispatchRequest, pause: Callable[[float], bool]
    ) -> "Preparation | None":
        """What has to be known before a dispatch whose answer may not name its run.

        :param pause: waits, and tells whether to go on waiting.
        :returns: ``None`` if the gate stays busy; `task.note` says so.
        :raises GitHubError: GitHub cannot be asked now.
        """
        if request.payload.marker is not None:
            return Preparation()
        names_runs = self._servers.names_runs(request.endpoint)
        if names_runs is None:
            preparation = self._first_contact(request)
            names_runs = self._servers.names_runs(request.endpoint)
            if preparation is not None and names_runs is not False:
                return preparation
        if names_runs is not False:
            return Preparation()
        if not self._enter(task, record, request, pause):
            return None
        return self._baseline(request)._replace(actor=self._listings.actor(request.workflow, request.token))

    def _first_contact(self, request: DispatchRequest) -> "Preparation | None":
        """Learn what this server does, once per process; ``None`` if somebody else has just done so."""
        contact = self._servers.first_contact(request.endpoint)
        if contact is not None:
            self._workers.join(contact, CONTACT_WITHIN)
            return None
        try:
            return self._baseline(request)
        finally:
            self._servers.end_contact(request.endpoint)

    def _baseline(self, request: DispatchRequest) -> "Preparation":
        """The runs that are there already: none of them is ours.

        :raises GitHubError: it may come again later. A refusal is no trouble: the POST's own answer decides.
        """
        try:
            runs = self._listings.read(request.workflow, request.token, None, 0.0)
        except Refused:
            return Preparation()
        floor = None if runs.date is None else runs.date - DATE_SLACK
        # Older runs are below the floor anyway: the record need not hold them.
        recent = tuple(run.id for run in runs.runs if floor is None or run.created_at >= int(floor))
        return Preparation(floor, recent)

    def _enter(self, task: Task, record: Record, request: DispatchRequest, pause: Callable[[float], bool]) -> bool:
        """One dispatch at a time per target, so that each can be told from the others. False: still busy."""
        if record.version == 0:  # a holder without a record counts as gone
            try:
                task.record = record = self._journal.write(record)
            except Conflict:
                task.record = self._journal.reread(task, record)
                return False
        while (kept := self._keeps_out(record, request)) is not None:
            if record.trouble_since is not None:  # waiting here is no trouble
                self._journal.move(task, record, Reached())
                if task.record.state is not State.RESERVED:
                    return False
                record = task.record
            task.note = Note(kept.why, 2.0, queued=True, at_gate=True)
            asks_itself = record.report is not None  # when the note says so: it holds no thread meanwhile
            if asks_itself or task.request is not request or not pause(kept.again):
                return False
        return True

    def _keeps_out(self, record: Record, request: DispatchRequest) -> _Kept | None:
        """Take one's turn, or why not yet. A Lease only delays a dispatch; it never prevents one."""
        store, watched = self._journal.store, self._run_finder.stands_still
        # Two watches: who keeps writing the Lease and names a holder that never begins must restart neither of them.
        here, hindrance = f"gate of {record.key}", f"gate of {record.key}, hindered"
        busy = _Kept(f"another dispatch of {request.workflow} is being identified first (this server names no runs)")
        try:
            gate = store.read_lease(record.project, request.payload.target.short)
            if gate.holder == record.key:
                return None
            held_by = self._holder(gate, request)
            if held_by is not None:
                not_begun = held_by.state is State.RESERVED
                # A holder whose record changes is trying: its App's token may be too new.
                waited = watched(here, held_by.version if not_begun else "held")
                if not not_begun:
                    watched(hindrance, "none")
                    return busy
                if waited < TAKEOVER:
                    return busy
            store.write_lease(gate.entered(record.key))
        except (Conflict, LedgerError, LedgerUnavailable) as error:
            # Somebody else was quicker, or touches it all the time, or has made it unreadable or unwritable.
            conflict = isinstance(error, Conflict)
            if watched(hindrance, "conflict" if conflict else "unusable") < TAKEOVER:
                unusable = _Kept(f"waiting {TAKEOVER:g} s, without a Lease: {error}", UNUSABLE_AGAIN)
                return busy if conflict else unusable
            words = "the Lease cannot be used, so this dispatch does not wait for it: %s"
            log.warning(words, error, extra=subject_of(record))
            return None  # and the next attempt of this dispatch does not wait anew
        watched(here, "entered")
        watched(hindrance, "none")
        return None

    def _holder(self, gate: Lease, request: DispatchRequest) -> Record | None:
        """The record for which others have to wait; ``None``: nobody has to. Those who wait may finish its work.

        :raises LedgerUnavailable: it cannot be read now.
        """
        if gate.holder is None:
            return None
        try:
            holder = self._journal.store.read(gate.project, gate.holder)
        except LedgerError:  # no record that anybody can go on with
            return None
        if holder is None or holder.final or holder.target.short != gate.target or holder.key != gate.holder:
            return None
        if not self._at_work(gate.holder):
            holder = self._help(holder, request)
        return None if holder.final or self._is_over(holder) else holder

    def _is_over(self, holder: Record) -> bool:
        """Whether looking for a holder's run no longer keeps others out."""
        settle = self._run_finder.settle
        if holder.state is State.UNKNOWN and self._run_finder.stands_still(holder.key, holder.nonce) >= settle:
            return True
        now = self._run_finder.now_of(holder)
        return holder.state in LOOKING and time_left(holder, settle, now) + WAIT_FOR_OTHERS < 0

    def _help(self, holder: Record, request: DispatchRequest) -> Record:
        """Do one turn of another key's work, whose own host may never ask again."""
        helper = Task(holder, None, self._clock.monotonic())
        try:
            if holder.state is State.SENDING:
                self._run_finder.watch(helper, holder)
            elif holder.state in LOOKING:
                self._run_finder.look_once(helper, holder, request)
        except GitHubError as error:
            log.info("a listing for another dispatch failed: %s", error, extra=subject_of(holder))
        return helper.record
