"""The moves that a record may make: `TABLE` is "State × event" of the specification, and `advance` reads it.

It knows no clock, no store and no GitHub. Three things carry the promise of at most one dispatch:

* a POST belongs to one attempt, whose ``nonce`` only the process that made it knows; whatever is said of an attempt
  carries its nonce, and is refused unless the record holds the same one;
* from a state in which a send is possible, only the owner's own word leads back to one in which another may begin:
  that no byte left, or that GitHub refused for now;
* after a final state evidence only improves: a run is replaced only by one of a better source, GitHub's own answer.
"""

from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from gha_step.contract.errors import LedgerError
from gha_step.ledger.duties import Duty
from gha_step.ledger.record import Candidate, Owner, Payload, Record, Run, State

Fields: TypeAlias = dict[str, Any]


class IllegalMove(LedgerError):
    """An event that the record's state does not allow: a duplicate or a late one. Nothing has changed."""


# ---------------------------------------------------------------- events

# The record keeps an event's fields under the same names. Events with a method `fields` compute them from the record.


class ToldByHost(NamedTuple):
    """The record is gone, but the host kept our own earlier answer."""

    run: Run


class RecordLost(NamedTuple):
    """The record is gone, and a witness says that something was sent: it is never sent again."""

    reason: str


class Send(NamedTuple):
    """An attempt begins; the next thing that happens may be a byte on the wire."""

    nonce: str
    owner: Owner
    sending_at: float
    floor: float | None = None
    baseline_ids: tuple[int, ...] = ()
    reason: None = None


class Trouble(NamedTuple):
    """GitHub is unreachable or asks us to wait; nothing was sent."""

    at: float
    reason: str

    def fields(self, record: Record) -> Fields:
        return {"trouble_since": _first(record.trouble_since, self.at), "reason": self.reason}


class Reached(NamedTuple):
    """GitHub can be asked again: what comes next is not the same trouble."""

    trouble_since: None = None
    reason: None = None


class GaveUp(NamedTuple):
    """Nothing was sent, and trying again cannot help any more."""

    reason: str


class NotSent(NamedTuple):
    """No byte of the attempt was handed to the socket, and none ever will be."""

    nonce: str

    def fields(self, record: Record) -> Fields:
        return _NO_ATTEMPT


class RefusedForNow(NamedTuple):
    """GitHub refused, and the same request may succeed later."""

    nonce: str
    at: float | None  # None: it may succeed at once, in other words, which is no trouble
    reason: str

    def fields(self, record: Record) -> Fields:
        since = _first(record.trouble_since, self.at)
        return {**_NO_ATTEMPT, "trouble_since": since, "reason": self.reason}


class RefusedForGood(NamedTuple):
    """GitHub refused for good: nothing was dispatched."""

    nonce: str
    reason: str


class AcceptedWithoutId(NamedTuple):
    """GitHub accepted (204): a run exists or is about to, and the answer does not name it."""

    nonce: str
    date: float | None  # GitHub's Date of the answer
    floor: float | None  # GitHub's clock: our run was not created before
    actor: str | None = None

    def fields(self, record: Record) -> Fields:
        floor = _first(record.floor, self.floor)  # the baseline's is the better one
        return {"answered_date": self.date, "floor": floor, "actor": self.actor or record.actor}


class AnswerLost(NamedTuple):
    """The answer was lost or says nothing: a run may exist."""

    nonce: str
    lost_at: float
    reason: str


class OwnerGone(NamedTuple):
    """The process that was sending is gone, as somebody else has made sure; what it sent is not known."""

    nonce: str
    lost_at: float
    reason: str


class ExactId(NamedTuple):
    """GitHub's own answer names the run. Believed in every sent state, however late it comes."""

    nonce: str
    run: Run


class FoundByMarker(NamedTuple):
    """Exactly one eligible run shows our marker."""

    run: Run


class FoundByName(NamedTuple):
    """Exactly one eligible run shows the promotion's name, and no other dispatch of it can be meant."""

    run: Run


class OnlyCandidate(NamedTuple):
    """Settled, and exactly one run can be ours."""

    run: Run


class Looked(NamedTuple):
    """A listing was read; nothing is decided yet."""

    seen: tuple[Candidate, ...]
    floor: float | None = None

    def fields(self, record: Record) -> Fields:
        return {"seen": self.seen, "floor": _first(record.floor, self.floor), "listings": record.listings + 1}


class Indistinguishable(NamedTuple):
    """Several runs may be ours, and nothing can tell them apart any more."""

    candidates: tuple[Candidate, ...]
    reason: str


class NothingFound(NamedTuple):
    """The time for looking is over, and no run can be ours."""

    reason: str


OwnersEvent: TypeAlias = NotSent | RefusedForNow | RefusedForGood | AcceptedWithoutId | AnswerLost | OwnerGone | ExactId
"""What is said of one attempt: each carries its nonce."""
Event: TypeAlias = (
    OwnersEvent
    | ToldByHost
    | RecordLost
    | Send
    | Trouble
    | Reached
    | GaveUp
    | FoundByMarker
    | FoundByName
    | OnlyCandidate
    | Looked
    | Indistinguishable
    | NothingFound
)
_Weighed: TypeAlias = Trouble | NotSent | RefusedForNow | AcceptedWithoutId | Looked
"""Against what the record holds already."""

_NO_ATTEMPT: Final[Fields] = {
    "nonce": None,
    "owner": None,
    "sending_at": None,
    "lost_at": None,
    "floor": None,
    "baseline_ids": (),
    "actor": None,
}
_RUN_KNOWN: Final[Fields] = {"candidates": (), "reason": None}


def _first(held: float | None, said: float | None) -> float | None:
    return said if held is None else held


# ---------------------------------------------------------------- the table


