"""The config and output of ``gha-wait-for-workflow``.

Source: Kargo's public step reference, v1.8 to v1.10 (facts: kargo-host, "Contract of the steps").
"""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field

from gha_step.contract.json_text import parse_json
from gha_step.contract.quoting import quoted
from gha_step.contract.result import Sent
from gha_step.contract.values import ConfigModel, Switch, Text, refusal
from gha_step.steps.run_fields import RunConfig, RunOutput, duration

KIND: Final = "gha-wait-for-workflow"
DEFAULT_ARTIFACT: Final = "kargo-outputs"
MAX_GRACE: Final = 3600.0  # seconds
MAX_JOBS: Final = 20
ANY_IN_A_CONFIG: Final = "leave it out to take any conclusion"

Conclusion = Literal["success", "failure", "cancelled", "skipped", "timed_out", "action_required", "neutral", "stale"]


def _conclusion(value: object) -> object:
    known = get_args(Conclusion)
    if value in known:
        return value
    from difflib import get_close_matches  # only a typo needs it

    close = get_close_matches(value.strip().lower(), known, n=1) if isinstance(value, str) else []
    advice = f"did you mean {close[0]}?" if close else ANY_IN_A_CONFIG
    raise refusal(f"{quoted(value)} is not one of {', '.join(known)}; {advice}")


def _jobs(value: object) -> object:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        value = [value]
    elif isinstance(value, str):  # as a task for stock Kargo passes it on
        try:
            value = parse_json(value)
        except ValueError as error:
            raise refusal(f"is text, but not a JSON list: {error}") from None
    if not isinstance(value, list) or not 0 < len(value) <= MAX_JOBS:
        raise refusal(f"must be a list of 1 to {MAX_JOBS} names of jobs")
    return value


def _outputs(value: object) -> object:
    if isinstance(value, str):  # as a task for stock Kargo passes it on
        try:
            value = parse_json(value, unique=True)
        except ValueError as error:
            raise refusal(f"is text, but not a JSON object: {error}") from None
    if not isinstance(value, dict):
        raise refusal("must be an object: write {} for the defaults")
    return value


class OutputsConfig(ConfigModel):
    """Which artifact of the run holds its outputs."""

    artifact: Annotated[Text, Field(max_length=256)] = Field(
        default=DEFAULT_ARTIFACT,
        alias="artifact",
        description="Name of the artifact: one file with a JSON object, at most 256 KiB.",
    )
    required: Switch = Field(
        default=True,
        alias="required",
        description="Fail the step if a run that did not fail has no such artifact, or an unusable one; with `false` "
        "the message says so instead.",
    )


class WaitForWorkflowConfig(RunConfig):
    """What a template writes under ``config``."""

    expected_conclusion: Annotated[Conclusion, BeforeValidator(_conclusion)] | None = Field(
        default=None,
        alias="expectedConclusion",
        description=f"Any other conclusion fails the step: {', '.join(f'`{name}`' for name in get_args(Conclusion))}. "
        "Without it the step succeeds with whatever conclusion the run has.",
    )
    jobs: Annotated[tuple[Text, ...], BeforeValidator(_jobs, json_schema_input_type=list[str])] = Field(
        default_factory=tuple,  # which nobody can write
        alias="jobs",
        description="End when these jobs end, even if the run continues; `expectedConclusion` then applies to them. "
        "Write each job's full name, `deploy / release` in a called workflow; for a matrix, the name before the "
        "bracket. Without it the step waits for the whole run.",
    )
    rerun_grace: Annotated[float, BeforeValidator(duration("none", MAX_GRACE), json_schema_input_type=str)] = Field(
        default_factory=float,  # none, which nobody can write
        alias="rerunGrace",
        description="After a failure, wait this long for somebody to re-run it: a Go duration, at most `1h`. Without "
        "it a failure is final.",
    )
    outputs: Annotated[OutputsConfig | None, BeforeValidator(_outputs, json_schema_input_type=OutputsConfig)] = Field(
        default=None,
        alias="outputs",
        description="Return values that the workflow has computed: `{}` for the defaults.",
    )


class FailedJob(Sent):
    """A job by which a run failed."""

    name: str = Field(alias="name", description="Name of the job.")
    conclusion: str = Field(alias="conclusion", description="Its conclusion, e.g. `failure` or `timed_out`.")
    failed_step: str | None = Field(default=None, alias="failedStep", description="Its first step that failed.")
    url: str | None = Field(default=None, alias="url", description="The job's page on GitHub.")
    errors: tuple[str, ...] | None = Field(
        default=None,
        alias="errors",
        description="Its error annotations, at most three, for the first three failed jobs, if the token may read "
        "checks.",
    )


class NamedJob(Sent):
    """A job that the step has waited for."""

    name: str = Field(alias="name", description="Name of the job.")
    conclusion: str | None = Field(default=None, alias="conclusion", description="Its conclusion, once it has ended.")
    url: str | None = Field(default=None, alias="url", description="The job's page on GitHub.")


class WaitForWorkflowOutput(RunOutput):
    """What the step leaves in ``output``: all that is known of the run, from the first look on."""

    failed_jobs: tuple[FailedJob, ...] | None = Field(
        default=None, alias="failedJobs", description="If the run failed: the jobs that failed it."
    )
    jobs: tuple[NamedJob, ...] | None = Field(
        default=None, alias="jobs", description="The jobs in `jobs` that have started."
    )
    outputs: dict[str, Any] | None = Field(
        default=None,
        alias="outputs",
        description="The JSON object in the artifact that `outputs` names. Values are unchanged, except that "
        "integers beyond 2^53 are strings of digits, and null values in objects are left out.",
    )
