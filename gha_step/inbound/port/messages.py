"""What a Port run asks for: Kafka messages (v1 and v2 actions), claimed runs and claimed nodes become one `PortRun`.

Pure. It decides what can be used and says what is wrong with the rest. It does not know signatures, the run's status
at Port, or which repositories are allowed.

Source: facts/port.md 1 and 4.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from gha_step.contract.values import (
    MAX_INPUTS,
    MAX_INPUTS_CHARACTERS,
    as_segment,
    as_text,
    as_trimmed,
    check_input_names,
    check_inputs_size,
    encodable,
)
from gha_step.inbound.port.wire_json import JsonObject, Number, compact, doubled, read_json

Kind: TypeAlias = Literal["run", "node"]

MAX_MESSAGE: Final = 4 << 20  # bytes; a broker's own limit is 1 MiB unless somebody raised it
MAX_NAME: Final = 200  # characters of an action's name as messages show it
DISPATCH: Final = "dispatch_workflow"
PORT_PAYLOAD: Final = "port_payload"  # the input of v1 actions that holds the whole message
_IDS: Final = {"run": re.compile(r"r_[A-Za-z0-9]{1,60}"), "node": re.compile(r"wfnr_[A-Za-z0-9]{1,60}")}


@dataclass(frozen=True)
class PortRun:
    """One run of an action, or of a workflow's node, that asks for a dispatch.

    ``org``, ``ref``: ``None`` where Port names none: the configured organisation, the repository's default branch.
    ``inputs`` are as GitHub gets them. ``wanted``: whether Port wants to hear how the workflow ended. ``secret``: names
    of inputs that were decrypted.
    """

    kind: Kind
    id: str
    action: str
    org: str | None
    repo: str
    workflow: str
    ref: str | None
    inputs: Mapping[str, str] = field(repr=False)
    wanted: bool
    secret: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Unusable:
    """A run of ours that nothing can be dispatched for; ``problem`` is for people. ``wanted`` as in `PortRun`."""

    kind: Kind
    id: str
    action: str
    problem: str
    wanted: bool = True


@dataclass(frozen=True)
class Foreign:
    """Not for us: of another invocation type, or not of an action run."""

    why: str


@dataclass(frozen=True)
class Nameless:
    """Meant for us, and does not say for which run: nothing can be reported to Port about it."""

    problem: str


class _BadError(ValueError):
    """Why a run cannot be used."""


def of_message(raw: bytes) -> PortRun | Unusable | Foreign | Nameless:
    """What a Kafka message of the topic asks for."""
    if len(raw) > MAX_MESSAGE:
        return Nameless(f"the message is longer than {MAX_MESSAGE >> 20} MiB")
    try:
        message = read_json(raw)
    except ValueError as error:
        return Nameless(f"the message is {error}")
    method = _at(message, "payload", "action", "invocationMethod")
    kind = _at(method, "type")
    if kind != "GITHUB":
        return Foreign(f"invocation type {_shown(kind)}" if isinstance(kind, str) else "no invocation type")
    context = _at(message, "context")
    run_id = _at(context, "runId")
    if not isinstance(run_id, str) or isinstance(run_id, Number) or not _usable_id(run_id):
        return Nameless("the message names no run: context.runId is missing or odd")
    if not run_id.startswith("r_"):
        return Foreign("a workflow node, which comes by claims only")
    if "context" in message.twice or "runId" in context.twice:
        return Nameless("the message names its run twice")
    action = _name(_at(message, "action"))
    return _run("run", run_id, action, lambda: _of_method(message, method), message, method)


def of_claimed_run(value: Any) -> PortRun | Unusable | Nameless:
    """What one run of a claim's answer asks for."""
    payload = _at(value, "payload")
    action = _name(_at(value, "action", "identifier"))
    return _claimed("run", _at(value, "id"), action, value, payload, _at(payload, "integrationActionType"))


def of_claimed_node(value: Any) -> PortRun | Unusable | Nameless:
    """What one node run of a claim's answer asks for."""
    config = _at(value, "config")
    action = _name(_at(value, "nodeUid") or _at(value, "nodeTitle"))
    return _claimed("node", _at(value, "identifier"), action, value, config, _at(config, "integrationInvocationType"))


