"""The config of ``gha-cancel-workflow``; its output is `RunOutput`."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from gha_step.ledger.cancels import WORKFLOW
from gha_step.steps.run_fields import RunConfig, duration

KIND: Final = WORKFLOW
OFF: Final = "off"
MAX_FORCE: Final = 86_400.0  # seconds


def _force(value: object) -> float | None:
    return None if value == OFF else duration(OFF, MAX_FORCE)(value)


class CancelWorkflowConfig(RunConfig):
    """What a template writes under ``config``."""

    force: Annotated[float | None, BeforeValidator(_force, json_schema_input_type=str)] = Field(
        default=OFF,  # as a template would write it
        validate_default=True,
        alias="force",
        description="Time after the cancel until the run is force-cancelled, which ends steps under `if: always()` "
        "as well: a Go duration, `6m` or more recommended, or `off`.",
    )
