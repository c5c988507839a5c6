"""What the intake keeps, forgets and bounds."""

import logging
from dataclasses import replace

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.contract.request import Asked
from gha_step.emulator import GitHub
from gha_step.emulator.port import Port
from gha_step.inbound.port import intake
from gha_step.inbound.port.intake import Press
from gha_step.inbound.port.messages import PortRun
from gha_step.ledger.record import Record
from tests.support.clock import eventually
from tests.support.ledger import FaultyStore

from .conftest import Begin

INPUTS = {"environment": "prod", "image_tag": "1.10"}
CHOICE = """\
on: {workflow_dispatch: {inputs: {to: {type: choice, options: [test]}}}}
jobs: {}
"""


def run(run_id: str, action: str = "deploy", **inputs: str) -> PortRun:
    return PortRun("run", run_id, action, "myorg", "my-app", "deploy.yml", "main", {**INPUTS, **inputs}, wanted=True)


def test_places_are_counted_by_action_until_the_send_is_decided(
    begin: Begin, github: GitHub, port: Port, store: FaultyStore
) -> None:
    def refuse(record: Record) -> None:
        raise LedgerUnavailable("away")

    store.before_write = refuse
    process = begin(claims=False, places="3")
    door = process.parts.intake
    now = process.clock.monotonic()
    ids = [port.press("deploy", INPUTS).id for _ in range(3)]
    held = [door.take(Press(run(one, f"a{number % 2}"), "claims", now)) for number, one in enumerate(ids)]
    assert (door.free, door.actions()) == (0, {"a0": 2, "a1": 1})
    assert door.holds("run", ids[1])
    process.clock.sleep(20)
    assert not any(one.decided for one in held)
    assert github.runs == []
    store.before_write = lambda record: None
    eventually(lambda: all(one.decided for one in held))
    eventually(lambda: door.free == 3)
    eventually(lambda: not door.holds("run", ids[1]))


def test_a_run_that_comes_again_is_the_one_in_hand_and_its_record_says_that_port_asked(
    begin: Begin, github: GitHub, port: Port, store: FaultyStore
) -> None:
    process = begin(claims=False)
    pressed = port.press("deploy", INPUTS)
    now = process.clock.monotonic()
    door = process.parts.intake
    assert len({id(door.take(Press(run(pressed.id), "claims", now))) for _ in range(3)}) == 1
    eventually(lambda: github.runs)
    for _ in range(3):
        door.take(Press(run(pressed.id), "claims", process.clock.monotonic()))
    eventually(lambda: not door.holds("run", pressed.id))
    assert github.count("dispatch") == 1
    (listed,) = store.records()
    record = store.read(listed.project, listed.key)
    assert record is not None
    assert record.asked == Asked(via="Port")


def test_what_waits_beyond_the_memory_that_is_meant_for_it_is_forgotten_and_comes_again(
    begin: Begin, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_KEPT", 100)
    process = begin(claims=False)
    door = process.parts.intake
    claimed = door.take(Press(run("r_1", note="x" * 200), "claims", None))
    eventually(lambda: claimed.forgotten)
    assert not door.holds("run", "r_1")
    message = door.take(Press(run("r_2", note="x" * 200), "kafka", None))
    eventually(lambda: message.waiting)
    assert door.free == 0
    assert not message.forgotten


def test_what_waits_counts_though_it_has_no_inputs(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_KEPT", 3 * intake.EACH)
    door = begin(claims=False).parts.intake
    bare = [replace(run(f"r_{number}"), inputs={}) for number in range(3)]
    waiting = [door.take(Press(one, "kafka", None)) for one in bare]
    eventually(lambda: all(one.waiting for one in waiting))
    assert door.free == 0


@pytest.mark.parametrize("value", ["tr0ub4dor & <3", "x1", 'p\u00e4ss"w\\ord\n'])
def test_what_was_decrypted_is_in_no_message_though_github_quotes_it(
    begin: Begin, port: Port, github: GitHub, store: FaultyStore, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    caplog.set_level(logging.DEBUG, "gha_step")
    github.repository("myorg/my-app").add_workflow("choice.yml", CHOICE)
    pressed = port.press("deploy", INPUTS)
    asked = replace(run(pressed.id), workflow="choice.yml", inputs={"to": value}, secret=frozenset({"to"}))
    begin(claims=False).parts.intake.take(Press(asked, "kafka", None))
    eventually(lambda: pressed.ended)
    (record,) = store.records()
    said = f"{record.model_dump_json()} {pressed.summary} {pressed.messages} {caplog.text}"
    assert "Provided value '***" in said
    assert value.split()[0] not in said


def test_nothing_is_begun_once_the_process_stops(begin: Begin, github: GitHub) -> None:
    process = begin(claims=False)
    process.stop()
    held = process.parts.intake.take(Press(run("r_1"), "claims", process.clock.monotonic()))
    process.clock.sleep(10)
    assert not held.decided
    assert github.count() == 0


def test_who_waits_hears_of_a_change(begin: Begin, port: Port) -> None:
    process = begin(claims=False)
    pressed = port.press("deploy", INPUTS)
    door = process.parts.intake
    held = door.take(Press(run(pressed.id), "claims", process.clock.monotonic()))
    door.wait(300.0, lambda: held.decided)
    assert held.decided


def test_an_api_server_that_keeps_no_reports_makes_the_process_not_ready(begin: Begin, store: FaultyStore) -> None:
    process = begin()
    assert not process.parts.refused
    store.keeps_reports = False
    assert process.parts.refused
