"""The answer to one call, as a host reads it."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializeAsAny,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
)

from gha_step.contract.duration import format_duration


class Status(StrEnum):
    """The statuses that a host knows; these three are those that this program gives."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Sent(BaseModel):
    """The base of what is sent to a host."""

    model_config = ConfigDict(frozen=True, validate_by_alias=True, validate_by_name=True, defer_build=True)


class Link(Sent):
    """A link that the Kargo UI (1.11 and later) shows on the step's row."""

    url: str = Field(alias="url", description="The run's page on GitHub.")
    label: str = Field(alias="label", description="What the link shows.")
    icon: str = Field(default="github", alias="icon", description="The icon beside it.")


class Output(Sent):
    """What a step hands to the steps after it. On the wire it is always an object, if need be an empty one."""


class Remembered(Output):
    """A dispatch as the host remembers it, of which the answer says nothing new.

    Hosts replace what they remember of a step by the output of each answer (facts/kargo-host.md A), and that is what
    speaks against a second dispatch where the ledger's record is gone.
    """

    dispatch: dict[str, str] = Field(alias="dispatch")
    number: StrictInt | StrictFloat | None = Field(default=None, alias="runID", gt=0, lt=2**63)
    run_id_source: StrictStr | None = Field(default=None, alias="runIDSource", max_length=100)
    url: StrictStr | None = Field(default=None, alias="url", max_length=4_000)

    @field_validator("dispatch")
    @classmethod
    def _short(cls, evidence: dict[str, str]) -> dict[str, str]:
        if "target" not in evidence or len(evidence) > 4 or any(len(text) > 200 for text in evidence.values()):
            raise ValueError("it is not ours")
        return evidence


class StepResult(Sent):
    """The answer to one call."""

    status: Status = Field(alias="status")
    message: str | None = Field(default=None, alias="message")
    output: SerializeAsAny[Output] = Field(default_factory=Output, alias="output")
    retry_after: Annotated[float | None, PlainSerializer(format_duration, when_used="unless-none")] = Field(
        default=None, alias="retryAfter", description="When to ask again: seconds, on the wire a Go duration."
    )
    terminal: Literal[True] | None = Field(default=None, alias="terminal")
    waits_for: int | None = Field(default=None, exclude=True, description="The run of whose change it waits; not told.")

    @classmethod
    def running(
        cls, message: str, retry_after: float, output: Output | None = None, *, waits_for: int | None = None
    ) -> Self:
        """Not finished: ask again in ``retry_after`` seconds (never less than one), or as this run changes."""
        return cls(
            status=Status.RUNNING,
            message=message,
            output=output or Output(),
            retry_after=max(1.0, retry_after),
            waits_for=waits_for,
        )

    def keeping(self, remembered: object) -> "StepResult":
        """Itself; of an answer to ask again that has no output, with the dispatch that the host remembers, if any."""
        if self.status is not Status.RUNNING or type(self.output) is not Output or not isinstance(remembered, dict):
            return self
        if not isinstance(remembered.get("dispatch"), dict):
            return self
        try:
            return self.model_copy(update={"output": Remembered.model_validate(remembered)})
        except ValidationError:
            return self

    @classmethod
    def succeeded(cls, message: str, output: Output) -> Self:
        """Finished, and as wished."""
        return cls(status=Status.SUCCEEDED, message=message, output=output)

    @classmethod
    def failed(cls, message: str, output: Output | None = None) -> Self:
        """Finished for good, and not as wished."""
        return cls(status=Status.FAILED, message=message, output=output or Output(), terminal=True)

    def output_to_wire(self) -> dict[str, Any]:
        """``output`` as a JSON value."""
        return self.output.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_wire(self) -> bytes:
        """The answer as JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()
