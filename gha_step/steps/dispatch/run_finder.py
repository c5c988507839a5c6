"""Finds the run of a dispatch whose response had no run ID, and detects that another process's attempt is over.

`gha_step.ledger.attribution` decides; this module reads listings and writes down what they prove.
"""

import threading
from collections.abc import Iterable
from typing import Final

from gha_step.contract.errors import LedgerError
from gha_step.contract.memory import Memory
from gha_step.github.errors import GitHubError, RateLimited, Refused, Unclear, Unreachable
from gha_step.github.listings import Listings
from gha_step.ledger.attribution import (
    UNREAD,
    Look,
    Others,
    attribute,
    find_marker,
    is_nothing_new,
    marked_in,
    others_of,
    shows,
    time_left,
    with_evidence,
)
from gha_step.ledger.record import Candidate, Owner, Record, State
from gha_step.ledger.store import TooMany
from gha_step.ledger.transitions import AnswerLost, Indistinguishable, NothingFound, OwnerGone, OwnersEvent, advance
from gha_step.runtime import Clock
from gha_step.steps.dispatch.answers import HOLD_LIMIT, Note
from gha_step.steps.dispatch.journal import Journal, subject_of
from gha_step.steps.dispatch.request import DispatchRequest
from gha_step.steps.dispatch.task import Task
from gha_step.telemetry import log

WATCH: Final = 90.0  # seconds for which another process's `sending` must stand still
LONG_AGO: Final = 300.0  # seconds, by the wall clock, after which it counts as gone at once
LAST_LOOK_WITHIN: Final = 60.0  # seconds after the end of looking, where GitHub cannot be asked
SHARED_FOR: Final = 0.5  # seconds for which one listing serves others as well
LOOK_AGAIN: Final = 15.0  # seconds: for a longer wait the next call asks again


