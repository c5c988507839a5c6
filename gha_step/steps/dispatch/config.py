"""The config and output of ``gha-dispatch-workflow``.

Source: Kargo's public step reference (facts: kargo-host, "Contract of the steps").
"""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from gha_step.contract.quoting import quoted
from gha_step.contract.result import Link, Output, Sent
from gha_step.contract.values import PathSegment, Switch, Text, Trimmed, WorkflowInputs, refusal, whole_number
from gha_step.steps.repository import RepositoryConfig

KIND: Final = "gha-dispatch-workflow"
DEFAULT_TIMEOUT: Final = 60
MAX_TIMEOUT: Final = 300

CANCEL_ON_ABORT: Final = "cancelOnAbort"


def _cancel_on_abort(value: object) -> Literal["cancel", "force"] | None:
    match value:
        case bool():
            return "cancel" if value else None
        case "true" | "false":
            return "cancel" if value == "true" else None
        case "force":
            return "force"
    raise refusal(f"must be true, false or force, but is {quoted(value)}")


RunIdSource = Literal["response", "marker", "promotion-name", "only-candidate", "host"]


class DispatchWorkflowConfig(RepositoryConfig):
    """What a template writes under ``config``."""

    workflow_file: PathSegment = Field(
        alias="workflowFile",
        description="File name of the workflow in `.github/workflows`, e.g. `deploy.yml`. "
        "It needs an `on: workflow_dispatch` trigger.",
    )
    ref: Trimmed = Field(alias="ref", description="Branch or tag to run on. GitHub accepts no commit SHA here.")
    inputs: WorkflowInputs = Field(
        default_factory=dict,
        alias="inputs",
        description="Inputs of the workflow: an object, or a JSON object as text. At most 25 (10 on GitHub "
        "Enterprise Server 3.19 and older). `null` leaves an input out.",
    )
    timeout: Annotated[
        int, BeforeValidator(whole_number(1, MAX_TIMEOUT, "seconds"), json_schema_input_type=int | str)
    ] = Field(
        default=DEFAULT_TIMEOUT,
        ge=1,
        le=MAX_TIMEOUT,
        alias="timeout",
        description='Seconds to wait for the run to exist. Quote it (`"120"`): kargo-extended cannot pass integers.',
    )
    correlation_input: Text | None = Field(
        default=None,
        alias="correlationInput",
        description="Name of an input that the workflow declares and shows in its `run-name`. This step sets it to a "
        "marker, which identifies the run even if GitHub's response is lost or contains no ID.",
    )
    validate_inputs: Switch = Field(
        default=False,
        alias="validateInputs",
        description="Before dispatching, read the workflow file at the ref and check `inputs` against its declared "
        "inputs, types, choices and required ones. If the file cannot be read, that is only a warning.",
    )
    cancel_on_abort: Annotated[
        Literal["cancel", "force"] | None,
        BeforeValidator(_cancel_on_abort, json_schema_input_type=bool | Literal["true", "false", "force"]),
    ] = Field(
        default=False,  # as a template would write it
        validate_default=True,
        alias=CANCEL_ON_ABORT,
        description="`true`: cancel the run if its Promotion is Aborted, Failed or Errored, or deleted before it "
        "Succeeded. `force`: also force-cancel it 6 minutes later, which ends steps under `if: always()` as well.",
    )


class DispatchEvidence(Sent):
    """What a later call finds of this dispatch in ``sharedState``, if our own memory is gone."""

    record: str = Field(alias="record", description="Key of the ledger record.")
    target: str = Field(alias="target", description="Hash of API base, repository, workflow and ref.")


class DispatchOutput(Output):
    """What the step leaves in ``output``, from the moment in which something may have been sent."""

    run_id: int | None = Field(default=None, alias="runID", description="ID of the workflow run.")
    run_id_source: RunIdSource | None = Field(
        default=None,
        alias="runIDSource",
        description="How the ID is known: `response` (GitHub's own answer), `marker`, `promotion-name`, "
        "`only-candidate`, or `host` (an earlier answer of gha-step that the host kept).",
    )
    url: str | None = Field(default=None, alias="url", description="The run's page on GitHub.")
    links: tuple[Link, ...] | None = Field(default=None, alias="links", description="Links for the Kargo UI.")
    inputs_changed: bool | None = Field(
        default=None,
        alias="inputsChanged",
        description="True if a repeated call has other inputs than those that were dispatched.",
    )
    dispatch: DispatchEvidence | None = Field(
        default=None, alias="dispatch", description="The ledger record and target that this answer is about."
    )
