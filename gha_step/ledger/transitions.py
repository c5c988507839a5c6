"""The moves that a record may make."""

from typing import Any, ClassVar, Final

from gha_step.contract.errors import LedgerError
from gha_step.ledger.record import LOOKING, Candidate, Frozen, Owner, Payload, Record, Run, State


def adopt(record: Record, payload: Payload) -> Record:
    """The record with the newest call's payload: as long as nothing was sent, the newest call counts."""
    if record.state is not State.RESERVED:
        raise IllegalMove(f"the record {record.key[:12]} in state {record.state} keeps its payload")
    return record.model_copy(update=dict(payload))


class IllegalMove(LedgerError):
    """An event that the record's state does not allow: a duplicate or a late one. Nothing has changed."""


class Event(Frozen):
    """Something that happened to one dispatch. Subclasses are the rows of the table."""

    sources: ClassVar[frozenset[State]]
    to: ClassVar[State]

    def changes(self, record: Record) -> dict[str, Any]:
        """The fields that this event sets, besides the state."""
        return {}

    def allowed(self, record: Record) -> bool:
        return record.state in self.sources


class OwnersEvent(Event):
    """What only the process that made the attempt may say."""

    nonce: str

    def allowed(self, record: Record) -> bool:
        return super().allowed(record) and record.nonce == self.nonce


_NO_ATTEMPT: Final[dict[str, Any]] = {
    "nonce": None,
    "owner": None,
    "sending_at": None,
    "lost_at": None,
    "floor": None,
    "baseline_ids": (),
    "actor": None,
}


_SENT: Final = frozenset({State.SENDING, State.UNKNOWN})


class Trouble(Event):
    """GitHub is unreachable or asks us to wait; nothing was sent."""

    sources = frozenset({State.RESERVED})
    to = State.RESERVED
    at: float
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        since = self.at if record.trouble_since is None else record.trouble_since
        return {"trouble_since": since, "reason": self.reason}


class Reached(Event):
    """GitHub can be asked again: what comes next is not the same trouble."""

    sources = frozenset({State.RESERVED})
    to = State.RESERVED

    def changes(self, record: Record) -> dict[str, Any]:
        return {"trouble_since": None, "reason": None}


class GaveUp(Event):
    """Nothing was sent, and trying again cannot help any more."""

    sources = frozenset({State.RESERVED})
    to = State.REJECTED
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        return {"reason": self.reason}


class Send(Event):
    """An attempt begins; the next thing that happens may be a byte on the wire."""

    sources = frozenset({State.RESERVED})
    to = State.SENDING
    nonce: str
    owner: Owner
    at: float
    floor: float | None = None
    baseline_ids: tuple[int, ...] = ()

    def changes(self, record: Record) -> dict[str, Any]:
        return {
            "nonce": self.nonce,
            "owner": self.owner,
            "sending_at": self.at,
            "floor": self.floor,
            "baseline_ids": self.baseline_ids,
            "reason": None,
        }


class NotSent(OwnersEvent):
    """No byte of the attempt was handed to the socket, and none ever will be."""

    sources = _SENT
    to = State.RESERVED

    def changes(self, record: Record) -> dict[str, Any]:
        return _NO_ATTEMPT


class RefusedForNow(OwnersEvent):
    """GitHub refused, and the same request may succeed later."""

    sources = _SENT
    to = State.RESERVED
    at: float | None  # None: it may succeed at once, in other words, which is no trouble
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        since = self.at if record.trouble_since is None else record.trouble_since
        return {**_NO_ATTEMPT, "trouble_since": since, "reason": self.reason}


class Refused(OwnersEvent):
    """GitHub refused for good: nothing was dispatched."""

    sources = _SENT
    to = State.REJECTED
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        return {"reason": self.reason}


class AcceptedWithoutId(OwnersEvent):
    """GitHub accepted (204): a run exists or is about to, and its ID is not told."""

    sources = _SENT
    to = State.ACCEPTED_WITHOUT_ID
    date: float | None  # GitHub's Date of the answer
    floor: float | None  # GitHub's clock: our run was not created before
    actor: str | None = None

    def changes(self, record: Record) -> dict[str, Any]:
        floor = record.floor if record.floor is not None else self.floor
        return {"answered_date": self.date, "floor": floor, "actor": self.actor or record.actor}


