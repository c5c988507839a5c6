"""The config and output of ``gha-cancel-workflow``."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field

from gha_step.ledger.cancels import WORKFLOW
from gha_step.steps.repository import RepositoryConfig
from gha_step.steps.run_fields import DEFAULT_POLL_INTERVAL, ELSEWHERE, PollInterval, RunId, RunOutput, as_duration

KIND: Final = WORKFLOW
OFF: Final = "off"
MAX_FORCE: Final = 86_400.0  # seconds


def _force(value: object) -> float | None:
    return None if value == OFF else as_duration(value, OFF, MAX_FORCE)


class CancelWorkflowConfig(RepositoryConfig):
    """What a template writes under ``config``."""

    elsewhere: ClassVar[Mapping[str, str]] = ELSEWHERE
    run_id: RunId = Field(
        alias="runID",
        description="ID of the run to cancel: `${{ quote(outputs['dispatch-deployment'].runID) }}`. Quote it: "
        "kargo-extended cannot pass integers.",
    )
    poll_interval: PollInterval = Field(
        default=DEFAULT_POLL_INTERVAL,  # as a template would write it
        validate_default=True,
        alias="pollInterval",
        description="How long to wait between two looks at the run: a Go duration, at most `24h`. Hosts may wait "
        "longer.",
    )
    force: Annotated[float | None, BeforeValidator(_force, json_schema_input_type=str)] = Field(
        default=OFF,  # as a template would write it
        validate_default=True,
        alias="force",
        description="How long after the cancel the run is force-cancelled, which ends steps under `if: always()` as "
        "well: a Go duration, at least `6m` is advised, or `off`.",
    )


class CancelWorkflowOutput(RunOutput):
    """What the step leaves in ``output``."""

    attempt: int | None = Field(default=None, alias="attempt", description="Which attempt of the run is cancelled.")
