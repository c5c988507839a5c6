"""Config and output fields of all steps about a run: which run, how often to poll, what is known of it. Pure."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field

from gha_step.contract.duration import parse_duration
from gha_step.contract.quoting import quoted
from gha_step.contract.result import Output
from gha_step.contract.values import EXACT_FLOAT, refusal
from gha_step.steps.repository import RepositoryConfig

DEFAULT_POLL_INTERVAL: Final = "10s"
MAX_POLL_INTERVAL: Final = 86_400.0  # seconds: beyond some centuries a host cannot even read our retryAfter
MAX_RUN_ID: Final = 2**63 - 1  # GitHub's IDs are int64

_DIGITS: Final = re.compile(r"[0-9]{1,19}(\.0+)?", re.ASCII)
_SCIENTIFIC: Final = re.compile(r"[0-9](\.[0-9]{1,17})?[eE]\+?[0-9]{1,2}", re.ASCII)  # Go's %v of a float64


def _run_id(value: object) -> int:
    number = _exact_integer(value)
    if number is None:
        problem = "is empty" if value is None or value == "" else f"{quoted(value)} is not the ID of a workflow run"
        raise refusal(
            f"{problem}; an ID is a number such as 17000000001; write "
            "${{ quote(outputs['<alias of the dispatch step>'].runID) }}"
        )
    if not 0 < number <= MAX_RUN_ID:
        raise refusal(f"{quoted(number)} is not the ID of a workflow run; an ID is positive and has at most 64 bits")
    return number


def _exact_integer(value: object) -> int | None:
    """The integer that ``value`` surely is; ``None`` if it is none, or may have lost digits on its way."""
    match value:
        case bool():
            return None
        case int():
            return value
        case float():
            return int(value) if value.is_integer() and abs(value) <= EXACT_FLOAT else None
        case str() if _DIGITS.fullmatch(text := value.strip()):
            return int(text.partition(".")[0])
        case str() if _SCIENTIFIC.fullmatch(text := value.strip()):
            number = Decimal(text)
            return int(number) if number == number.to_integral_value() and number <= EXACT_FLOAT else None
        case _:
            return None


def duration(default: str, most: float) -> Callable[[object], float]:
    """Reads the seconds of a positive Go duration, at most ``most``."""

    def read(value: object) -> float:
        if not isinstance(value, str):
            raise refusal(f'{quoted(value)} is not a string; write a Go duration in quotes, such as "10s" or "1m30s"')
        try:
            seconds = parse_duration(value.strip())
        except ValueError as error:
            raise refusal(f"{quoted(value)} is not a duration; {error}") from None
        if seconds <= 0:
            raise refusal(f"{quoted(value)} is too short; it must be longer than 0s, and the default is {default}")
        if seconds > most:
            raise refusal(f"{quoted(value)} is too long; the maximum is {most / 3600:.0f}h")
        return seconds

    return read


class RunConfig(RepositoryConfig):
    """The run of a step, and how often it looks at it."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **RepositoryConfig.elsewhere,
        "timeout": "is not a field of this step: Kargo ends a step by retry.timeout, which belongs beside config: "
        "retry: {timeout: 30m}",
    }
    run_id: Annotated[int, BeforeValidator(_run_id, json_schema_input_type=int | str)] = Field(
        alias="runID",
        description="ID of the workflow run: `${{ quote(outputs['dispatch-deployment'].runID) }}`. Quote it: "
        "kargo-extended cannot pass integers.",
    )
    poll_interval: Annotated[
        float, BeforeValidator(duration(DEFAULT_POLL_INTERVAL, MAX_POLL_INTERVAL), json_schema_input_type=str)
    ] = Field(
        default=DEFAULT_POLL_INTERVAL,  # as a template would write it
        validate_default=True,
        alias="pollInterval",
        description="Time between two polls of the run: a Go duration, at most `24h`. Hosts may wait longer.",
    )


class RunOutput(Output):
    """What such a step knows of its run."""

    conclusion: str | None = Field(
        default=None, alias="conclusion", description="GitHub's conclusion, once the run is completed."
    )
    status: str | None = Field(
        default=None, alias="status", description="GitHub's status when last seen, e.g. `in_progress`."
    )
    url: str | None = Field(default=None, alias="url", description="The run's page on GitHub.")
    attempt: int | None = Field(
        default=None, alias="attempt", description="The run's attempt: more than 1 after a re-run."
    )
