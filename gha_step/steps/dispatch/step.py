"""``gha-dispatch-workflow``: starts a GitHub Actions workflow once, and returns its run ID.

It turns a call into a request (config, Secret, endpoint) and passes that to `DispatchTasks`.
"""

from collections.abc import Callable
from sys import getsizeof
from typing import Any, Final

from gha_step.contract.errors import ConfigError, CredentialsError, StepError, Unavailable
from gha_step.contract.request import Caller, StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.values import EXACT_FLOAT, ConfigModel, check_inputs_size
from gha_step.credentials.secrets import is_object_name
from gha_step.github.dispatch import Workflow
from gha_step.ledger.bounds import too_long
from gha_step.ledger.duties import Cancellation
from gha_step.ledger.keys import MARKER_SHAPE, digest
from gha_step.ledger.record import Payload, Target
from gha_step.runtime import Holding, Holdings
from gha_step.steps.access import Repositories
from gha_step.steps.dispatch.config import CANCEL_ON_ABORT, KIND, DispatchWorkflowConfig
from gha_step.steps.dispatch.request import DispatchCall, DispatchRequest, Key, Witness
from gha_step.steps.dispatch.tasks import DispatchTasks
from gha_step.steps.kind import BUSY, Call, Underway
from gha_step.steps.repository import REPO_URL, RepositoryByUrl

INPUTS: Final = 32 << 20  # bytes of the inputs of all dispatches that this process has in hand
_OF_A_REQUEST: Final = 2_000


