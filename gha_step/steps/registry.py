"""All step kinds of this server, and the answer to a call that fails."""

from collections.abc import Sequence
from typing import Final

from gha_step.contract.errors import LedgerUnavailable, StepError
from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.values import ConfigModel
from gha_step.runtime import Clock
from gha_step.steps.kind import Call, StepKind, Underway
from gha_step.telemetry import log, subject

INTERNAL_RETRY: Final = 10.0  # seconds
INTERNAL_ERROR: Final = StepResult.running("internal error; see gha-step's log", INTERNAL_RETRY)


class Steps:
    """The one `execute` that every server calls.

    :param projects: the projects for which hosts are served; ``None``: all. A host's bearer proves the host, not the
        project; a caller that has proved its project is always served.
    """

    def __init__(self, kinds: Sequence[StepKind], *, projects: frozenset[str] | None, clock: Clock) -> None:
        self._kinds = {kind.kind: kind for kind in kinds}
        self._projects = projects
        self._clock = clock

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._kinds)

    @property
    def configs(self) -> dict[str, type[ConfigModel]]:
        """The config model of each kind."""
        return {name: kind.config for name, kind in self._kinds.items()}

    def execute(self, request: StepRequest, arrived: float) -> StepResult | Underway:
        """One call of one step. No request can make it raise.

        :param arrived: when the call came, monotonic seconds.
        """
        caller = request.caller
        kind = self._kinds.get(request.step.kind)
        if kind is None:
            known = ", ".join(self._kinds)
            return StepResult.failed(f"step kind {request.step.kind[:80]!r} is unknown; this server has {known}")
        if self._projects is not None and not caller.proved and caller.project not in self._projects:
            return StepResult.failed(
                f"this server does not serve the project {caller.project[:80]!r}: add it to GHA_STEP_PROJECTS"
            )
        try:
            return kind.execute(Call(request, arrived))
        except LedgerUnavailable as error:
            why = f"nothing is sent without the ledger: {error}"
            if error.lasting:
                return StepResult.failed(why)
            return StepResult.running(why, error.retry_after or INTERNAL_RETRY)
        except StepError as error:
            if error.retry_after is None:
                return StepResult.failed(str(error))
            return StepResult.running(str(error), error.retry_after)
        except Exception:  # noqa: BLE001  hosts treat a 500 as final; work that has begun goes on
            log.exception(
                "a step call failed",
                extra=subject(caller.key_parts, caller.promotion),
            )
            return INTERNAL_ERROR