class AnswerLost(OwnersEvent):
    """The answer was lost or says nothing: a run may exist."""

    sources = frozenset({State.SENDING})
    to = State.UNKNOWN
    at: float
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        return {"reason": self.reason, "lost_at": self.at}


class OwnerGone(OwnersEvent):
    """The process that was sending is gone, as somebody else has made sure; what it sent is not known."""

    sources = frozenset({State.SENDING})
    to = State.UNKNOWN
    at: float
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        return {"reason": self.reason, "lost_at": self.at}


class ExactId(OwnersEvent):
    """GitHub's own answer names the run. Believed in every sent state, however late it comes."""

    sources = frozenset(State) - {State.RESERVED, State.REJECTED}
    to = State.ACCEPTED
    run: Run

    def allowed(self, record: Record) -> bool:
        improves = record.run is None or record.run.source != "response"
        return super().allowed(record) and self.run.source == "response" and improves

    def changes(self, record: Record) -> dict[str, Any]:
        return {"run": self.run, "candidates": (), "reason": None}


class _Attributed(Event):
    to = State.ACCEPTED
    source: ClassVar[str]
    run: Run

    def allowed(self, record: Record) -> bool:
        return super().allowed(record) and self.run.source == self.source

    def changes(self, record: Record) -> dict[str, Any]:
        return {"run": self.run, "candidates": (), "reason": None}


class FoundByMarker(_Attributed):
    """Exactly one eligible run shows our marker. From `reserved` too: an earlier ledger died with its pod."""

    sources = LOOKING | {State.UNRESOLVED, State.AMBIGUOUS, State.RESERVED}
    source = "marker"


class FoundByName(_Attributed):
    """Exactly one eligible run shows the promotion's name, and no other dispatch of it can be meant."""

    sources = LOOKING
    source = "promotion-name"


class OnlyCandidate(_Attributed):
    """Settled, and exactly one run can be ours. Only after a 204: there our run surely exists."""

    sources = frozenset({State.ACCEPTED_WITHOUT_ID})
    source = "only-candidate"


class ToldByHost(_Attributed):
    """The record is gone, but the host kept our own earlier answer. Only where there is no record."""

    sources = frozenset({State.RESERVED})
    source = "host"

    def allowed(self, record: Record) -> bool:
        return super().allowed(record) and record.version == 0


class RecordLost(Event):
    """The record is gone, and a witness says that something was sent: it is never sent again."""

    sources = frozenset({State.RESERVED})
    to = State.UNRESOLVED
    reason: str

    def allowed(self, record: Record) -> bool:
        return super().allowed(record) and record.version == 0

    def changes(self, record: Record) -> dict[str, Any]:
        return {"reason": self.reason}


class Looked(Event):
    """A listing was read; nothing is decided yet."""

    sources = LOOKING
    to = State.UNKNOWN  # stays where it is: see `advance`
    seen: tuple[Candidate, ...]
    floor: float | None = None

    def changes(self, record: Record) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "floor": record.floor if record.floor is not None else self.floor,
            "listings": record.listings + 1,
        }


class Indistinguishable(Event):
    """Several runs may be ours, and nothing can tell them apart any more."""

    sources = LOOKING
    to = State.AMBIGUOUS
    candidates: tuple[Candidate, ...]
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        return {"candidates": self.candidates, "reason": self.reason}


class NothingFound(Event):
    """The time for looking is over, and no run can be ours."""

    sources = LOOKING
    to = State.UNRESOLVED
    reason: str

    def changes(self, record: Record) -> dict[str, Any]:
        return {"reason": self.reason}


EVENTS: Final[tuple[type[Event], ...]] = (
    Trouble, Reached, GaveUp, Send, NotSent, RefusedForNow, Refused, AcceptedWithoutId, AnswerLost, OwnerGone, ExactId,
    FoundByMarker, FoundByName, OnlyCandidate, ToldByHost, RecordLost, Looked, Indistinguishable, NothingFound,
)  # fmt: skip


def advance(record: Record, event: Event) -> Record:
    """The record after ``event``, its version still the one that a compare-and-set has to meet.

    :raises IllegalMove: the table has no such row; the record stays as it is.
    """
    if not event.allowed(record):
        raise IllegalMove(
            f"{type(event).__name__} is not legal for the record {record.key[:12]} in state {record.state}"
        )
    state = record.state if isinstance(event, Looked) else event.to
    return record.model_copy(update={**event.changes(record), "state": state})
