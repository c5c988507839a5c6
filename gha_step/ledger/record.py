"""The record of one dispatch: everything that is stored for one promotion step. Data only.

`gha_step.ledger.transitions` says how it may change, `gha_step.ledger.store` where it is kept.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gha_step.contract.json_text import compact_json, parse_json
from gha_step.contract.request import Asked
from gha_step.ledger.duties import Cancellation, Duty, Report
from gha_step.ledger.keys import digest

SCHEMA: Final = 1
SCHEMA_OF_DUTIES: Final = 2  # a gha-step that knows nothing of duties sends nothing for such a record

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
SAID_KEY: Final = "key"  # in the place of a promotion, where a shell names its dispatch by a text
FULL_REFS: Final = ("refs/heads/", "refs/tags/")
LOOKING: Final = frozenset({State.ACCEPTED_WITHOUT_ID, State.UNKNOWN})
OPEN: Final = LOOKING | {State.SENDING}  # sent, and not ended
_set: Final = object.__setattr__  # of what is frozen


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def __copy__(self) -> Self:
        """As pydantic's own, which takes four times as long: it looks for values that no model of ours has."""
        made = object.__new__(type(self))
        _set(made, "__dict__", {**self.__dict__})
        _set(made, "__pydantic_fields_set__", {*self.__pydantic_fields_set__})
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made


class Target(Frozen):
    """What is dispatched where: another target under the same key is a mistake, other inputs are not.

    Two targets are compared by `same_as`: of `v1` nobody here knows whether it is the branch or the tag.
    """

    api_base: str  # https://api.github.com
    repo: str  # owner/name, lower case: GitHub does not tell cases apart
    workflow: str  # deploy.yml
    ref: str  # as written: main, refs/heads/main or refs/tags/v1; records of 0.1.0 hold the short form only

    def __str__(self) -> str:
        """For messages. Of a run of Port that was refused early, not all is known."""
        named = (("", self.repo), ("workflow ", self.workflow), ("on ref ", self.ref))
        return " ".join(f"{what}{name}" for what, name in named if name)

    @property
    def short_ref(self) -> str:
        """The branch or tag name as a run's ``head_branch`` shows it."""
        prefix = next((prefix for prefix in FULL_REFS if self.ref.startswith(prefix)), "")
        return self.ref.removeprefix(prefix)

    @property
    def short(self) -> "Target":
        """The target by its short ref, as a run shows it: what gates go by."""
        return self.model_copy(update={"ref": self.short_ref})

    def same_as(self, other: "Target") -> bool:
        """Whether both may be one: a short ref is the same as either full one, a branch never the same as a tag."""
        return other == self or other in self._same()

    def has_hash(self, text: str) -> bool:
        """Whether ``text`` is the `hash` of a target that is the `same_as` this one."""
        return any(target.hash == text for target in self._same())

    def _same(self) -> "list[Target]":
        short = self.short_ref
        if self.ref == short:
            refs = [short, *(prefix + short for prefix in FULL_REFS)]
        else:  # of a branch that is called refs/tags/v1, the short form is another's full one
            refs = [self.ref, *([] if short.startswith(FULL_REFS) else [short])]
        return [self.model_copy(update={"ref": ref}) for ref in refs]

    @property
    def hash(self) -> str:
        return _hash(self.api_base, self.repo, self.workflow, self.ref)

    @property
    def by_number(self) -> bool:
        """Whether the workflow is named by its ID: which file that is, nobody here knows."""
        return self.workflow.isdecimal()

    def may_be_workflow_of(self, other: "Target") -> bool:
        """Whether both may be one workflow, whatever the ref: a number may stand for any file of the repository."""
        if (self.api_base, self.repo) != (other.api_base, other.repo):
            return False
        if self.by_number and other.by_number:
            return self.workflow.lstrip("0") == other.workflow.lstrip("0")
        return self.workflow == other.workflow or self.by_number or other.by_number


@lru_cache(256)  # every answer of a step holds it
def _hash(api_base: str, repo: str, workflow: str, ref: str) -> str:
    return digest({"api_base": api_base, "repo": repo, "workflow": workflow, "ref": ref})


class Run(Frozen):
    """A workflow run, and how it is known to be ours."""

    id: int
    url: str
    source: Literal["response", "marker", "promotion-name", "only-candidate", "host"]


class Candidate(Frozen):
    """A run that may be ours, and whether its title has shown our marker or our promotion's name."""

    id: int
    url: str
    marked: bool = False
    named: bool = False


class Owner(Frozen):
    """The process that made an attempt."""

    pod: str | None = None  # metadata.uid by the downward API; None is never the same pod as anything
    incarnation: str  # one process's life


class Record(Frozen):
    """All that is remembered of one promotion step's dispatch. No input value, no token."""

    schema_version: Literal[1, 2] = SCHEMA
    key: str
    key_parts: tuple[str, ...] = Field(
        min_length=3, max_length=4
    )  # (project, promotionUID, alias), or (project, "caller", promotion, alias)
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
    report: Report | None = None  # what Port is owed
    abort: Cancellation | None = None  # what becomes of the run where its Promotion ends without success
    # Kept beside the record, where versions that do not know it leave it alone:
    asked: Asked | None = Field(default=None, exclude=True)  # who asked for it first
    # What a store says of the object, and does not keep in it:
    deletion: float | None = Field(default=None, exclude=True)  # since when it is deleted; finalizers keep it
    held: bool = Field(default=False, exclude=True)  # whether ours does: somebody follows its duty

    @model_validator(mode="after")
    def _schema_of_duties(self) -> Self:
        if (self.schema_version == SCHEMA_OF_DUTIES) != (self.duty is not None):
            raise ValueError(f"schema {SCHEMA_OF_DUTIES} belongs to records with a duty, and to no other")
        return self

    def owing(self, duty: Duty) -> "Record":
        """This record with its duty as it stands now, or with its first one.

        :raises ValueError: that would take back what was closed, or make another one of it.
        """
        part = "report" if isinstance(duty, Report) else "abort"
        stands = getattr(self, part)
        if stands is not None and not stands.may_become(duty, sent=self.sent):
            raise ValueError(f"the {part} of the ledger record {self.key[:12]} cannot become another one")
        return self.model_copy(update={part: duty, "schema_version": SCHEMA_OF_DUTIES})

    @property
    def duty(self) -> Duty | None:
        """What it owes or has owed; no record owes two things."""
        return self.report or self.abort

    @property
    def owes(self) -> bool:
        """Whether something is still to be done for it, whatever its state."""
        return self.duty is not None and not self.duty.closed

    @property
    def project(self) -> str:
        return self.key_parts[0]

    @property
    def alias(self) -> str:
        return self.key_parts[-1]

    @property
    def said_key(self) -> str | None:
        """The --key of `gha-step run`, if it is that command's."""
        return self.alias if len(self.key_parts) == 3 and self.key_parts[1] == SAID_KEY else None

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def sent(self) -> bool:
        """Whether something may have been sent for this key."""
        return self.state not in (State.RESERVED, State.REJECTED)


def asked_of(text: object) -> Asked | None:
    """As a store has kept it. It is for people: what cannot be read is no reason not to read the record."""
    try:
        said = parse_json(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    return Asked(said.get("actor", ""), said.get("via", ""), said.get("subject", ""))


def asked_text(record: Record) -> str | None:
    """For a store to keep beside the record, see `asked_of`."""
    return None if record.asked is None else compact_json(vars(record.asked))


class Payload(Frozen):
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
