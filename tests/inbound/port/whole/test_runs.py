"""From the press to the end: one dispatch, two PATCHes, and what Port is told is true."""

from gha_step.emulator import GitHub
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Port
from tests.support.clock import eventually

from .conftest import Begin

INPUTS = {"environment": "prod", "image_tag": "1.10"}


def test_a_press_is_one_dispatch_and_ends_as_the_workflow_does(begin: Begin, port: Port, github: GitHub) -> None:
    process = begin()
    pressed = port.press("deploy", INPUTS)
    eventually(lambda: github.runs and pressed.link)
    (run,) = github.runs
    assert run.inputs == INPUTS
    run.finish("success")
    eventually(lambda: pressed.status == "SUCCESS")
    eventually(lambda: not list(process.store.owed()))
    assert github.count("dispatch") == 1
    assert pressed.patches_by(EXAMPLE_CLIENT_ID) == 2
    assert pressed.acked_by == [EXAMPLE_CLIENT_ID]
    assert str(run.id) in str(pressed.link)