class Who(Enum):
    """Who may say what happened."""

    ANYBODY = "anybody"
    OWNER = "the process that made the attempt"
    WATCHER = "another process, about the attempt that it has watched"


class Row(NamedTuple):
    """One event's line of the table."""

    states: frozenset[State | None]  # in which it may happen; None: the key has no record
    to: State | None  # None: the state stays
    who: Who
    source: str | None = None  # of the run that it names


def _in(*states: State | None) -> frozenset[State | None]:
    return frozenset(states)


NO_RECORD: Final = None
STAYS: Final = None
RESERVED, SENDING, UNKNOWN, WITHOUT_ID = State.RESERVED, State.SENDING, State.UNKNOWN, State.ACCEPTED_WITHOUT_ID
ACCEPTED, REJECTED, AMBIGUOUS, UNRESOLVED = State.ACCEPTED, State.REJECTED, State.AMBIGUOUS, State.UNRESOLVED
ANYBODY, OWNER, WATCHER = Who

# A key without a record begins with a blank one in `reserved`, of version 0, unless a witness speaks against it.
# Evidence in hand whose record has vanished is written to such a record by the same rows.
TABLE: Final[dict[type[Event], Row]] = {
    # event                may happen in                                    leads to     said by  names a run by
    ToldByHost:        Row(_in(NO_RECORD),                                  ACCEPTED,    ANYBODY, "host"),
    RecordLost:        Row(_in(NO_RECORD),                                  UNRESOLVED,  ANYBODY),
    Send:              Row(_in(RESERVED),                                   SENDING,     ANYBODY),
    # Trouble counts from its first event. At the gate nobody is in trouble: waiting there never ends a step.
    Trouble:           Row(_in(RESERVED),                                   STAYS,       ANYBODY),
    Reached:           Row(_in(RESERVED),                                   STAYS,       ANYBODY),
    GaveUp:            Row(_in(RESERVED),                                   REJECTED,    ANYBODY),
    NotSent:           Row(_in(SENDING, UNKNOWN),                           RESERVED,    OWNER),
    RefusedForNow:     Row(_in(SENDING, UNKNOWN),                           RESERVED,    OWNER),
    RefusedForGood:    Row(_in(SENDING, UNKNOWN),                           REJECTED,    OWNER),
    AcceptedWithoutId: Row(_in(SENDING, UNKNOWN),                           WITHOUT_ID,  OWNER),
    AnswerLost:        Row(_in(SENDING),                                    UNKNOWN,     OWNER),
    # Gone: same pod and another incarnation, or an exclusive ledger; else watched for 90 s, or sent 5 min ago.
    OwnerGone:         Row(_in(SENDING),                                    UNKNOWN,     WATCHER),
    # From `accepted` only where a rule had named the run: a contradiction replaces it, and raises an alarm.
    ExactId:           Row(_in(*State) - _in(RESERVED, REJECTED),           ACCEPTED,    OWNER,   "response"),
    # From `reserved` only with ?lifetime=pod: an earlier ledger died with its pod. Nothing is sent then.
    FoundByMarker:     Row(_in(RESERVED, WITHOUT_ID, UNKNOWN, UNRESOLVED, AMBIGUOUS), ACCEPTED, ANYBODY, "marker"),
    FoundByName:       Row(_in(WITHOUT_ID, UNKNOWN),                        ACCEPTED,    ANYBODY, "promotion-name"),
    # Only after a 204: there our run surely exists.
    OnlyCandidate:     Row(_in(WITHOUT_ID),                                 ACCEPTED,    ANYBODY, "only-candidate"),
    Looked:            Row(_in(WITHOUT_ID, UNKNOWN),                        STAYS,       ANYBODY),
    # At the deadline; after a 204 without a marker also before, where nothing can tell the candidates apart.
    Indistinguishable: Row(_in(WITHOUT_ID, UNKNOWN),                        AMBIGUOUS,   ANYBODY),
    NothingFound:      Row(_in(WITHOUT_ID, UNKNOWN),                        UNRESOLVED,  ANYBODY),
}  # fmt: skip


def advance(record: Record, event: Event) -> Record:
    """The record after ``event``, its version still the one that a compare-and-set has to meet.

    :raises IllegalMove: the table has no such row; the record stays as it is.
    """
    row = TABLE[type(event)]
    if not _is_legal(record, event, row):
        raise IllegalMove(
            f"{type(event).__name__} is not legal for the record {record.key[:12]} in state {record.state}"
        )
    to = record.state if row.to is STAYS else row.to
    kept = event.fields(record) if isinstance(event, _Weighed) else event._asdict()
    known = {} if row.source is None else _RUN_KNOWN
    return record.model_copy(update={**kept, **known, "state": to})


def _is_legal(record: Record, event: Event, row: Row) -> bool:
    is_blank = record.version == 0 and record.state is RESERVED
    if record.state not in row.states and not (is_blank and NO_RECORD in row.states):
        return False
    if row.who is not ANYBODY and record.nonce != getattr(event, "nonce", None):
        return False
    run: Run | None = getattr(event, "run", None)
    if run is None:
        return True
    return run.source == row.source and (record.run is None or record.run.source != row.source)


def adopt(record: Record, payload: Payload, duty: Duty | None = None) -> Record:
    """The record with the newest call's payload: as long as nothing was sent, the newest call counts.

    :param duty: of the newest call; ``None`` leaves what stands.
    """
    if record.state is not RESERVED:
        raise IllegalMove(f"the record {record.key[:12]} in state {record.state} keeps its payload")
    known = vars(payload).items() <= vars(record).items()  # as in a record that was just made for it
    adopted = record if known else record.model_copy(update=vars(payload))
    if duty is None:
        return adopted
    return adopted.owing(duty if record.duty is None else record.duty.adopting(duty))
