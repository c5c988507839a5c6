"""What a workflow file declares, whatever it holds, and which inputs GitHub would surely refuse."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.github.messages import Answer
from gha_step.github.workflow_file import MAX_FILE, Unreadable, declared_inputs, file_text, input_problems
from tests.support.rows import each_row


def workflow(inputs: object) -> str:
    return f"on: {{workflow_dispatch: {{inputs: {inputs}}}}}"


def problems(inputs: str, **given_inputs: str) -> list[str]:
    declared = declared_inputs(workflow(inputs))
    assert declared is not None
    return input_problems(declared, given_inputs)


@pytest.mark.parametrize(
    "on", ["workflow_dispatch", "[push, workflow_dispatch]", "{workflow_dispatch: }", "{workflow_dispatch: {inputs: }}"]
)
def test_a_workflow_may_declare_nothing(on: str) -> None:
    assert declared_inputs(f"on: {on}") == ()
    assert declared_inputs(f'"on": {on}') == ()


@pytest.mark.parametrize("nothing", ["", "~", "null", "Null", "NULL", " # none"])
def test_inputs_that_are_nothing_are_none(nothing: str) -> None:
    assert declared_inputs(f"on:\n  workflow_dispatch:\n    inputs: {nothing}\n") == ()
    assert declared_inputs(f"on:\n  workflow_dispatch: {nothing}\n") == ()


@pytest.mark.parametrize(
    "text",
    [
        "on:\t\n  workflow_dispatch:\t\n    inputs:\t\n      a:\t\n        required:\ttrue\t\n",
        "on:\t# triggers\n  workflow_dispatch:\n    inputs:\n      a: {required: true}\t# the one\n",
        'on:\n  workflow_dispatch: {\n\t"inputs": {\n\t\t"a": {\n\t\t\t"required": "true"\n\t\t}\n\t}\n  }\n',
        '{\n\t"on": {\n\t\t"workflow_dispatch": {\n\t\t\t"inputs": {"a":\t{"required": true}}\n\t\t}\n\t}\n}\n',
    ],
)
def test_tabs_are_read_where_github_reads_them(text: str) -> None:
    declared = declared_inputs(text)
    assert declared is not None
    assert input_problems(declared, {}) == ["'a' is required and not given"]


@pytest.mark.parametrize("on", ["push", "[push]", "{push: {branches: [main]}}"])
def test_a_workflow_without_the_trigger_is_told_as_such(on: str) -> None:
    assert declared_inputs(f"on: {on}") is None


@pytest.mark.parametrize(
    ("inputs", "sent", "words"),
    [
        ("{a: {required: true}}", {}, "'a' is required and not given"),
        ("{a: {}}", {"b": "x"}, "'b' is not declared (the workflow declares a)"),
        ("{a: {type: boolean}}", {"a": "yes"}, "'a' is a boolean"),
        ("{a: {type: boolean}}", {"a": ""}, "leave it out (null)"),
        ("{a: {type: number}}", {"a": "ten"}, "'a' must be a number"),
        ("{a: {type: choice, options: [x, y]}}", {"a": "z"}, "'a' must be one of x, y"),
    ],
)
def test_what_github_would_refuse_is_told(inputs: str, sent: dict[str, str], words: str) -> None:
    (problem,) = problems(inputs, **sent)
    assert words in problem


@each_row(
    ("inputs", "sent"),
    [
        ("{a: {required: true, default: x}}", {}),
        ("{Environment: {required: true}}", {"environment": "test"}),
        ("{a: {type: choice, options: [yes, no, on, off]}}", {"a": "yes"}),
        ("{a: {type: choice, options: [true, false]}}", {"a": "true"}),
        ("{a: {type: choice, options: [1.10, 010]}}", {"a": "1.10"}),
        ("{a: {type: choice, options: [1.10, 010]}}", {"a": "1.1"}),
        ("{a: {type: choice, options: [1.10, 010]}}", {"a": "010"}),
        ("{a: {type: choice, options: [1:30, 2026-11-21]}}", {"a": "1:30"}),
        ("{a: {type: choice, options: [[x]]}}", {"a": "z"}),
        ("{no: {}, on: {}}", {"no": "x", "on": "y"}),
        ("{a: {type: [boolean]}}", {"a": "z"}),
        ("{a: hello}", {"a": "z"}),
    ],
)
def test_what_github_may_take_is_not_refused(inputs: str, sent: dict[str, str]) -> None:
    assert problems(inputs, **sent) == []


@each_row(
    "text",
    [
        "",
        "hello",
        "[on]",
        "a: b",
        "on: {workflow_dispatch",
        workflow("[a, b]"),
        workflow("hello"),
        workflow("{? {a: b} : c}"),
        workflow('"\\UFFFFFFFF"'),
        workflow('"\\U00110000"'),
        "on: &a [*a]",
        "[" * 5000,
        "[" * 100_000,
        "- " * 100_000,
        "{? " * 100_000,
        "a: {" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "on: " + "[" * 101 + "]" * 101,
    ],
)
def test_what_is_no_workflow_is_unreadable_and_no_more(text: str) -> None:
    with pytest.raises(Unreadable):
        declared_inputs(text)


@pytest.mark.parametrize("value", ["!!int ''", "!!float ''", "!!bool z", "!!timestamp z", "!!python/name:os.system x"])
def test_a_tag_is_no_trap(value: str) -> None:
    assert declared_inputs(f"on: workflow_dispatch\nx: {value}") == ()


@given(st.text(max_size=200))
def test_no_text_whatever_does_more_than_be_unreadable(text: str) -> None:
    for whole in (text, f"on:\n {text}", f"on:\n workflow_dispatch:\n  inputs: {text}"):
        try:
            declared = declared_inputs(whole)
        except Unreadable:
            continue
        input_problems(declared or (), {"a": "b"})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"message": "Not Found"}),
        (200, []),
        (200, {}),
        (200, {"content": None}),
        (200, {"content": "é"}),
        (200, {"content": base64.b64encode(b"\xff").decode()}),
        (200, {"content": base64.b64encode(b"#" * (MAX_FILE + 1)).decode()}),
    ],
)
def test_an_answer_without_a_text_is_unreadable(status: int, body: Any) -> None:
    with pytest.raises(Unreadable):
        file_text(Answer(status, {}, json.dumps(body).encode()))
