"""Decides the next step for a record whose run has to be cancelled if its Promotion ends without success. Pure.

Only a run that is known for certain is cancelled, and only the attempt that was current when the end was first seen.
The clock only ends a wait, or starts a force-cancel that the user has asked for; it never allows a dispatch.

Source: ledger.md, "Duties"; GitHub gives steps under ``if: always()`` five minutes after a cancel.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from gha_step.github.runs import ObservedRun, Phase
from gha_step.ledger.duties import Cancellation, Outcome, aborted
from gha_step.ledger.record import OPEN, Record, State

EXACT: Final = ("response", "marker")  # sources of a run by which it is surely ours
FORCE_AFTER: Final = 360.0  # seconds after the cancel
DELETED_FOR: Final = 600.0  # seconds for which a record that is deleted is kept
UNKNOWN_FOR: Final = 600.0  # seconds for which a run is looked for; an owner's late answer comes within 330
GIVE_UP_AFTER: Final = 3600.0  # seconds of trouble with GitHub
LOOK_EVERY: Final = 5.0  # seconds between two looks at a Promotion; more for one that takes long …
LOOK_SELDOM: Final = 30.0  # … up to this
FIND_EVERY: Final = 5.0
UNTIMED: Final = 30.0  # seconds after the end within which an attempt without a time counts as current


@dataclass(frozen=True)
class LookAtPromotion:
    """Read its phase."""


@dataclass(frozen=True)
class Reject:
    """Nothing was sent, and nothing will be."""

    reason: str


@dataclass(frozen=True)
class Find:
    """Go on looking for the run."""


@dataclass(frozen=True)
class Cancel:
    """Read the run, and if it still is the one that is meant, cancel it. ``None``: read it only."""

    force: bool | None


@dataclass(frozen=True)
class Close:
    """Nothing more is to be done. ``error``: it was not done as asked for."""

    outcome: Outcome
    words: str
    error: bool = False


@dataclass(frozen=True)
class Wait:
    """``seconds``: until the next turn."""

    seconds: float


Step: TypeAlias = LookAtPromotion | Reject | Find | Cancel | Close | Wait


@dataclass(frozen=True)
class Known:
    """What this process knows besides the record. Times are those of its own wall clock.

    ``trouble``: why the last step failed.
    """

    next_look: float = 0.0
    next_try: float = 0.0
    trouble: str = ""


def next_step(record: Record, known: Known, now: float) -> Step:
    """The next step for a record whose duty is open."""
    duty = record.abort
    assert duty is not None
    going = (gone := _gone_since(record, duty)) is not None and now - gone >= DELETED_FOR
    if duty.end is None:
        if going:
            return Close("given-up", "somebody deleted its record while the Promotion was running", error=True)
        return LookAtPromotion() if now >= known.next_look else Wait(known.next_look - now)
    assert duty.ended is not None
    if record.state is State.RESERVED:
        return Reject(aborted(duty))
    if record.state is State.REJECTED:
        return Close("not-dispatched", "nothing was dispatched")
    if record.run is None or record.run.source not in EXACT:
        return _finding(record, known, now, over=going or now - duty.ended >= UNKNOWN_FOR)
    if going or now - duty.ended >= GIVE_UP_AFTER:
        return Close("given-up", known.trouble or "GitHub does not cancel it", error=True)
    return _cancelling(duty, known, now)


def _gone_since(record: Record, duty: Cancellation) -> float | None:
    return record.deletion if record.deletion is not None or duty.end != "deleted" else duty.ended


def _cancelling(duty: Cancellation, known: Known, now: float) -> Step:
    if duty.asked is not None and now < duty.asked + FORCE_AFTER:
        return Wait(duty.asked + FORCE_AFTER - now)
    if now < known.next_try:
        return Wait(known.next_try - now)
    return Cancel(None if duty.attempt is None else duty.asked is not None)


def _finding(record: Record, known: Known, now: float, *, over: bool) -> Step:
    if over:
        return Close(
            "unknown-run", "its run is not known for certain, so it is left alone: look at it yourself", error=True
        )
    if now < known.next_try:
        return Wait(known.next_try - now)
    late = record.state in (State.AMBIGUOUS, State.UNRESOLVED) and record.marker is not None
    return Find() if record.state in OPEN or late else Wait(LOOK_SELDOM)


def until_next_look(record: Record, now: float) -> float:
    """Seconds until the Promotion is read again: of one that takes hours, not every moment."""
    return min(max(LOOK_EVERY, (now - record.created_at) / 60.0), LOOK_SELDOM)


def seen(duty: Cancellation, run: ObservedRun, date: float | None, now: float) -> Cancellation | Close | None:
    """What a look at the run comes to: the duty with its attempt, its end, or ``None``: it may be cancelled.

    :param date: GitHub's own clock at the look.
    """
    if duty.attempt is not None and run.attempt != duty.attempt:
        return _another(duty.attempt, run)
    if duty.attempt is None and run.attempt > 1 and _began_after(duty, run, date, now):
        return _another(run.attempt - 1, run)
    if run.phase is Phase.COMPLETED:
        after = "after the cancel" if duty.asked is not None else "before"
        return Close("ended" if duty.asked is None else "cancelled", f"it has ended {after}: {run.conclusion}")
    return duty.model_copy(update={"attempt": run.attempt}) if duty.attempt is None else None


def _another(meant: int, run: ObservedRun) -> Close:
    return Close(
        "another-attempt",
        f"attempt {run.attempt} was started later, and is left alone; attempt {meant} was to be cancelled",
    )


def _began_after(duty: Cancellation, run: ObservedRun, date: float | None, now: float) -> bool:
    """Whether an attempt began after the end was first seen. Two spans are compared, never two clocks."""
    assert duty.ended is not None
    since_end = now - duty.ended
    if since_end < 0:  # it was seen by another clock than this one: no attempt but the first is surely meant
        return True
    if run.started_at is None or date is None:
        return since_end > UNTIMED
    return date - run.started_at < since_end


def answered(duty: Cancellation, *, force: bool, took: bool, now: float) -> Cancellation | Close | None:
    """What becomes of the duty after a cancel; ``None``: it is tried again.

    :param took: whether GitHub took it; else it says that the run cannot be cancelled now (409): it has just ended, or
        is being cancelled already, by a process of ours that died before it could write so down.
    """
    if not took:
        return duty.model_copy(update={"asked": now}) if duty.mode == "force" and not force else None
    if force:
        return Close("force-cancelled", f"force-cancelled {FORCE_AFTER / 60:.0f} min after the cancel")
    if duty.mode == "cancel":
        return Close("cancelled", "cancelled")
    return duty.model_copy(update={"asked": now})
