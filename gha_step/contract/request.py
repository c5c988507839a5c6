"""One call of one step, as a host sends it and as it reads the answer.

Source: facts/kargo-host.md A, ``POST /api/v1/step.execute``. Keys that we do not use are tolerated: hosts add
some with every version.
"""

from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    StringConstraints,
    ValidationError,
)

from gha_step.contract.errors import EnvelopeError
from gha_step.contract.values import encodable


class _Received(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_alias=True, validate_by_name=True, hide_input_in_errors=True
    )


Text = Annotated[StrictStr, AfterValidator(encodable)]
NonEmpty = Annotated[StrictStr, StringConstraints(min_length=1), AfterValidator(encodable)]


class StepContext(_Received):
    """Where a promotion stands. Strings are absent where the host has nothing to say."""

    project: NonEmpty = Field(alias="project", description="Namespace of the Kargo project.")
    promotion: Text = Field(default="", alias="promotion", description="Name of the Promotion.")
    promotion_uid: NonEmpty = Field(alias="promotionUID", description="UID of the Promotion.")
    alias: NonEmpty = Field(alias="alias", description="The step's alias, `task::step` inside a task.")
    stage: Text = Field(default="", alias="stage")
    shared_state: dict[str, Any] = Field(
        default_factory=dict, alias="sharedState", description="Last output of each step, by alias."
    )

    @property
    def key_parts(self) -> tuple[str, ...]:
        """Which promotion step this is, for the ledger."""
        return self.project, self.promotion_uid, self.alias


class CallerContext(StepContext):
    """The context of a caller that knows its Promotion by name only, as stock Kargo's `http` step does.

    It never comes off a wire: the server that proved the caller's project makes it.
    """

    promotion_uid: Text = Field(
        default="", alias="promotionUID", description="UID of the Promotion, where the API server was asked for it."
    )

    @property
    def key_parts(self) -> tuple[str, ...]:
        return self.project, "caller", self.promotion, self.alias


class Step(_Received):
    """Which step, with its config after expressions were evaluated."""

    kind: NonEmpty = Field(alias="kind")
    config: dict[str, Any] = Field(alias="config")


class StepRequest(_Received):
    """The body of one call."""

    context: StepContext = Field(alias="context")
    step: Step = Field(alias="step")

    @classmethod
    def parse(cls, body: object) -> Self:
        """The request in a decoded JSON value.

        :raises EnvelopeError: naming each field that is missing or of a wrong type.
        """
        if not isinstance(body, dict):
            raise EnvelopeError("the body must be a JSON object with context and step")
        try:
            request = cls.model_validate(body)
        except ValidationError as error:
            problems = [
                (tuple(map(str, problem["loc"])), _WORDS.get(problem["type"], problem["msg"]))
                for problem in error.errors(include_url=False, include_input=False)
            ]
        else:
            return request
        raise EnvelopeError("; ".join(f"{'.'.join(path)}: {words}" for path, words in problems), problems)


_WORDS = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
