"""The envelope: what a host sends, and the answers that it can read."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.duration import parse_duration
from gha_step.contract.errors import EnvelopeError
from gha_step.contract.request import StepRequest
from gha_step.contract.result import Link, Remembered, Status, StepResult
from tests.support.calls import body
from tests.support.rows import each_row

SURROGATE = "\ud800"


def without(path: str) -> dict[str, Any]:
    whole = body()
    *parents, last = path.split(".")
    inner = whole
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    return whole


def with_value(path: str, value: object) -> dict[str, Any]:
    whole = body()
    *parents, last = path.split(".")
    inner = whole
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return whole


def problem(request: object) -> str:
    with pytest.raises(EnvelopeError) as caught:
        StepRequest.parse(request)
    return str(caught.value)


@pytest.mark.parametrize(
    "path", ["context", "step", "context.project", "context.promotionUID", "context.alias", "step.kind", "step.config"]
)
def test_a_missing_field_is_named(path: str) -> None:
    assert f"{path}: is required" in problem(without(path))


@each_row("path", ["context.project", "context.promotionUID", "context.alias", "step.kind", "context.promotion"])
@each_row("value", [1, 1.5, True, [], {}, ["a"]])
def test_a_name_that_is_no_string_is_refused_by_its_field(path: str, value: object) -> None:
    assert path in problem(with_value(path, value))


@pytest.mark.parametrize("path", ["context.project", "context.promotionUID", "context.alias", "step.kind"])
def test_an_empty_name_is_refused_by_its_field(path: str) -> None:
    assert f"{path}: must not be empty" in problem(with_value(path, ""))


@each_row("path", ["context", "step", "step.config", "context.sharedState"])
@each_row("value", ["", "{}", 1, True, [], [1]])
def test_what_must_be_an_object_and_is_none_is_refused_by_its_field(path: str, value: object) -> None:
    assert f"{path}: must be an object" in problem(with_value(path, value))


@pytest.mark.parametrize("request_", [None, 1, "x", [], True])
def test_a_body_that_is_no_object_is_refused(request_: object) -> None:
    assert "JSON object" in problem(request_)


def test_all_problems_are_told_at_once() -> None:
    said = problem({"context": {"project": 1, "alias": ""}, "step": {}})
    assert all(name in said for name in ("project", "alias", "promotionUID", "step.kind", "step.config"))


@pytest.mark.parametrize(
    "path",
    [
        "context.project",
        "context.promotionUID",
        "context.alias",
        "step.kind",
        "context.promotion",
    ],
)
def test_a_name_with_half_of_a_surrogate_pair_is_refused_by_its_field(path: str) -> None:
    said = problem(with_value(path, f"a{SURROGATE}"))
    assert path in said
    said.encode()


def test_an_error_repeats_no_value() -> None:
    assert "hunter2" not in problem(with_value("context.project", ["hunter2"]))


@pytest.mark.parametrize("name", ["promotionActor", "uiBaseURL", "workDir", "madeUpTomorrow"])
def test_context_keys_that_are_not_used_are_tolerated(name: str) -> None:
    assert StepRequest.parse(with_value(f"context.{name}", {"anything": [1]})).caller.project == "demo"


def test_step_and_envelope_keys_that_are_not_used_are_tolerated() -> None:
    request = with_value("step.alias", "other")
    request["apiVersion"] = "v2"
    assert StepRequest.parse(request).caller.alias == "dispatch"


@pytest.mark.parametrize("path", ["context.promotion", "context.stage", "context.sharedState"])
def test_what_hosts_leave_out_when_it_is_empty_may_be_missing(path: str) -> None:
    assert StepRequest.parse(without(path)).step.kind == "gha-dispatch-workflow"


@pytest.mark.parametrize("path", ["context.promotion", "context.stage", "context.sharedState"])
def test_null_for_what_go_does_not_have_is_absent(path: str) -> None:
    absent, null = StepRequest.parse(without(path)), StepRequest.parse(with_value(path, None))
    assert absent == null
    assert null.shared_state == absent.shared_state


@pytest.mark.parametrize("path", ["context", "step", "context.project", "context.alias", "step.kind", "step.config"])
def test_null_for_what_has_to_be_there_is_a_missing_field(path: str) -> None:
    assert problem(with_value(path, None)) == f"{path}: is required"


@given(st.dictionaries(st.sampled_from(["context", "step", "x"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["project", "alias", "promotionUID", "kind", "config"]), inner, max_size=5),
    max_leaves=10,
)))  # fmt: skip
def test_no_body_whatever_does_more_than_be_refused(request: dict[str, Any]) -> None:
    try:
        StepRequest.parse(request)
    except EnvelopeError as error:
        str(error).encode()


# ---------------------------------------------------------------- answers


def wire(result: StepResult) -> dict[str, Any]:
    decoded = json.loads(result.to_wire())
    assert isinstance(decoded, dict)
    return decoded


def test_a_running_answer_says_when_to_ask_again_and_is_not_terminal() -> None:
    assert wire(StepResult.running("wait", 2)) == {
        "status": "Running",
        "message": "wait",
        "output": {},
        "retryAfter": "2s",
    }


def test_a_failed_answer_is_terminal_and_has_no_error_to_be_counted() -> None:
    assert wire(StepResult.failed("no")) == {"status": "Failed", "message": "no", "output": {}, "terminal": True}


@given(st.floats(min_value=-1e6, max_value=1e6))
def test_retry_after_is_a_duration_that_is_never_zero_or_negative(seconds: float) -> None:
    retry_after = wire(StepResult.running("wait", seconds))["retryAfter"]
    assert isinstance(retry_after, str)
    assert parse_duration(retry_after) >= 1


def test_a_status_is_one_that_hosts_know() -> None:
    assert {status.value for status in Status} <= {"Running", "Succeeded", "Failed", "Errored", "Aborted", "Skipped"}


def test_links_are_written_as_the_kargo_ui_reads_them() -> None:
    assert Link(url="https://x", label="run").model_dump(by_alias=True) == {
        "url": "https://x",
        "label": "run",
        "icon": "github",
    }


EVIDENCE: Final = {"record": "a" * 64, "target": "b" * 64}
MEMORY: Final = {"runID": 4711, "runIDSource": "response", "url": "https://github.com/o/r", "dispatch": EVIDENCE}
ASKED_AGAIN: Final = StepResult.running("busy", 2.0)


@each_row(
    ("told", "remembered", "kept"),
    [
        (ASKED_AGAIN, MEMORY | {"links": []}, MEMORY),
        (ASKED_AGAIN, MEMORY | {"runID": 4711.0}, MEMORY | {"runID": 4711.0}),
        (ASKED_AGAIN, {"dispatch": EVIDENCE}, {"dispatch": EVIDENCE}),
        (ASKED_AGAIN, None, {}),
        (ASKED_AGAIN, [], {}),
        (ASKED_AGAIN, {"dispatch": None}, {}),
        (ASKED_AGAIN, {"status": "queued"}, {}),
        (ASKED_AGAIN, {"dispatch": EVIDENCE | {"target": "b" * 201}}, {}),
        (ASKED_AGAIN, {"dispatch": EVIDENCE | {"more": {}}}, {}),
        (ASKED_AGAIN, {"dispatch": {str(number): "" for number in range(5)} | EVIDENCE}, {}),
        (ASKED_AGAIN, MEMORY | {"url": "x" * 4_001}, {}),
        (ASKED_AGAIN, MEMORY | {"runID": 10**400}, {}),
        (ASKED_AGAIN, MEMORY | {"runID": True}, {}),
        (ASKED_AGAIN, MEMORY | {"runID": "4711"}, {}),
        (StepResult.failed("another target"), MEMORY, {}),
        (
            StepResult.running("on", 2.0, Remembered(dispatch={"target": "new"})),
            MEMORY,
            {"dispatch": {"target": "new"}},
        ),
    ],
)
def test_what_a_host_remembers_is_given_back_where_nothing_new_is_said(
    told: StepResult, remembered: object, kept: object
) -> None:
    assert told.keeping(remembered).output_to_wire() == kept
