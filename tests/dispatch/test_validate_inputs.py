"""`validateInputs`: one request more, nothing sent where the file says so, and a warning where it says nothing."""

import base64
from typing import Final

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, Answer, GitHub, Reset, Response, bad_gateway
from gha_step.emulator.faults import Fault
from tests.support.calls import config
from tests.support.core import Program

CONTENTS: Final = "get-contents"
ASKED = config(validateInputs=True)


def file(text: str) -> Answer:
    content = base64.b64encode(text.encode()).decode()
    return Answer(Response.of(200, {"content": content, "encoding": "base64"}))


def test_inputs_that_fit_are_dispatched_after_one_more_request(program: Program, github: GitHub) -> None:
    result = program.follow(ASKED)
    assert result.status == "Succeeded"
    assert "not validated" not in str(result.message)
    assert (github.count(CONTENTS), github.count("dispatch")) == (1, 1)


def test_inputs_that_do_not_fit_are_never_sent(program: Program, github: GitHub) -> None:
    result = program.follow(config(validateInputs=True, inputs={"environment": "test", "colour": "red"}))
    assert result.status == "Failed"
    assert "'colour' is not declared" in str(result.message)
    assert "'image_tag' is required" in str(result.message)
    assert github.count("dispatch") == 0


@pytest.mark.parametrize(
    "fault",
    [
        Reset(),
        bad_gateway("before"),
        Answer(Response.of(403, {"message": "Resource not accessible by personal access token"})),
        Answer(Response.of(200, [{"name": "deploy.yml"}])),
        file("on: [workflow_dispatch"),
        file("on: {workflow_dispatch: {inputs: [environment, image_tag]}}"),
        file('on: push\nx: "\\UFFFFFFFF"'),
    ],
)
def test_what_cannot_be_read_is_a_warning(program: Program, github: GitHub, fault: Fault) -> None:
    github.faults.add(fault, CONTENTS)
    result = program.follow(ASKED)
    assert result.status == "Succeeded", result
    assert "The inputs were not validated" in str(result.message)
    assert github.count("dispatch") == 1


def test_what_a_file_holds_neither_breaks_nor_floods_a_message(program: Program, github: GitHub) -> None:
    names = ", ".join(f"input{number}: {{required: true}}" for number in range(3000))
    declared = rf'{{"\x07": {{required: true}}, {names}}}'
    github.faults.add(file(f"on: {{workflow_dispatch: {{inputs: {declared}}}}}"), CONTENTS)
    result = program.follow(ASKED)
    assert result.status == "Failed"
    assert "'environment' is not declared" in str(result.message)
    assert len(result.to_wire()) < 2000
    assert github.count("dispatch") == 0


def test_a_file_that_holds_our_token_shows_it_nowhere(program: Program, github: GitHub) -> None:
    declared = f'{{"{EXAMPLE_TOKEN}": {{required: true}}}}'
    github.faults.add(file(f"on: {{workflow_dispatch: {{inputs: {declared}}}}}"), CONTENTS)
    result = program.follow(ASKED)
    assert result.message
    assert EXAMPLE_TOKEN not in result.to_wire().decode()