class RunFinder:
    """What may be done about a dispatch that is not, or no longer, being sent by this task."""

    def __init__(self, journal: Journal, listings: Listings, clock: Clock, owner: Owner, settle: float) -> None:
        self._journal = journal
        self._listings = listings
        self._clock = clock
        self._owner = owner
        self.settle = settle
        self._lock = threading.Lock()
        self._watched: dict[str, tuple[object, float]] = Memory()  # what stood still since (monotonic)

    def stands_still(self, name: str, stamp: object) -> float:
        """For how many seconds, as this process has watched, ``name`` has had the same stamp."""
        now = self._clock.monotonic()
        with self._lock:
            seen, since = self._watched.get(name, (None, now))
            if seen != stamp:
                since = now
                self._watched[name] = (stamp, now)
        return now - since

    def now_of(self, record: Record) -> float:
        """The local wall clock, unless it says that a dispatch was sent later than this process has known of it.

        Whoever wrote that had a clock ahead of ours, or ours was set back: for so long nothing would ever end.
        """
        known_for = self.stands_still(f"sent {record.key}", record.nonce)
        return max(self._clock.now(), (record.sending_at or 0.0) + known_for)

    def watch(self, task: Task, record: Record) -> bool:
        """From `sending`, where nobody here is sending: is the process that was gone? True if that is decided."""
        owner, nonce = record.owner, record.nonce
        assert owner is not None
        assert nonce is not None
        now = self._clock.now()
        if owner.incarnation == self._owner.incarnation:
            event: OwnersEvent = AnswerLost(nonce=nonce, lost_at=now, reason="the sending task ended without a result")
        elif (
            self._journal.store.exclusive
            or (owner.pod is not None and owner.pod == self._owner.pod)
            or now - (record.sending_at or 0.0) > LONG_AGO
            or self.stands_still(f"sending {record.key}", record.version) >= WATCH
        ):
            event = OwnerGone(nonce=nonce, lost_at=now, reason="the process that was sending it is gone")
        else:
            task.note = Note("another process may be sending it", 5.0)
            return False
        self._journal.move(task, record, event)
        return True

    def look(self, task: Task, record: Record) -> float | None:
        """From `accepted_without_id` and `unknown`: one look at the workflow's runs.

        :returns: seconds after which to go on; ``None``: the next call goes on.
        """
        request = task.request
        looks = record.listings
        try:
            if request is None:
                raise Refused("the step's credentials cannot be used, so its run cannot be looked for", 0, "")
            self.look_once(task, record, request, goes_on=True)
            self.stands_still(f"listing {record.key}", "read")
            task.note = None
        except GitHubError as error:
            # Never without a last look, unless there cannot be one: a late caller has its minute as well.
            transient = isinstance(error, Unreachable | RateLimited | Unclear)
            patience = LAST_LOOK_WITHIN if transient else 0.0
            failing = self.stands_still(f"listing {record.key}", "failed")
            if failing >= patience and time_left(record, self.settle, self.now_of(record)) + patience <= 0:
                self._end(task, record, with_evidence(record, str(error)))
                return 0.0
            task.note = Note(str(error), min(max(2.0, error.retry_after or 2.0), HOLD_LIMIT))
            if request is None or error.retry_after is None or error.retry_after > LOOK_AGAIN:
                return None
        return 0.0 if task.record.state is not record.state else min(5.0, 1.0 + 0.5 * looks)

    def look_once(self, task: Task, record: Record, request: DispatchRequest, *, goes_on: bool = False) -> None:
        """Read a listing and write what it proves.

        :param goes_on: the task looks again, and itself remembers looks that have shown nothing new: as long as fewer
            than are needed are lost with it, nobody else has to read that they were.
        :raises GitHubError: there is no listing now.
        """
        now = self.now_of(record) - SHARED_FOR  # a listing that is shared was begun before
        listing = self._listings.read(request.workflow, request.token, record.floor, SHARED_FOR)
        look = Look(record, listing, Others(), settle=self.settle, now=now)
        if look.may_decide:  # until then the answer decides nothing, and to ask the ledger costs more than the look
            look = Look(record, listing, self._others(record, look.seen), settle=self.settle, now=now)
        event = attribute(look)
        if goes_on and is_nothing_new(record, event):
            task.record = advance(record, event)
        else:
            self._journal.move(task, record, event)

    def _others(self, record: Record, candidates: Iterable[Candidate]) -> Others:
        """What the ledger says of other keys, read after the listing: who started a run was in the ledger before."""
        try:
            there = self._journal.store.others(record, {candidate.id for candidate in candidates})
        except TooMany as error:
            log.warning("no run is attributed without its own proof: %s", error, extra=subject_of(record))
            return UNREAD
        return others_of(record, there)

    def look_back(self, task: Task, record: Record, request: DispatchRequest) -> bool:
        """Whether a run shows our marker already, of an attempt that a ledger knew which has died with its pod.

        :raises GitHubError: GitHub does not answer now. A refusal is no trouble: the POST's own answer decides.
        :raises LedgerError: several do.
        """
        try:
            listing = self._listings.read(request.workflow, request.token, None, SHARED_FOR)
        except Refused:
            return False
        if (found := find_marker(record, listing)) is not None:
            log.error("the ledger lost a dispatch; its run was found by its marker", extra=subject_of(record))
            self._journal.move(task, record, found)
            return True
        if record.marker is not None and any(shows(record.marker, run.title) for run in listing.runs):
            raise LedgerError(
                "the ledger has no dispatch of this step, but several runs show its marker; nothing is sent. "
                "Fix: look at these runs, and start a new promotion"
            )
        return False

    def _end(self, task: Task, record: Record, why: str) -> None:
        taken = self._others(record, record.seen).runs if record.seen else ()
        if left := tuple(candidate for candidate in record.seen if candidate.id not in taken):
            self._journal.move(task, record, Indistinguishable(candidates=left, reason=why))
        else:
            self._journal.move(task, record, NothingFound(reason=why))

    def late_look(self, record: Record, request: DispatchRequest | None) -> bool:
        """Whether the marker may still find the run of a record that ended without one."""
        ended_without = record.state in (State.AMBIGUOUS, State.UNRESOLVED)
        return ended_without and record.marker is not None and request is not None

    def look_for_marker(self, task: Task, record: Record) -> None:
        request = task.request
        assert request is not None
        try:
            listing = self._listings.read(request.workflow, request.token, record.floor, SHARED_FOR)
        except GitHubError as error:
            log.info("the late look for the marker failed: %s", error, extra=subject_of(record))
            return
        marked = marked_in(record, listing)
        if marked and (found := find_marker(record, listing, self._others(record, marked).runs)) is not None:
            self._journal.move(task, record, found)
