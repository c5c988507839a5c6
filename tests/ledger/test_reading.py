"""A ledger as an operator reads it: what is asked for, in order, in pages, whichever store keeps it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from gha_step import ledger_report as report
from gha_step.ledger.reading import PAGE, FileReader, FileReaders, KubernetesReader, Query, Reader
from gha_step.ledger.record import FINAL, Record, State
from gha_step.ledger.sqlite import SqliteStore
from tests.ledger.records import owing, record

NOW = 1_700_100_000.0
COUNT = PAGE * 7 // 5


@pytest.fixture(scope="module")
def made() -> list[Record]:
    """Records of all states and two projects, some made in the same second, newest first."""
    records = [
        record(
            ([*State] + [State.ACCEPTED] * 24)[number % 32],  # of one state more than a page
            alias=f"a{number}",
            created_at=NOW - 7 * (number // 3),
            key_parts=(f"project-{number % 2}", "uid-1", f"a{number}"),
        )
        for number in range(COUNT)
    ]
    records = [owing(one) if number % 50 == 0 else one for number, one in enumerate(records)]
    return sorted(records, key=lambda one: (one.created_at, one.key), reverse=True)


@pytest.fixture(scope="module", params=["one file", "many files", "kubernetes"])
def reader(request: pytest.FixtureRequest, made: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Reader:
    if request.param == "kubernetes":
        return KubernetesReader(lambda _: iter(sorted(made, key=lambda one: one.key)))
    folder = tmp_path_factory.mktemp("ledgers")
    paths = [folder / f"{number}.db" for number in range(3 if request.param == "many files" else 1)]
    for number, path in enumerate(paths):
        fill(path, made[number :: len(paths)])
    return FileReader(paths[0]) if len(paths) == 1 else FileReaders(paths)


def fill(path: Path, records: list[Record]) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO records (key, version, state, project, promotion, created, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (one.key, 3, one.state, one.project, one.promotion, one.created_at, one.model_dump_json())
                for one in records
            ],
        )


def keys(records: Iterator[Record]) -> set[str]:
    return {one.key for one in records}


QUERIES = [
    Query(),
    report.wanted(NOW, open_only=True),
    report.wanted(NOW, open_only=True, state="accepted"),
    report.wanted(NOW, stuck_only=True),
    report.wanted(NOW, state="unknown", project="project-1", since=NOW - 1000),
    report.wanted(NOW, project="nobody"),
]


@pytest.mark.parametrize("query", QUERIES)
def test_all_that_are_asked_for_come_once_and_newest_first(reader: Reader, made: list[Record], query: Query) -> None:
    found = list(reader.newest(query, 0, None))
    assert [one.created_at for one in found] == sorted((one.created_at for one in found), reverse=True)
    assert sorted(one.key for one in found) == sorted(one.key for one in made if query.has(one))


@pytest.mark.parametrize("query", QUERIES[:2])
def test_pages_are_the_whole_in_pieces(reader: Reader, query: Query) -> None:
    whole = list(reader.newest(query, 0, None))
    for skip, most in ((0, 3), (PAGE - 1, 2), (len(whole) - 1, 5), (len(whole), 5)):
        assert list(reader.newest(query, skip, most)) == whole[skip : skip + most]


def test_what_comes_is_read_when_it_is_asked_for(made: list[Record], tmp_path: Path) -> None:
    """A page that somebody looks at holds neither the file's log nor memory for all others."""
    fill(tmp_path / "ledger.db", made)
    with closing(SqliteStore(tmp_path / "ledger.db")) as held:
        coming = FileReader(tmp_path / "ledger.db").newest(Query(), 0, None)
        next(coming)
        held.write(record(alias="meanwhile", version=0))
        assert held._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0, "the reader holds the log"
        assert len(list(coming)) == COUNT - 1


def test_one_is_found_by_its_promotion_its_run_and_its_key(reader: Reader, made: list[Record]) -> None:
    assert len(reader.named("test.01abc")) == min(COUNT, 1000) if not isinstance(reader, FileReaders) else True
    assert keys(iter(reader.named("7"))) >= {one.key for one in islice(made, 1000) if one.key.startswith("7")}
    one = made[COUNT // 2]
    assert [found.key for found in reader.named(one.key[:20].upper())] == [one.key]
    assert reader.named("nothing") == []


def test_a_state_to_come_is_told_by_whoever_asks_for_all(tmp_path: Path) -> None:
    fill(tmp_path / "ledger.db", [record()])
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database, database:
        database.execute("UPDATE records SET state = 'new', record = replace(record, 'reserved', 'new')")
    reader = FileReader(tmp_path / "ledger.db")
    assert list(reader.newest(Query(), 0, None)) == []
    assert len(reader.unreadable) == 1
    assert not list(reader.newest(Query(states=FINAL), 0, None))
