"""What no record can hold is refused by name before anything is sent; what a store refuses is written shorter."""

import gc
from typing import Any

import pytest

from gha_step.emulator import GitHub
from gha_step.ledger.record import Record, State
from gha_step.ledger.store import RecordRefused
from gha_step.steps.kind import BUSY
from tests.support.calls import INPUTS, config
from tests.support.core import Program, Start
from tests.support.ledger import FaultyStore

LONG = "x" * 2049


@pytest.mark.parametrize(
    ("name", "context", "fields"),
    [
        ("context.alias", {"alias": LONG}, {}),
        ("context.promotion", {"promotion": LONG}, {}),
        ("context.promotionUID", {"promotionUID": LONG}, {}),
        ("config.ref", {}, {"ref": LONG}),
        ("config.workflowFile", {}, {"workflowFile": f"{LONG}.yml"}),
        ("config.owner", {}, {"owner": LONG}),
        ("config.repo", {}, {"repo": LONG}),
        ("config.owner and config.repo", {}, {"owner": "x" * 2000, "repo": "y" * 100}),
        ("config.correlationInput", {}, {"correlationInput": LONG}),
    ],
)
def test_a_name_that_no_record_can_hold_fails_the_step_before_anything_is_sent(
    program: Program, github: GitHub, store: FaultyStore, name: str, context: dict[str, Any], fields: dict[str, Any]
) -> None:
    result = program.call(config(**fields), **context)
    assert result.status == "Failed"
    assert f"{name}: has 2" in (result.message or "")
    assert "the maximum is 2048" in (result.message or "")
    assert LONG not in (result.message or "")
    assert github.count() == 0
    assert list(store.records()) == []


def test_where_the_inputs_of_others_take_all_the_room_nothing_is_begun_and_the_room_is_free_again_with_the_call(
    monkeypatch: pytest.MonkeyPatch, process: Start, github: GitHub, store: FaultyStore
) -> None:
    monkeypatch.setattr("gha_step.steps.dispatch.step.INPUTS", 40_000)
    program = process()
    result = program.call(config(inputs={"x": "y" * 20_000}))
    assert (result.status, result.message) == (BUSY.status, BUSY.message)
    assert github.count() == 0
    assert list(store.records()) == []
    gc.disable()
    try:
        for number in range(5):
            result = program.follow(config(inputs=INPUTS | {"environment": "y" * 10_000}), promotionUID=f"uid-{number}")
            assert result.status == "Succeeded"
    finally:
        gc.enable()
    assert len(github.runs) == 5


def test_a_record_that_the_store_refuses_is_written_without_what_is_optional(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    """Too large, by an older definition: that is no outage, and evidence is not thrown away for it."""

    def picky(record: Record) -> None:
        if record.reason is not None and len(record.reason) > 100:
            raise RecordRefused("the API server does not take this: too long")

    store.before_write = picky
    github.faults.add(_refusal("w" * 400), "dispatch", times=None)
    assert program.follow().status == "Failed"
    (record,) = store.records()
    assert record.state is State.REJECTED
    assert record.reason is not None
    assert len(record.reason) == 100


def _refusal(words: str) -> Any:
    from gha_step.emulator import Answer, Response

    return Answer(Response.of(422, {"message": words}))


def test_what_the_store_refuses_for_good_keeps_no_thread_and_is_told(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    """Each repetition would hold a thread, and a connection to the API server, that others wait for."""
    writes = []

    def refuse(record: Record) -> None:
        if record.state is State.ACCEPTED:
            writes.append(record)
            raise RecordRefused("the API server does not take this")

    store.before_write = refuse
    assert program.call().status == "Succeeded"
    program.close()
    assert 1 <= len(writes) <= 2
    assert github.count("dispatch") == 1
