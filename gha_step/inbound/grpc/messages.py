"""The gRPC service without its transport: who may call, what a message asks for, and how an answer looks as a message.

It knows nothing of connections, streams and time; `gha_step.inbound.grpc.server` does.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.struct_pb2 import Struct, Value
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status as RpcStatus

from gha_step.contract.errors import EnvelopeError
from gha_step.contract.request import StepRequest
from gha_step.contract.result import Status, StepResult
from gha_step.contract.secret import Token
from gha_step.contract.values import EXACT_FLOAT, ConfigModel
from gha_step.inbound.bearer import UNPROVED, bearer, only
from gha_step.inbound.body import MAX_VALUES
from gha_step.pb.v1 import step_pb2 as pb

SERVICE: Final = pb.DESCRIPTOR.services_by_name["StepService"].full_name
STOPPING: Final = "this server is stopping; call again"
DETAILS: Final = "grpc-status-details-bin"  # https://grpc.io/docs/guides/error/#richer-error-model
MOST_VIOLATIONS: Final = 10  # all details share 8 KiB of metadata
LONGEST_WORDS: Final = 200

Metadata = Iterable[tuple[str, str | bytes]]
Answer = TypeVar("Answer", pb.ExecuteResponse, pb.RunEvent)

_STATUS: Final = {
    Status.RUNNING: pb.STATUS_RUNNING,
    Status.SUCCEEDED: pb.STATUS_SUCCEEDED,
    Status.FAILED: pb.STATUS_FAILED,
}
_FIELDS: Final = {  # as HTTP and as we call them
    "promotionUID": "promotion_uid",
    "promotionActor": "promotion_actor",
    "sharedState": "shared_state",
}


class Refused(Exception):
    """The call gets no answer but this code. ``late``: after a pause, because what it sent was large."""

    def __init__(self, code: grpc.StatusCode, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.late = late

    @property
    def details(self) -> tuple[tuple[str, bytes], ...]:
        """What goes beside code and message, as metadata."""
        return ()


@dataclass(frozen=True)
class Violation:
    """What is wrong with one field. ``field``: its path in the message, '' for the message as a whole."""

    field: str
    words: str


class Malformed(Refused):
    """The message is none that can be executed."""

    def __init__(self, violations: Sequence[Violation], *, late: bool = False) -> None:
        self.violations = tuple(
            Violation(one.field[:LONGEST_WORDS], one.words[:LONGEST_WORDS]) for one in violations[:MOST_VIOLATIONS]
        )
        words = "; ".join(f"{one.field}: {one.words}" if one.field else one.words for one in self.violations)
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, words, late=late)

    @property
    def details(self) -> tuple[tuple[str, bytes], ...]:
        bad = BadRequest()
        for one in self.violations:
            bad.field_violations.add(field=one.field, description=one.words)
        status = RpcStatus(code=Code.INVALID_ARGUMENT, message=self.message)
        status.details.add().Pack(bad)
        return ((DETAILS, status.SerializeToString()),)


def admit(metadata: Metadata, token: Token | None) -> None:
    """Let a caller in who knows the token; ``None``: everyone. :raises Refused: it does not, or says two things."""
    if token is None:
        return
    proof = bearer(only([str(value) for key, value in metadata if key == "authorization"]))
    if proof is None or not token.matches(proof):
        raise Refused(grpc.StatusCode.UNAUTHENTICATED, UNPROVED)


# ---------------------------------------------------------------- what a message asks for


def step_request(message: pb.ExecuteRequest | pb.RunRequest, via: str = "gRPC", subject: str = "") -> StepRequest:
    """The call that a host would have sent over HTTP.

    :raises Malformed: naming each field that is unset, or that holds what JSON does not have.
    """
    violations: list[Violation] = []
    make = _Maker()
    body: dict[str, Any] = {}
    if message.HasField("context"):
        sent = message.context
        texts = {
            "project": sent.project,
            "promotionUID": sent.promotion_uid,
            "alias": sent.alias,
            "promotion": sent.promotion,
            "stage": sent.stage,
            "promotionActor": sent.promotion_actor,
        }
        body["context"] = {name: text for name, text in texts.items() if text}  # '' is how proto3 says: unset
        body["context"]["sharedState"] = make.struct(sent.shared_state, "context.shared_state", violations)
    if message.HasField("step"):
        body["step"] = {"kind": message.step.kind} if message.step.kind else {}
        if message.step.HasField("config"):
            body["step"]["config"] = make.struct(message.step.config, "step.config", violations)
    try:
        request = StepRequest.parse(body, via, subject)
    except EnvelopeError as error:
        found = [Violation(".".join(_FIELDS.get(name, name) for name in path), words) for path, words in error.problems]
        raise Malformed(found + violations) from None
    if violations:
        raise Malformed(violations)
    return request


class _NoJson(Exception):
    """A value that JSON does not have. ``path``: where, from the outermost Struct on."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.path = ""


