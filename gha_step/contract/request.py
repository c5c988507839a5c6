"""One call of one step: who calls, which step, and what the host remembers. Each way in makes it.

Source of the wire form: facts/kargo-host.md A, ``POST /api/v1/step.execute``. Keys that we do not use are tolerated:
hosts add some with every version.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gha_step.contract.errors import EnvelopeError
from gha_step.contract.values import encodable

LONGEST_ASKED: Final = 253  # characters of each


@dataclass(frozen=True)
class Asked:
    """Who asked for a step, for people who look into it later: nothing is decided by it, and no token is in it.

    :param actor: as the host names whoever began the promotion, Kargo's ``promotionActor``.
    :param via: the way in, and the address of whoever has connected.
    :param subject: whose token it was.
    """

    actor: str = ""
    via: str = ""
    subject: str = ""

    def __post_init__(self) -> None:
        for name in ("actor", "via", "subject"):
            object.__setattr__(self, name, _told(getattr(self, name)))

    def __str__(self) -> str:
        named = (("", self.actor), ("via ", self.via), ("as ", self.subject))
        return ", ".join(f"{how}{what}" for how, what in named if what)


def _told(text: object) -> str:
    """Others have written it: one line of bounded length, or nothing where it is no text."""
    line = text[:LONGEST_ASKED] if isinstance(text, str) else ""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


@dataclass(frozen=True)
class Caller:
    """Who calls: one promotion step of one project.

    :param key_parts: which promotion step it is, for the ledger: the project first, the step's alias last.
    :param promotion: name of the Promotion; '' where the host does not say.
    :param promotion_uid: its UID; '' where the caller knows it by name only, and nobody was asked.
    :param asked: see `Asked`.
    :param proved: whether the caller has proved the project; a host's bearer proves the host alone.
    """

    key_parts: tuple[str, ...]
    promotion: str = ""
    promotion_uid: str = ""
    proved: bool = False
    asked: Asked | None = field(default=None, compare=False)

    @property
    def project(self) -> str:
        """Namespace of the Kargo project."""
        return self.key_parts[0]

    @property
    def alias(self) -> str:
        """The step's alias, `task::step` inside a task."""
        return self.key_parts[-1]


class _Received(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        validate_by_alias=True,
        validate_by_name=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, received: object) -> object:
        """Go writes null for a map, a slice or a pointer that it does not have."""
        if not isinstance(received, dict):
            return received
        return {name: value for name, value in received.items() if value is not None}


Text = Annotated[StrictStr, AfterValidator(encodable)]
NonEmpty = Annotated[StrictStr, StringConstraints(min_length=1), AfterValidator(encodable)]


class StepContext(_Received):
    """Where a promotion stands, as a host sends it. Strings are absent where the host has nothing to say."""

    project: NonEmpty = Field(alias="project", description="Namespace of the Kargo project.")
    promotion: Text = Field(default="", alias="promotion", description="Name of the Promotion.")
    promotion_uid: NonEmpty = Field(alias="promotionUID", description="UID of the Promotion.")
    alias: NonEmpty = Field(alias="alias", description="The step's alias, `task::step` inside a task.")
    stage: Text = Field(default="", alias="stage")
    promotion_actor: Any = Field(default="", alias="promotionActor", description="Who began the promotion; for people.")
    shared_state: dict[str, Any] = Field(
        default_factory=dict, alias="sharedState", description="Last output of each step, by alias."
    )


class Step(_Received):
    """Which step, with its config after expressions were evaluated."""

    kind: NonEmpty = Field(alias="kind")
    config: dict[str, Any] = Field(alias="config")


class _Envelope(_Received):
    context: StepContext = Field(alias="context")
    step: Step = Field(alias="step")


@dataclass(frozen=True)
class StepRequest:
    """One call.

    :param shared_state: the step's own last output, by its alias, as the caller remembers it.
    """

    caller: Caller
    step: Step
    shared_state: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def remembered(self) -> object:
        """The step's own last output, if the caller has one; anything at all, for it comes from outside."""
        return self.shared_state.get(self.caller.alias)

    @classmethod
    def parse(cls, body: object, via: str = "", subject: str = "") -> Self:
        """The request of a host in a decoded JSON value.

        :param via: as `Asked` has it; ``subject`` too.
        :raises EnvelopeError: naming each field that is missing or of a wrong type.
        """
        if not isinstance(body, dict):
            raise EnvelopeError("the body must be a JSON object with context and step")
        try:
            envelope = _Envelope.model_validate(body)
        except ValidationError as error:
            problems = [
                (tuple(map(str, problem["loc"])), _WORDS.get(problem["type"], problem["msg"]))
                for problem in error.errors(include_url=False, include_input=False)
            ]
        else:
            sent = envelope.context
            parts = (sent.project, sent.promotion_uid, sent.alias)
            asked = Asked(sent.promotion_actor, via, subject)
            caller = Caller(parts, sent.promotion, sent.promotion_uid, asked=asked)
            own = {sent.alias: sent.shared_state[sent.alias]} if sent.alias in sent.shared_state else {}
            return cls(caller, envelope.step, own)
        raise EnvelopeError("; ".join(f"{'.'.join(path)}: {words}" for path, words in problems), problems)


_WORDS = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