def _claimed(
    kind: Kind, run_id: Any, action: str, value: Any, asked: Any, action_type: Any
) -> PortRun | Unusable | Nameless:
    if not isinstance(run_id, str) or not _IDS[kind].fullmatch(run_id):
        return Nameless(f"a claimed {kind} has no usable ID")
    properties = _at(asked, "integrationActionExecutionProperties")
    if _at(asked, "type") != "INTEGRATION_ACTION" or action_type != DISPATCH:
        return Unusable(
            kind,
            run_id,
            action,
            f"this installation only starts workflows, and the action's type is {_shown(action_type)}",
        )
    return _run(kind, run_id, action, lambda: _inputs(_at(properties, "workflowInputs")), value, properties)


def _run(kind: Kind, run_id: str, action: str, inputs: Any, value: Any, properties: Any) -> PortRun | Unusable:
    wanted = True
    try:
        wanted = _wanted(_at(properties, "reportWorkflowStatus"))
        if twice := next(doubled(value), None):
            raise _BadError(f"it has the key {_shown(twice)} twice")
        raw_inputs: dict[str, Any] = inputs()
        ref = _ref(raw_inputs.pop("ref", None))
        return PortRun(
            kind=kind,
            id=run_id,
            action=action,
            org=_segment(properties, "org", optional=True),
            repo=_segment(properties, "repo") or "",
            workflow=_segment(properties, "workflow") or "",
            ref=ref,
            inputs=_texts(raw_inputs, action),
            wanted=wanted,
        )
    except ValueError as error:
        return Unusable(kind, run_id, action, f"action {action}: {error}", wanted)


def _wanted(value: Any) -> bool:
    match value:
        case None | True | "true":
            return True
        case False | "false":
            return False
        case _:
            raise _BadError('reportWorkflowStatus is neither true or false nor "true" or "false"')


def _of_method(message: JsonObject, method: Any) -> dict[str, Any]:
    """The inputs of a Kafka message. A v1 action's inner `action` has its identifier, a v2 action's has not."""
    inner = _at(message, "payload", "action")
    first_version = "identifier" in inner or "omitPayload" in method or "omitUserInputs" in method
    if "workflowInputs" in method or not first_version:
        return _inputs(_at(method, "workflowInputs"))
    given = _inputs(_at(message, "payload", "properties"), "payload.properties")
    made: dict[str, Any] = {"ref": given.pop("ref", None)}
    if not _switch(method, "omitUserInputs"):
        made |= given
    if not _switch(method, "omitPayload"):
        made[PORT_PAYLOAD] = {key: value for key, value in message.items() if key != "headers"}
    return made


def _switch(method: Any, name: str) -> bool:
    value = _at(method, name)
    if value not in (None, True, False):
        raise _BadError(f"{name} is neither true nor false")
    return value is True


def _inputs(value: Any, name: str = "workflowInputs") -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _BadError(f"{name} is not an object")
    return dict(value)


def _ref(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or isinstance(value, Number):
        raise _BadError("ref is not a string")
    try:
        return as_trimmed(value)
    except ValueError as error:
        raise _BadError(f"ref {error}") from None


def _segment(properties: Any, name: str, *, optional: bool = False) -> str | None:
    value = _at(properties, name)
    if value is None or value == "":
        if optional:
            return None
        raise _BadError(f"{name} is missing: set it in the action")
    if not isinstance(value, str) or (isinstance(value, Number) and name != "workflow"):
        raise _BadError(f"{name} is not a string")
    try:
        return as_segment(str(value))  # a workflow's numeric ID is as good as its file name
    except ValueError as error:
        raise _BadError(f"{name} {error}") from None


def _texts(inputs: Mapping[str, Any], action: str) -> dict[str, str]:
    texts = {as_text(name): _text(name, value) for name, value in inputs.items() if value is not None}
    check_input_names(texts)
    try:
        check_inputs_size(texts)
    except ValueError:
        size = len(compact(texts))
        raise _BadError(
            f"it has {len(texts)} inputs of {size} characters in all, but GitHub takes at most {MAX_INPUTS} of "
            f"{MAX_INPUTS_CHARACTERS}: pass several as one object"
        ) from None
    return texts


def _text(name: str, value: Any) -> str:
    """One input as GitHub is to receive it: a string as it is, everything else as its JSON text."""
    try:
        return encodable(str(value) if isinstance(value, str) else compact(value))
    except ValueError as error:
        raise _BadError(f"input {_shown(name)} {error}") from None


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _usable_id(text: str) -> bool:
    return any(shape.fullmatch(text) for shape in _IDS.values())


def _name(value: Any) -> str:
    return _shown(value) if isinstance(value, str) and value else "(unnamed)"


def _shown(value: Any) -> str:
    """Somebody else's text for a message: printable, bounded."""
    text = value if isinstance(value, str) else "missing" if value is None else "no string"
    return ascii(text[:MAX_NAME])[1:-1]
