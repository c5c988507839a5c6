"""The gRPC service without its transport: what messages ask for, what they answer, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status as RpcStatus

from gha_step.contract.request import StepRequest
from gha_step.contract.result import Output, StepResult
from gha_step.contract.secret import Token
from gha_step.inbound.grpc import messages as service
from gha_step.pb.v1 import step_pb2 as pb
from gha_step.steps.dispatch.config import DispatchOutput, DispatchWorkflowConfig
from gha_step.steps.follow import Following
from gha_step.steps.wait.config import WaitForWorkflowConfig, WaitForWorkflowOutput
from tests.inbound.channels import as_http, request
from tests.support.calls import BEARER, body, config
from tests.support.clock import LONG

METHODS = pb.DESCRIPTOR.services_by_name["StepService"]
RUN = 17_000_000_001
IDENTITY = ("project", "promotion_uid", "alias")


class Servicer:
    """The service over a step that answers as told; it calls the core as the server does, and waits for nothing."""

    def __init__(self, *results: StepResult) -> None:
        self.results = list(results)
        self.executed: list[StepRequest] = []
        self.waited: list[float] = []

    def _execute(self, step: StepRequest) -> StepResult:
        self.executed.append(step)
        return self.results.pop(0)

    def Execute(self, message: pb.ExecuteRequest, context: grpc.ServicerContext) -> pb.ExecuteResponse:  # noqa: N802
        try:
            service.admit(context.invocation_metadata(), Token(BEARER))
            return service.fill(pb.ExecuteResponse(), self._execute(service.step_request(message)))
        except service.Refused as refused:
            context.set_trailing_metadata(refused.details)
            context.set_code(refused.code)
            context.set_details(refused.message)
            return pb.ExecuteResponse()

    def Run(self, message: pb.RunRequest, context: grpc.ServicerContext) -> Iterator[pb.RunEvent]:  # noqa: N802
        following = Following(service.step_request(message))
        while following.wait is not None:
            self.waited.append(following.wait)
            result = self._execute(following.request)
            if following.hear(result):
                yield service.fill(pb.RunEvent(), result)

    def ListKinds(self, message: pb.ListKindsRequest, context: grpc.ServicerContext) -> pb.ListKindsResponse:  # noqa: N802
        return service.kinds({"gha-dispatch-workflow": DispatchWorkflowConfig})


def served(servicer: Servicer) -> grpc_testing.Server:
    return grpc_testing.server_from_dictionary({METHODS: servicer}, grpc_testing.strict_real_time())


def execute(
    servicer: Servicer, message: pb.ExecuteRequest, metadata: Any = (("authorization", f"Bearer {BEARER}"),)
) -> tuple[pb.ExecuteResponse, Any, grpc.StatusCode, str]:
    method = METHODS.methods_by_name["Execute"]
    answer, trailing, code, details = (
        served(servicer).invoke_unary_unary(method, metadata, message, timeout=LONG).termination()
    )
    return answer, trailing, code, details


def refused(message: pb.ExecuteRequest) -> dict[str, str]:
    """The violations that are told, by field."""
    _, trailing, code, details = execute(Servicer(), message)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    status, bad = RpcStatus.FromString(dict(trailing)["grpc-status-details-bin"]), BadRequest()
    assert status.message == details
    assert status.details[0].Unpack(bad)
    return {one.field: one.description for one in bad.field_violations}


DONE = StepResult.succeeded("run", DispatchOutput(run_id=RUN, run_id_source="response", url="https://x/1"))


# ---------------------------------------------------------------- Execute


def test_a_message_is_the_call_that_a_host_sends_over_http() -> None:
    servicer = Servicer(DONE)
    content = body(
        config(inputs={"a": 1, "b": None, "c": [True, {"d": 1.5}]}),
        alias="x",
        sharedState={"x": {"runID": RUN}, "of another step": {"x": "y" * 1000}},
    )
    _, _, code, _ = execute(servicer, request(pb.ExecuteRequest, content))
    assert code is grpc.StatusCode.OK
    assert servicer.executed == [StepRequest.parse(content)]
    # 1 is equal to 1.0 and reads otherwise as text: integers have to come as integers.
    assert json.dumps(servicer.executed[0].step.config) == json.dumps(content["step"]["config"], sort_keys=True)
    assert json.dumps(servicer.executed[0].shared_state) == json.dumps({"x": {"runID": RUN}})


def test_an_object_is_read_in_one_order_whatever_the_order_in_which_it_was_sent() -> None:
    texts = set()
    for turned in (1, -1):
        servicer = Servicer(DONE)
        inputs = {"a": {f"key{number}": number for number in [*range(50)][::turned]}}
        execute(servicer, request(pb.ExecuteRequest, body(config(inputs=inputs))))
        texts.add(json.dumps(servicer.executed[0].step.config["inputs"]))
    assert len(texts) == 1


def test_an_answer_has_the_run_id_as_an_integer_too() -> None:
    answer, *_ = execute(Servicer(DONE), request(pb.ExecuteRequest))
    assert answer.run_id == RUN
    assert as_http(answer) == {
        "status": "Succeeded",
        "message": "run",
        "output": {"runID": RUN, "runIDSource": "response", "url": "https://x/1"},
    }


def test_running_tells_when_to_ask_again_and_failed_that_it_is_final() -> None:
    running, *_ = execute(Servicer(StepResult.running("not yet", 1.5)), request(pb.ExecuteRequest))
    assert as_http(running) == {"status": "Running", "message": "not yet", "output": {}, "retryAfter": 1.5}
    assert not running.HasField("run_id")
    failed, _, code, _ = execute(Servicer(StepResult.failed("no")), request(pb.ExecuteRequest))
    assert code is grpc.StatusCode.OK
    assert as_http(failed) == {"status": "Failed", "message": "no", "output": {}, "terminal": True}
    assert failed.HasField("output")


@pytest.mark.parametrize("run_id", [2**53 + 1, 2**63 - 1])
def test_a_run_id_that_a_double_would_change_is_exact_all_the_same(run_id: int) -> None:
    result = StepResult.succeeded("run", DispatchOutput(run_id=run_id))
    answer, *_ = execute(Servicer(result), request(pb.ExecuteRequest))
    assert answer.run_id == run_id
    assert MessageToDict(answer.output) == {"runID": str(run_id)}


def test_an_integer_that_a_double_tells_exactly_stays_a_number() -> None:
    answer, *_ = execute(
        Servicer(StepResult.succeeded("run", DispatchOutput(run_id=2**53))), request(pb.ExecuteRequest)
    )
    assert answer.output["runID"] == 2**53


@pytest.mark.parametrize("number", [2.0**53 + 2, 1e300, -(2.0**60), 1.5, 0.1])
def test_a_number_that_is_surely_no_integer_reaches_the_step_as_it_is(number: float) -> None:
    servicer = Servicer(DONE)
    execute(servicer, request(pb.ExecuteRequest, body({"runID": number})))
    assert repr(servicer.executed[0].step.config["runID"]) == repr(number)


# ---------------------------------------------------------------- malformed


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ({}, {"context", "step"}),
        ({"context": {}, "step": {}}, {f"context.{name}" for name in IDENTITY} | {"step.kind", "step.config"}),
        (body(promotionUID=..., alias=..., project=...), {f"context.{name}" for name in IDENTITY}),
        (body(project=""), {"context.project"}),
        (body(kind=""), {"step.kind"}),
    ],
)
def test_each_field_that_is_unset_is_named(content: dict[str, Any], fields: set[str]) -> None:
    told = refused(request(pb.ExecuteRequest, content))
    assert set(told) == fields
    assert set(told.values()) == {"is required"}


def test_a_step_without_config_is_refused_and_one_with_an_empty_config_is_not() -> None:
    message = request(pb.ExecuteRequest, body())
    message.step.ClearField("config")
    assert refused(message) == {"step.config": "is required"}
    message.step.config.SetInParent()
    assert execute(Servicer(DONE), message)[2] is grpc.StatusCode.OK


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_have_are_refused_where_they_stand(number: float) -> None:
    message = request(pb.ExecuteRequest, body(config(inputs={"a": ["x", {"b.c": 1}]})))
    at = message.step.config.fields["inputs"].struct_value.fields["a"].list_value.values[1].struct_value
    at.fields["b.c"].number_value = number
    message.context.shared_state["s"] = number
    assert set(refused(message)) == {"step.config.inputs.a[1].b.c", "context.shared_state.s"}


@pytest.mark.parametrize(
    "inputs", [{"a": [None] * 90}, {"a": [[]] * 45 + [{"b": 1}] * 25}, {f"k{n}": 1 for n in range(45)}]
)
def test_a_message_holds_no_more_values_than_a_body_over_http(
    inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = request(pb.ExecuteRequest, body(config(inputs=inputs)))
    assert execute(Servicer(DONE), message)[2] is grpc.StatusCode.OK
    monkeypatch.setattr(service, "MAX_VALUES", 80)
    ((field, words),) = refused(message).items()
    assert field.startswith("step.config")
    assert "more than 80 values" in words


def test_a_value_of_no_kind_is_refused_where_it_stands() -> None:
    message = request(pb.ExecuteRequest)
    message.step.config.fields["ref"].Clear()
    ((field, words),) = refused(message).items()
    assert field == "step.config.ref"
    assert "of no kind" in words


def test_what_is_told_of_a_malformed_message_stays_small_whatever_it_holds() -> None:
    message = request(pb.ExecuteRequest)
    inner = message.step.config
    for _ in range(20):
        inner = inner.fields["ü\n" * 5_000].struct_value
    inner.fields["x"].number_value = float("nan")
    _, trailing, _, details = execute(Servicer(), message)
    assert len(details) < 500
    assert details.isascii()
    assert details.isprintable()
    assert len(dict(trailing)["grpc-status-details-bin"]) < 2_000


# ---------------------------------------------------------------- who may call


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer wrong"),),
        (("authorization", BEARER),),
        (("authorization", f"Basic {BEARER}"),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer \udcff"),),
        (("authorization", f"Bearer {BEARER}"), ("authorization", "Bearer wrong")),
        (("authorization", f"Bearer {BEARER}"), ("authorization", f"Bearer {BEARER}")),
        (("authorization-bin", f"Bearer {BEARER}".encode()),),
        (("authorization", f"Bearer {BEARER}".encode()),),
        (("proxy-authorization", f"Bearer {BEARER}"),),
    ],
)
def test_without_the_one_right_bearer_nothing_is_executed(metadata: Any) -> None:
    servicer = Servicer(DONE)
    _, _, code, details = execute(servicer, request(pb.ExecuteRequest), metadata)
    assert (code, servicer.executed) == (grpc.StatusCode.UNAUTHENTICATED, [])
    assert BEARER not in details


# ---------------------------------------------------------------- Run


def run(servicer: Servicer, message: pb.RunRequest) -> list[dict[str, Any]]:
    method = METHODS.methods_by_name["Run"]
    call = served(servicer).invoke_unary_stream(method, (), message, timeout=LONG)
    events = []
    while True:
        try:
            events.append(as_http(call.take_response()))
        except ValueError:
            break
    _, code, _ = call.termination()
    assert code is grpc.StatusCode.OK
    return events


def test_run_tells_the_first_observation_each_change_and_the_end() -> None:
    queued = StepResult.running("queued", 3.0, WaitForWorkflowOutput(status="queued"))
    busy = StepResult.running("running", 4.0, WaitForWorkflowOutput(status="in_progress"))
    end = StepResult.succeeded("done", WaitForWorkflowOutput(status="completed", conclusion="success"))
    servicer = Servicer(queued, queued, busy, busy.model_copy(update={"retry_after": 5.0}), end)
    assert [event["message"] for event in run(servicer, request(pb.RunRequest))] == ["queued", "running", "done"]
    assert servicer.waited == [0, 3, 3, 4, 5]


def test_run_ends_with_the_first_answer_that_is_final() -> None:
    servicer = Servicer(StepResult.failed("no"), DONE)
    assert [event["status"] for event in run(servicer, request(pb.RunRequest))] == ["Failed"]
    assert len(servicer.results) == 1


def test_run_hands_back_its_own_output_as_a_host_does() -> None:
    other, mine = {"other": {"x": 1}}, {"runID": RUN, "dispatch": {"record": "r", "target": "t"}}
    first = StepResult.running("a", 1.0, DispatchOutput(run_id=RUN, dispatch={"record": "r", "target": "t"}))
    servicer = Servicer(first, StepResult.running("b", 1.0, Output()), DONE)
    run(servicer, request(pb.RunRequest, body(sharedState=other)))
    states = [step.shared_state for step in servicer.executed]
    assert states == [{}, {"dispatch": mine}, {"dispatch": {}}]  # others' outputs are of no use to it
    assert len({step.caller.key_parts for step in servicer.executed}) == 1


# ---------------------------------------------------------------- ListKinds


@pytest.mark.parametrize(
    ("model", "required", "optional"),
    [
        (DispatchWorkflowConfig, {"workflowFile", "ref"}, "inputs"),
        (WaitForWorkflowConfig, {"runID"}, "expectedConclusion"),
    ],
)
def test_kinds_tell_the_schema_of_their_config(model: Any, required: set[str], optional: str) -> None:
    (kind,) = service.kinds({"a-kind": model}).kinds
    schema = MessageToDict(kind.config_schema)
    assert kind.kind == "a-kind"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (set(schema["required"]), schema["additionalProperties"]) == (required, False)
    assert all(one.get("description") or one["$ref"] for one in schema["properties"].values())
    assert all("default" not in one or one["default"] is not None for one in schema["properties"].values())
    assert optional in schema["properties"]
    assert schema["properties"]["credentials"]["$ref"] == "#/$defs/Credentials"
