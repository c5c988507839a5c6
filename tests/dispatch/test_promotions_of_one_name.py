"""Callers who know their Promotion by name only: a name that comes again with another UID is another Promotion."""

import threading
from concurrent.futures import wait
from typing import Any, Final

import pytest

from gha_step.contract.request import Caller, Step, StepRequest
from gha_step.contract.result import StepResult
from gha_step.emulator import GitHub, Hold
from gha_step.steps.kind import Underway
from tests.support.calls import config, output
from tests.support.clock import eventually
from tests.support.core import Program
from tests.support.ledger import FaultyStore


def call(program: Program, uid: str) -> StepResult:
    caller = Caller(("demo", "caller", "test.01", "dispatch"), "test.01", uid, proved=True)
    request = StepRequest(caller, step=Step(kind="gha-dispatch-workflow", config=config()))
    outcome: StepResult | Underway = program.steps.execute(request, program.clock.monotonic())
    if isinstance(outcome, StepResult):
        return outcome
    wait([outcome.ready], 10)
    return outcome.answer()


@pytest.mark.parametrize("uid", ["uid-1", ""])
def test_the_same_promotion_gets_its_run_again(program: Program, github: GitHub, uid: str) -> None:
    first = call(program, "uid-1")
    assert output(call(program, uid))["runID"] == output(first)["runID"] == github.runs[0].id
    assert github.count("dispatch") == 1


def test_the_record_of_another_promotion_of_this_name_is_refused_and_named(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    call(program, "uid-1")
    (record,) = store.records()
    result = call(program, "uid-2")
    assert result.status == "Failed"
    for words in (record.key, "'test.01'", "UID uid-1", "uid-2", "nothing is sent"):
        assert words in (result.message or "")
    assert list(store.records()) == [record]
    assert github.count("dispatch") == 1


FORGED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "without a UID": ({"promotion_uid": ""}, "carries no UID of a Promotion"),
    "with another UID": ({"promotion_uid": "uid-0"}, "UID uid-0, this one has uid-1"),
    "of another step": ({"key_parts": ("demo", "caller", "test.01", "other")}, "names another step"),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_record_that_was_made_before_its_promotion_is_not_believed(
    how: str, program: Program, github: GitHub, store: FaultyStore
) -> None:
    """Over REST a key can be worked out before its Promotion exists; a foreign run in it was told as ours."""
    changes, words = FORGED[how]
    call(program, "uid-1")
    (ours,) = store.records()
    forged = ours.model_copy(update={"version": 0, **changes})
    store.forget()
    store.write(forged)
    result = call(program, "uid-1")
    assert result.status == "Failed"
    for said in (words, ours.key, "nothing is sent"):
        assert said in (result.message or "")
    assert result.output.model_dump(exclude_none=True) == {}
    assert github.count("dispatch") == 1


def test_a_dispatch_under_way_is_not_joined_by_another_promotion_of_this_name(program: Program, github: GitHub) -> None:
    held = Hold()
    github.faults.add(held, "dispatch")
    told: list[StepResult] = []
    first = threading.Thread(target=lambda: told.append(call(program, "uid-1")))
    first.start()
    eventually(lambda: program.dispatches.on_the_wire)
    assert call(program, "uid-2").status == "Failed"
    held.release()
    first.join()
    assert told[0].status == "Succeeded"


def test_the_memory_of_another_promotion_of_this_name_is_no_witness(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    call(program, "uid-1")
    store.forget()  # as Kubernetes does when the Promotion is deleted
    assert call(program, "uid-2").status == "Succeeded"
    assert github.count("dispatch") == len(github.runs) == 2