class _Maker:
    """Makes the JSON values of one message, and no more than a body may have over HTTP."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def struct(self, struct: Struct, path: str, violations: list[Violation]) -> dict[str, Any]:
        """``struct``, if it is no violation. ``path``: where it stands."""
        try:
            return self._object(struct)
        except _NoJson as error:  # the first of them: there may be a hundred thousand
            violations.append(Violation(path + error.path, error.words))
            return {}

    def _object(self, struct: Struct) -> dict[str, Any]:
        self._take(2 * len(struct.fields))
        made = {}
        # A Struct has no order. Ours must not change from call to call, for an object among the inputs becomes text;
        # sorted is how hosts, which are written in Go, send objects over HTTP.
        for key, value in sorted(struct.fields.items()):
            try:
                made[key] = self._value(value)
            except _NoJson as error:
                error.path = f".{ascii(key)[1:-1][:60]}{error.path}"  # a key is the user's: it may hold anything
                raise
        return made

    def _list(self, values: Sequence[Value]) -> list[Any]:
        self._take(len(values))
        made: list[Any] = []
        for value in values:
            try:
                made.append(self._value(value))
            except _NoJson as error:
                error.path = f"[{len(made)}]{error.path}"
                raise
        return made

    def _take(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _NoJson(f"the message holds more than {MAX_VALUES:,} values")

    def _value(self, value: Value) -> Any:
        match value.WhichOneof("kind"):
            case "string_value":
                return value.string_value
            case "number_value":
                return _number(value.number_value)
            case "bool_value":
                return value.bool_value
            case "struct_value":
                return self._object(value.struct_value)
            case "list_value":
                return self._list(value.list_value.values)
            case "null_value":
                return None
        raise _NoJson("is a google.protobuf.Value of no kind: set one, e.g. null_value")


def _number(number: float) -> int | float:
    """As JSON has it: an integer where the double surely is one, so that it reads as over HTTP."""
    if not math.isfinite(number):
        raise _NoJson(f"is {number}, which JSON does not have")
    return int(number) if number.is_integer() and abs(number) <= EXACT_FLOAT else number


# ---------------------------------------------------------------- what is answered


def fill(answer: Answer, result: StepResult) -> Answer:
    """``result`` as this message."""
    answer.status = _STATUS[result.status]
    answer.message = result.message or ""
    answer.output.SetInParent()  # always an object, if need be an empty one
    answer.output.update(_exact(result.output_to_wire()))
    if result.retry_after is not None:
        answer.retry_after.FromMilliseconds(round(result.retry_after * 1000))
    answer.terminal = result.terminal is True
    run_id = getattr(result.output, "run_id", None)
    if run_id is not None:
        answer.run_id = run_id
    return answer


def _exact(value: Any) -> Any:
    """Integers that a double would change become strings of digits."""
    match value:
        case dict():
            return {key: _exact(one) for key, one in value.items()}
        case list():
            return [_exact(one) for one in value]
        case int() if abs(value) > EXACT_FLOAT:
            return str(value)
    return value


def kinds(configs: Mapping[str, type[ConfigModel]]) -> pb.ListKindsResponse:
    """The step kinds with the JSON Schema of their config."""
    response = pb.ListKindsResponse()
    for kind, config in configs.items():
        response.kinds.add(kind=kind).config_schema.update(config.json_schema())
    return response
