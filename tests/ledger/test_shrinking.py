"""Old records of a sqlite ledger: what they lose, and that it changes nothing that is decided by them."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gha_step.ledger.attribution import others_of
from gha_step.ledger.duties import Cancellation
from gha_step.ledger.record import FINAL, Record, State
from gha_step.ledger.shrinking import PAGE, Shrinking, shrunk
from gha_step.ledger.sqlite import SqliteStore
from gha_step.ledger.store import Conflict
from gha_step.ledger.transitions import IllegalMove, advance
from gha_step.runtime import ThreadWorkers
from gha_step.steps.dispatch.answers import tell
from tests.ledger.records import ABORT, CANDIDATE, REPORT, TARGET, events, owing, record, run
from tests.support.clock import START, VirtualClock, eventually
from tests.support.process import served

KEEP = 168 * 3600.0
OLD, YOUNG = START - KEEP - 1, START - KEEP + 1
SEEN = tuple(CANDIDATE.model_copy(update={"id": number}) for number in range(1000))
DETAILS: dict[str, Any] = {
    "seen": SEEN,
    "candidates": SEEN,
    "baseline_ids": tuple(range(1000)),
    "listings": 7,
    "created_at": OLD,
    "reason": "x" * 1000,
    "names_promotion": True,
    "trouble_since": 1.0,
    "lost_at": 2.0,
}
AFTER_204: dict[str, Any] = {
    "answered_date": 5.0,
    "floor": 1.0,
    "marker": "gs-" + "a" * 26,
    "marker_input": "gha_step",
}
ENDED = [
    *(pytest.param(record(State.ACCEPTED, run=run(source), **DETAILS), id=source) for source in ("response", "marker")),
    pytest.param(record(State.REJECTED, **DETAILS), id="rejected"),
    *(
        pytest.param(owing(record(State.ACCEPTED, **DETAILS), duty, closed=True, **more), id=f"closed {more}")
        for duty, more in ((REPORT, {}), (ABORT, {"outcome": "succeeded"}))
    ),
    *(
        pytest.param(record(state, **DETAILS, **more), id=f"{state} {'after 204' if more else ''}")
        for state in (State.AMBIGUOUS, State.UNRESOLVED)
        for more in ({}, AFTER_204)
    ),
    pytest.param(record(State.ACCEPTED, **DETAILS).owing(REPORT.model_copy(update={"closed": True})), id="told"),
    pytest.param(
        record(State.ACCEPTED, **DETAILS).owing(
            Cancellation(mode="cancel", secret="github", end="Aborted", outcome="cancelled", closed=True)
        ),
        id="cancelled",
    ),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "ledger.db")) as opened:
        yield opened


class WithoutPauses(ThreadWorkers):
    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return super().join(job, 0.0)


def shrink(store: SqliteStore) -> None:
    Shrinking(store, KEEP, VirtualClock(), WithoutPauses(1, "shrink")).round()


def smaller(ended: Record) -> Record:
    text = shrunk(ended)
    assert text is not None
    assert len(text) < 3000 < len(ended.model_dump_json())
    less = Record.model_validate_json(text)
    assert (less.report, less.abort, less.key_parts) == (ended.report, ended.abort, ended.key_parts)
    return less


@pytest.mark.parametrize("ended", ENDED)
def test_a_shrunk_record_moves_as_the_whole_one_does(ended: Record) -> None:
    def ends(start: Record) -> list[object]:
        return [(to.state, to.run) if (to := _after(start, event)) else None for event in events().values()]

    assert ends(smaller(ended)) == ends(ended)


def _after(start: Record, event: Any) -> Record | None:
    try:
        return advance(start, event)
    except IllegalMove:
        return None


@pytest.mark.parametrize("ended", ENDED)
def test_a_host_that_asks_years_later_hears_the_same_end(ended: Record) -> None:
    whole, small = tell(ended, note=None), tell(smaller(ended), note=None)
    assert (small.status, small.output) == (whole.status, whole.output)
    assert (small.message or "")[:50] == (whole.message or "")[:50]


@pytest.mark.parametrize("ended", ENDED)
def test_others_who_look_for_their_run_learn_the_same_from_it(ended: Record) -> None:
    for floor in (1.0, 1_900_000_000.0):
        mine = record(State.ACCEPTED_WITHOUT_ID, alias="mine", answered_date=floor, floor=floor, sending_at=floor)
        whole, small = others_of(mine, [ended]), others_of(mine, [smaller(ended)])
        assert small == whole


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("made", [OLD, YOUNG])
def test_only_what_is_over_and_old_and_owes_nothing_shrinks(store: SqliteStore, state: State, made: float) -> None:
    one = store.write(record(state, **DETAILS | {"created_at": made, "version": 0}))
    owes = store.write(owing(record(state, alias="owes", **DETAILS | {"created_at": made, "version": 0})))
    shrink(store)
    after = store.read("demo", one.key)
    assert after is not None
    assert (after != one) is (state in FINAL and made == OLD)
    assert (after.key_parts, after.state, after.target, after.run) == (one.key_parts, state, TARGET, one.run)
    assert (after.version != one.version) is (after != one), "another content has another version"
    assert store.read("demo", owes.key) == owes


def test_all_are_found_in_pages_and_one_that_cannot_be_read_stops_nobody(store: SqliteStore, tmp_path: Path) -> None:
    ended = [
        store.write(record(state, alias=f"{state}{number}", version=0, created_at=OLD - number // 2))
        for state in (State.ACCEPTED, State.REJECTED)
        for number in range(PAGE + 1)
    ]
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("UPDATE records SET record = ? WHERE key = ?", ('{"listings":0}', ended[0].key))
        other.execute("UPDATE records SET record = ? WHERE key = ?", ("listings", ended[1].key))
    shrink(store)
    assert sum("listings" in text for text in _texts(tmp_path)) == 2
    before = _texts(tmp_path)
    shrink(store)
    assert _texts(tmp_path) == before, "once is enough"
    assert store.census()[State.ACCEPTED].records == PAGE + 1


def _texts(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "ledger.db")) as other:
        return [text for (text,) in other.execute("SELECT record FROM records ORDER BY key")]


def test_whoever_has_read_it_before_writes_nothing_over_it(store: SqliteStore) -> None:
    one = store.write(record(State.ACCEPTED, run=run("marker"), **DETAILS | {"version": 0}))
    shrink(store)
    with pytest.raises(Conflict):
        store.write(one.model_copy(update={"run": run("response", 8)}))


def test_a_server_shrinks_what_lies_in_its_ledger(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "ledger.db")) as opened:
        opened.write(record(State.ACCEPTED, version=0, created_at=1.0))
    with served(tmp_path) as server:
        eventually(lambda: "listings" not in _texts(tmp_path)[0])
        assert "gha_step_ledger_records" in server.ask(path="/metrics")[1].decode()