class DispatchWorkflow:
    """See `gha_step.steps.kind.StepKind`."""

    kind = KIND
    config: type[ConfigModel] = DispatchWorkflowConfig

    def __init__(
        self, *, access: Repositories, tasks: DispatchTasks, follow: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        """:param follow: hears, by project and key, of records whose run is to be cancelled on abort."""
        self._access = access
        self._tasks = tasks
        self._follow = follow
        self._inputs = Holdings(INPUTS)

    def execute(self, call: Call) -> StepResult | Underway:
        caller = call.request.caller
        if (why := too_long(_names(caller))) is not None:  # no record can hold them: nothing was ever sent for them
            return StepResult.failed(f"nothing was dispatched: {why}")
        key = Key.of(caller)
        config: DispatchWorkflowConfig | None = None
        request: DispatchRequest | None = None
        problem: StepError | None = None
        try:
            parsed = parse_config(call.request.step.config)
            if (held := self._inputs.take(caller.project, _size(parsed))) is None:
                return BUSY
            key, config = Key(caller, key.hash, _cancellation(caller, parsed)), parsed
            request = self._requested(key, config, held)
        except (ConfigError, CredentialsError, Unavailable) as error:
            problem = error
        payload = request.payload if request is not None else None if config is None else _unaddressed(config)
        witness = _witness(call.request)
        outcome = self._tasks.decide(DispatchCall(key, request, payload, problem, witness, call.arrived))
        if key.duty is not None:
            self._follow(caller.project, key.hash)
        return outcome

    def _requested(self, key: Key, config: DispatchWorkflowConfig, held: Holding) -> DispatchRequest:
        repository = self._access.repository(key.caller.project, config)
        if (why := too_long([(repository.endpoint.named_by, repository.endpoint.base)])) is not None:
            raise CredentialsError(f"project {key.caller.project}: {why}")
        return DispatchRequest.of(
            key,
            Workflow(repository.endpoint, repository.owner, repository.name, config.workflow_file, config.ref),
            repository.token,
            inputs=config.inputs,
            timeout=config.timeout,
            correlation_input=config.correlation_input,
            validate_inputs=config.validate_inputs,
            renew=repository.renew,
            held=held,
        )


def parse_config(raw: dict[str, Any]) -> DispatchWorkflowConfig:
    """The config of one step, with all that no single field can tell.

    :raises ConfigError: with every problem in one message, each with its field.
    """
    config = DispatchWorkflowConfig.parse(raw)
    if (why := too_long(_fields(config))) is not None:
        raise ConfigError(why)
    if config.correlation_input is None:
        return config
    filled = config.correlation_input.lower()  # a workflow ignores the case of its inputs' names
    if given := next((name for name in config.inputs if name.lower() == filled), None):
        raise ConfigError(
            f"config.inputs: {given!r} is filled by this step, because correlationInput is "
            f"{config.correlation_input!r}: leave it out of inputs"
        )
    try:
        check_inputs_size({**config.inputs, config.correlation_input: MARKER_SHAPE})
    except ValueError as error:
        raise ConfigError(f"config.inputs: with the one that correlationInput names, {error}") from None
    return config


def _size(config: DispatchWorkflowConfig) -> int:
    """About how many bytes its request takes: the inputs as they were given, and as they are sent."""
    return _OF_A_REQUEST + 2 * sum(map(getsizeof, config.inputs.values()))


def _cancellation(caller: Caller, config: DispatchWorkflowConfig) -> Cancellation | None:
    """What the record owes by ``cancelOnAbort``.

    :raises ConfigError: nobody could find out how the Promotion ends.
    """
    if config.cancel_on_abort is None:
        return None
    if not is_object_name(caller.promotion) or not caller.promotion_uid:
        raise ConfigError(
            f"config.{CANCEL_ON_ABORT}: this caller names no Promotion with its UID, so its end cannot be seen; leave "
            f"{CANCEL_ON_ABORT} out"
        )
    named = config.repository
    if isinstance(named, RepositoryByUrl):
        url = named.url.without_password
        return Cancellation(mode=config.cancel_on_abort, url=url, insecure=named.skip_verify)
    return Cancellation(mode=config.cancel_on_abort, secret=named.secret_name)


def _names(caller: Caller) -> list[tuple[str, str]]:
    return [
        ("context.project", caller.project),
        ("context.promotion", caller.promotion),
        ("context.promotionUID", caller.promotion_uid),
        ("context.alias", caller.alias),
    ]


def _fields(config: DispatchWorkflowConfig) -> list[tuple[str, str]]:
    named = config.repository
    if isinstance(named, RepositoryByUrl):
        repository = [(f"config.{REPO_URL}", named.url.full_name)]
    else:
        repository = [("config.owner", named.owner), ("config.repo", named.repo)]
        repository.append(("config.credentials.secretName", named.secret_name))
        repository.append(("config.owner and config.repo", config.full_name))
    return [
        *repository,
        ("config.workflowFile", config.workflow_file),
        ("config.ref", config.ref),
        ("config.correlationInput", config.correlation_input or ""),
    ]


def _unaddressed(config: DispatchWorkflowConfig) -> Payload:
    """What a config asks for, where its credentials do not tell at which GitHub."""
    target = Target(api_base="", repo=config.full_name.lower(), workflow=config.workflow_file, ref=config.ref)
    return Payload(
        target=target,
        inputs_hash=digest(config.inputs),
        timeout=config.timeout,
        marker=None,
        names_promotion=False,
    )


def _witness(call: StepRequest) -> Witness | None:
    """What the host kept of our own earlier output for this step, if it is ours and speaks of a dispatch."""
    output = call.remembered
    evidence = output.get("dispatch") if isinstance(output, dict) else None
    target = evidence.get("target") if isinstance(evidence, dict) else None
    if not isinstance(output, dict) or not isinstance(target, str):
        return None
    run_id, url = output.get("runID"), output.get("url")
    known: int | None = None
    # Hosts keep numbers as doubles: a larger one may be its neighbour's.
    if isinstance(run_id, int | float) and not isinstance(run_id, bool) and 0 < run_id < EXACT_FLOAT:
        known = int(run_id) if run_id == int(run_id) else None
    page = url if isinstance(url, str) and url.startswith(("https://", "http://")) and url.isascii() else ""
    return Witness(target, known, page)
