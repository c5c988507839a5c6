"""The record of one dispatch, and the moves that it may make: the one table that keeps both promises.

A record belongs to one key: one promotion step. Whoever wants to change it names an *event*; `advance` says
what becomes of the record, or that the event is not legal there. It is pure: it knows no clock, no store and
no GitHub. The rules are those of the specification ("State × event"); three things carry all the weight:

* a POST belongs to one attempt, whose ``nonce`` only the process that made it knows; what only the owner of
  an attempt may say carries that nonce, and is refused unless the record holds the same one;
* nothing leads from a state in which a send is possible back to one in which another may begin, except the
  owner's own word that no byte left, that GitHub refused, or that GitHub asked to come again;
* after a final state evidence only improves: see `Event.improves`.
"""

import base64
import hashlib
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from gha_step.contract.errors import LedgerError
from gha_step.contract.json_text import canonical_json

SCHEMA: Final = 1

Version: TypeAlias = int | str
"""What a store calls one content of a record, of which nothing but equality means anything; 0: not yet stored."""


class State(StrEnum):
    """Where a dispatch stands."""

    RESERVED = "reserved"  # nothing was sent
    SENDING = "sending"  # a POST may be on its way
    UNKNOWN = "unknown"  # a POST may have been processed; its answer is lost or says nothing
    ACCEPTED_WITHOUT_ID = "accepted_without_id"  # GitHub accepted, but named no run
    ACCEPTED = "accepted"  # the run is known
    REJECTED = "rejected"  # nothing was dispatched, and nothing will be
    AMBIGUOUS = "ambiguous"  # several runs may be ours
    UNRESOLVED = "unresolved"  # no run was found


FINAL: Final = frozenset({State.ACCEPTED, State.REJECTED, State.AMBIGUOUS, State.UNRESOLVED})
LOOKING: Final = frozenset({State.ACCEPTED_WITHOUT_ID, State.UNKNOWN})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(_Frozen):
    """What is dispatched where: another target under the same key is a mistake, other inputs are not."""

    api_base: str  # https://api.github.com
    repo: str  # owner/name, lower case: GitHub does not tell cases apart
    workflow: str  # deploy.yml
    ref: str  # short: main, not refs/heads/main

    @property
    def hash(self) -> str:
        return digest(self.model_dump())

    @property
    def workflow_of_repo(self) -> tuple[str, str, str]:
        """The workflow, whatever the ref."""
        return self.api_base, self.repo, self.workflow


class Run(_Frozen):
    """A workflow run, and how it is known to be ours."""

    id: int
    url: str
    source: Literal["response", "marker", "promotion-name", "only-candidate", "host"]


class Candidate(_Frozen):
    """A run that may be ours, and whether its title has shown our marker or our promotion's name."""

    id: int
    url: str
    marked: bool = False
    named: bool = False


class Owner(_Frozen):
    """The process that made an attempt."""

    pod: str | None = None  # metadata.uid by the downward API; None is never the same pod as anything
    incarnation: str  # one process's life


class Record(_Frozen):
    """All that is remembered of one promotion step's dispatch. No input value, no token."""

    schema_version: Literal[1] = SCHEMA
    key: str
    key_parts: tuple[str, ...]  # (project, promotionUID, alias), or (project, "caller", promotion, alias)
    promotion: str = ""  # the Promotion's name: for people, and for the promotion-name rule
    promotion_uid: str = ""  # whose record it is, where that is known
    version: Version = 0
    state: State = State.RESERVED
    target: Target
    inputs_hash: str
    timeout: int  # seconds to wait for the run to exist, from sending_at
    created_at: float = 0.0  # local wall clock, for people
    trouble_since: float | None = None  # local wall clock
    nonce: str | None = None
    owner: Owner | None = None
    sending_at: float | None = None  # local wall clock
    lost_at: float | None = None  # local wall clock: when it became unknown
    names_promotion: bool = False  # whether an input holds the promotion's name
    answered_date: float | None = None  # GitHub's Date of the 204
    floor: float | None = None  # GitHub's clock: our run was not created before
    baseline_ids: tuple[int, ...] = ()
    seen: tuple[Candidate, ...] = ()  # the union of eligible runs over all listings
    listings: int = 0
    actor: str | None = None
    marker: str | None = None
    marker_input: str | None = None  # the input that carries it
    run: Run | None = None
    candidates: tuple[Candidate, ...] = ()
    reason: str | None = None

    @property
    def project(self) -> str:
        return self.key_parts[0]

    @property
    def alias(self) -> str:
        return self.key_parts[-1]

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def sent(self) -> bool:
        """Whether something may have been sent for this key."""
        return self.state not in (State.RESERVED, State.REJECTED)


class Payload(_Frozen):
    """What one call wants dispatched, as far as the record remembers it."""

    target: Target
    inputs_hash: str  # of the inputs without the marker
    timeout: int
    marker: str | None
    names_promotion: bool
    marker_input: str | None = None


def payload_of(record: Record) -> Payload:
    """The payload that the record remembers."""
    return Payload(**{name: getattr(record, name) for name in Payload.model_fields})


def adopt(record: Record, payload: Payload) -> Record:
    """The record with the newest call's payload: as long as nothing was sent, the newest call counts."""
    if record.state is not State.RESERVED:
        raise IllegalMove(f"the record {record.key[:12]} in state {record.state} keeps its payload")
    return record.model_copy(update=dict(payload))


class Claim(_Frozen):
    """A run that belongs to a key."""

    run_id: int
    key: str


class Gate(_Frozen):
    """One dispatch at a time per target: who is inside, and which runs are taken.

    It serves usefulness only: breaking it never yields a wrong ID.
    """

    project: str
    target: Target
    version: Version = 0
    holder: str | None = None  # a key
    claimed: tuple[Claim, ...] = ()

    def entered(self, key: str) -> "Gate":
        """The gate with ``key`` inside."""
        return self.model_copy(update={"holder": key})

    def claiming(self, run_id: int, key: str) -> "Gate":
        """The gate that remembers the run as the key's; the last fifty are kept."""
        claims = (*(c for c in self.claimed if c.run_id != run_id), Claim(run_id=run_id, key=key))
        return self.model_copy(update={"claimed": claims[-50:]})

    def taken_from(self, key: str) -> frozenset[int]:
        """The runs that belong to other keys."""
        return frozenset(claim.run_id for claim in self.claimed if claim.key != key)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def step_key(*parts: str) -> str:
    """The key of a promotion step: SHA-256 over the length-prefixed parts, so that no two lists collide.

    :raises ValueError: a part is empty.
    """
    if not all(parts):
        raise ValueError("no part of a ledger key may be empty")
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        whole.update(len(raw).to_bytes(8, "big") + raw)
    return whole.hexdigest()


MARKER_SHAPE: Final = "gs-" + "a" * 26


def marker_of(key: str) -> str:
    """The marker of a key: fixed, so that it survives a lost ledger."""
    return "gs-" + base64.b32encode(bytes.fromhex(key)).decode()[:26].lower()


class IllegalMove(LedgerError):
    """An event that the record's state does not allow: a duplicate or a late one. Nothing has changed."""


class Event(_Frozen):
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
