"""What only the ledger in a file can meet: other processes, broken files, full disks."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from gha_step.contract.errors import LedgerError, LedgerUnavailable
from gha_step.contract.request import Asked
from gha_step.ledger import sqlite
from gha_step.ledger.reading import FileReader, Query
from gha_step.ledger.record import Record, Run, State
from gha_step.ledger.sqlite import SqliteStore
from gha_step.ledger.store import Conflict, LedgerUnusable, Standing
from tests.ledger.records import REPORT, TARGET, record
from tests.ledger.store_contract import fresh
from tests.support.clock import LONG, eventually

HOLD = """
import sys
from pathlib import Path
from gha_step.ledger.sqlite import SqliteStore
from tests.ledger.store_contract import fresh
store = SqliteStore(Path(sys.argv[1]))
store.write(fresh())
print("held", flush=True)
sys.stdin.read()
"""
OPEN = """
import os
import sys
from pathlib import Path
from gha_step.ledger.sqlite import SqliteStore
from gha_step.ledger.store import LedgerUnusable
if os.geteuid() == 0:  # root may write everything
    os.setuid(65534)
try:
    SqliteStore(Path(sys.argv[1])).close()
except LedgerUnusable as error:
    print(error)
    sys.exit(2)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def held(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path)) as store:
        yield store


@contextmanager
def another_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Holds the ledger, and has written one record into it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def refusal(path: Path) -> str:
    with pytest.raises(LedgerUnusable) as caught:
        SqliteStore(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- one process only


def test_a_second_opener_in_the_same_process_is_refused(path: Path, held: SqliteStore) -> None:
    held.write(fresh())
    assert "held by another process" in refusal(path)
    assert held.read("demo", fresh().key) is not None


def test_a_process_that_was_killed_leaves_its_records_and_no_lock(path: Path) -> None:
    with another_process(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with closing(SqliteStore(path)) as store:
            assert store.read("demo", fresh().key) == fresh(version=1)


def test_a_refused_file_is_not_kept_locked(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)
    refusal(path)
    path.unlink()
    SqliteStore(path).close()


def test_an_operator_can_read_a_live_ledger(path: Path, held: SqliteStore) -> None:
    stored = held.write(fresh())
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as operator:
        assert operator.execute("SELECT state, version FROM records").fetchall() == [("reserved", 1)]
        held.write(stored)  # and does not hinder it


def test_every_commit_is_durable_before_it_is_believed(path: Path, held: SqliteStore) -> None:
    assert held._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


RUN: Final = Run(id=7, url="https://github.com/o/r/actions/runs/7", source="response")


@pytest.mark.parametrize(
    ("durable", "changes"),
    [
        (True, {"state": State.SENDING}),
        (True, {"state": State.REJECTED}),
        (True, {"state": State.ACCEPTED_WITHOUT_ID}),
        (True, {"state": State.ACCEPTED, "run": RUN.model_copy(update={"source": "marker"})}),
        (True, {"state": State.ACCEPTED, "run": RUN, "report": REPORT, "schema_version": 2}),
        (False, {"state": State.ACCEPTED, "run": RUN}),
    ],
)
def test_only_a_run_that_github_named_is_believed_before_the_disk_has_it(
    held: SqliteStore, changes: dict[str, object], durable: bool
) -> None:
    stored = held.write(fresh())
    stored = held.write(stored.model_copy(update=changes))
    assert held._connection.execute("PRAGMA synchronous").fetchone() == (2 if durable else 1,)
    held.write(fresh("another"))
    assert held._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert held.read("demo", stored.key) == stored


def test_a_shared_commit_waits_for_the_disk_if_one_of_its_writes_asks_for_it(held: SqliteStore) -> None:
    named = [
        held.write(fresh(f"a{number}")).model_copy(update={"state": State.ACCEPTED, "run": RUN}) for number in (1, 2)
    ]
    at_once(held, *named)
    assert held._connection.execute("PRAGMA synchronous").fetchone() == (1,)
    at_once(held, fresh("b"), held.read("demo", named[0].key) or fresh())
    assert held._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def at_once(held: SqliteStore, *records: Record) -> list[Record | Exception]:
    """What becomes of writes that all came while another was being written."""

    def write(record: Record) -> Record | Exception:
        try:
            return held.write(record)
        except (Conflict, LedgerUnavailable) as error:
            return error

    with ThreadPoolExecutor(len(records)) as threads:
        with held._thread_lock:
            written = [threads.submit(write, record) for record in records]
            eventually(lambda: len(held._waiting) == len(records))
        return [one.result(LONG) for one in written]


def test_writes_that_come_while_the_disk_is_busy_share_a_commit_and_only_a_stale_one_fails(held: SqliteStore) -> None:
    told: list[str] = []
    stale = held.write(fresh("stale"))
    held.write(stale)
    held._connection.set_trace_callback(told.append)
    outcomes = at_once(held, *(fresh(f"a{number}") for number in range(8)), stale, fresh("a0"))
    assert told.count("COMMIT") == 1
    assert [type(outcome) for outcome in outcomes[1:8]] == [Record] * 7
    assert isinstance(outcomes[8], Conflict)
    assert sorted(type(outcome).__name__ for outcome in (outcomes[0], outcomes[9])) == ["Conflict", "Record"]
    assert all(held.read("demo", fresh(f"a{number}").key) == fresh(f"a{number}", version=1) for number in range(8))


def test_a_shared_commit_that_fails_has_no_clear_answer_for_any_of_its_keys(path: Path, held: SqliteStore) -> None:
    stored = held.write(fresh())
    large = [fresh(f"a{number}", reason="x" * 100_000) for number in range(3)]
    with full_disk(path):
        outcomes = at_once(held, stored.model_copy(update={"state": State.SENDING}), *large)
        assert [type(outcome) for outcome in outcomes] == [LedgerUnavailable] * 4
        assert held.read("demo", stored.key) == stored
        assert [held.read("demo", record.key) for record in large] == [None] * 3
    assert [type(outcome) for outcome in at_once(held, stored, *large)] == [Record] * 4


# ---------------------------------------------------------------- by whatever name, and whatever others do to it


OTHER_NAMES: Final = ("symlink", "symlinked directory", "hard link", "moved")


def another_name(kind: str, path: Path) -> Path:
    """The database of ``path`` by another name."""
    folder = path.parent / kind
    if kind == "symlinked directory":
        folder.symlink_to(path.parent)
        return folder / path.name
    folder.mkdir()
    other = folder / "other.db"
    match kind:
        case "symlink":
            other.symlink_to(path)
        case "hard link":
            other.hardlink_to(path)
        case "moved":
            path.rename(other)
    return other


def test_another_process_is_refused_by_whatever_name_it_comes(path: Path) -> None:
    with another_process(path):
        assert "held by another process" in refusal(path)
        for kind in OTHER_NAMES:  # the last one takes the file away
            assert "held by another process" in refusal(another_name(kind, path)), kind


def test_a_bind_mount_of_the_file_alone_is_held_like_the_file(path: Path) -> None:
    """What a bind mount is to a process: the same inode under another name that is no link."""
    with another_process(path):
        other = path.parent / "mounted.db"
        other.touch()
        mounted = subprocess.run(["mount", "--bind", path, other], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip("needs the right to mount")
        try:
            assert "held by another process" in refusal(other)
        finally:
            subprocess.run(["umount", other], check=True)


def test_a_hard_link_is_refused_while_nobody_holds_the_ledger(path: Path) -> None:
    SqliteStore(path).close()
    other = another_name("hard link", path)
    assert "2 names (hard links)" in refusal(other)
    other.unlink()
    SqliteStore(path).close()


def test_a_symlink_keeps_log_and_lock_beside_the_file(path: Path) -> None:
    link = path.parent / "link.db"
    link.symlink_to(path)
    with closing(SqliteStore(link)) as store:
        store.write(fresh())
        assert {file.name for file in path.parent.iterdir()} == {
            "link.db", "ledger.db", "ledger.db.lock", "ledger.db-wal", "ledger.db-shm"
        }  # fmt: skip
        link.unlink()
        with pytest.raises(LedgerUnavailable, match=r"link\.db was deleted or moved"):
            store.write(fresh("other"))


def spoil(file: Path, how: str) -> None:
    match how:
        case "deleted":
            file.unlink()
        case "replaced":
            shutil.copy(file, f"{file}.new")
            Path(f"{file}.new").replace(file)
        case "truncated":
            os.truncate(file, 0)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
@pytest.mark.parametrize("how", ["deleted", "replaced", "truncated"])
def test_a_file_that_others_spoil_makes_the_ledger_unavailable_and_is_named(
    how: str, suffix: str, path: Path, held: SqliteStore
) -> None:
    stored = held.write(fresh())
    file = Path(f"{path}{suffix}")
    if (how, suffix) == ("truncated", ".lock"):  # always empty
        return
    spoil(file, how)
    for written in (stored, fresh("other")):
        with pytest.raises(LedgerUnavailable, match=rf"{file} was {how}.*nothing is sent"):
            held.write(written)
    with pytest.raises(LedgerUnavailable, match=rf"{file} was {how}"):
        held.read("demo", stored.key)


def test_a_database_copied_over_in_place_makes_the_ledger_unavailable(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.write(fresh())
    backup = path.read_bytes()
    with closing(SqliteStore(path)) as store:
        store.write(fresh("other"))
        path.write_bytes(backup)
        with pytest.raises(LedgerUnavailable, match="overwritten by another program"):
            store.read("demo", fresh("other").key)


CLOSE_AFTER: Final = """
import os, sys
from pathlib import Path
from gha_step.contract.errors import LedgerUnavailable
from gha_step.ledger.sqlite import SqliteStore
from tests.ledger.store_contract import fresh
path = Path(sys.argv[1])
store = SqliteStore(path)
store.write(fresh())
for file in path.parent.glob("ledger.db*"):
    os.truncate(file, 0) if sys.argv[2] == "truncated" else file.rename(f"{file}.away")
if sys.argv[2] == "moved":
    Path(f"{path}-wal").write_text("another server's log")
try:
    store.write(fresh("other"))
except LedgerUnavailable as error:
    print(error)
store.close()
"""


@pytest.mark.parametrize("how", ["truncated", "moved"])
def test_a_server_whose_files_are_gone_lives_and_takes_nobody_elses_with_it(how: str, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSE_AFTER, str(path), how],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "nothing is sent" in done.stdout
    if how == "moved":
        assert Path(f"{path}-wal").read_text() == "another server's log"


def test_a_checkpoint_of_our_own_is_no_trouble(path: Path, held: SqliteStore) -> None:
    held._connection.execute("PRAGMA wal_autocheckpoint=1")
    for number in range(20):
        held.write(fresh(f"a{number}", reason="x" * 5_000))
    assert held.census()["reserved"].records == 20
    assert path.stat().st_size > 50_000  # checkpoints happened


# ---------------------------------------------------------------- files that cannot serve


def test_what_is_no_file_is_refused_at_once(path: Path) -> None:
    assert "No such file or directory" in refusal(path / "ledger.db")
    os.mkfifo(path)
    assert "is not a file" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "Is a directory" in refusal(path)


@pytest.mark.parametrize("content", [b"garbage" * 500, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refusal(path)
    assert path.read_bytes() == content


def test_a_ledger_cut_off_in_the_middle_is_refused(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.write(fresh())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises((LedgerUnusable, LedgerUnavailable)), closing(SqliteStore(path)) as store:
        store.read("demo", fresh().key)


def test_somebody_elses_database_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE precious (x)")
        other.commit()
    assert "not a ledger" in refusal(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]


@pytest.mark.parametrize("version", [2, 99, -1])
def test_a_ledger_of_another_schema_is_refused_and_left_alone(path: Path, version: int) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version={version}")
    assert f"schema {version}" in refusal(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (version,)


@pytest.mark.parametrize("read_only", ["directory", "files"])
def test_a_ledger_that_cannot_be_written_is_refused(read_only: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "ledger.db"
        SqliteStore(path).close()
        for file in folder.iterdir():
            file.chmod(0o666 if file.suffix == ".lock" and read_only == "files" else 0o444)
        folder.chmod(0o555 if read_only == "directory" else 0o777)
        command = [sys.executable, "-c", OPEN, str(path)]
        opened = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
        folder.chmod(0o777)
        assert (opened.returncode, opened.stderr) == (2, "")
        assert str(path) in opened.stdout


# ---------------------------------------------------------------- trouble while it serves


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file may grow beyond what the ledger's files have now."""
    largest = max(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_makes_the_ledger_unavailable_and_loses_nothing(path: Path, held: SqliteStore) -> None:
    stored = held.write(fresh())
    with full_disk(path):
        with pytest.raises(LedgerUnavailable, match=r"ledger\.db cannot be used now"):
            held.write(stored.model_copy(update={"reason": "x" * 200_000}))
        with pytest.raises(LedgerUnavailable):
            held.write(fresh("another", reason="x" * 200_000))
        assert held.read("demo", stored.key) == stored
    assert held.write(stored).version == 2
    assert held.write(fresh("another")).version == 1


def test_another_writers_transaction_makes_a_write_wait(path: Path, held: SqliteStore) -> None:
    stored = held.write(fresh())
    with closing(sqlite3.connect(path, isolation_level=None)) as operator:
        operator.execute("BEGIN IMMEDIATE")
        held._connection.execute("PRAGMA busy_timeout=50")
        with pytest.raises(LedgerUnavailable, match="locked"):
            held.write(stored)
        operator.execute("ROLLBACK")
    assert held.write(stored).version == 2


@pytest.mark.parametrize("written", ["{", "{}", '{"holder": 1}'])
def test_a_gate_that_cannot_be_read_is_free_and_can_be_taken(path: Path, written: str) -> None:
    store = SqliteStore(path)
    store.write_lease(store.read_lease("demo", TARGET).entered("a"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE gates SET gate = ?", (written,))
    free = store.read_lease("demo", TARGET)
    assert free.holder is None
    assert store.write_lease(free.entered("b")) == store.read_lease("demo", TARGET)
    store.close()


def test_a_closed_ledger_is_unavailable(path: Path) -> None:
    store = SqliteStore(path)
    stored = store.write(fresh())
    store.close()
    for attempt in (
        lambda: store.read("demo", stored.key),
        lambda: store.write(stored),
        lambda: store.others(stored, ()),
        lambda: store.read_lease("demo", stored.target),
        store.records,
        store.census,
    ):
        with pytest.raises(LedgerUnavailable):
            attempt()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", ""),
        ("no json", ""),
        ("", ""),
        ("[]", ""),
        (record().model_copy(update={"key_parts": ()}).model_dump_json(), ""),
        (record().model_dump_json().replace('"schema_version":1', '"schema_version":2'), ""),
        (record().model_dump_json().replace('"state":"reserved",', ""), r"\(state\)"),  # it may have been sent
        (record().model_dump_json().replace('"state":"reserved"', '"state":"invented"'), r"\(state\)"),
        (record().model_dump_json().replace('"timeout":60', '"timeout":60,"invented":1'), ""),
    ],
)
def test_a_record_that_this_version_cannot_read_is_named_and_the_others_go_on(
    path: Path, held: SqliteStore, text: str, why: str
) -> None:
    held.write(fresh())
    other = held.write(fresh("other"))
    with closing(sqlite3.connect(path)) as operator:
        operator.execute("UPDATE records SET record = ? WHERE key = ?", (text, fresh().key))
        operator.commit()
    with pytest.raises(LedgerError, match=f"{fresh().key} .*{why}.*nothing is sent"):
        held.read("demo", fresh().key)
    assert held.read("demo", other.key) == other


def test_a_deleted_table_makes_the_ledger_unavailable_not_the_process(path: Path, held: SqliteStore) -> None:
    with closing(sqlite3.connect(path)) as operator:
        operator.execute("DROP TABLE records")
    with pytest.raises(LedgerUnavailable):
        held.read("demo", "x")


def test_records_are_not_counted_when_somebody_asks_how_many_there_are(held: SqliteStore) -> None:
    plan = held._connection.execute(f"EXPLAIN QUERY PLAN {sqlite._CENSUS}").fetchall()
    assert [row[3] for row in plan] == [
        "SCAN standing",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH records USING COVERING INDEX records_by_standing (state=?)",
    ]


def test_the_number_of_records_follows_every_write(path: Path, held: SqliteStore) -> None:
    def counted() -> dict[str, int]:
        return {state: standing.records for state, standing in held.census().items() if standing.records}

    first = held.write(fresh("a", created_at=5.0))
    held.write(fresh("b", created_at=3.0))
    with pytest.raises(Conflict):
        held.write(fresh("b", created_at=1.0))
    assert held.census()["reserved"] == Standing(2, 3.0)
    moved = held.write(first.model_copy(update={"state": State.SENDING}))
    assert counted() == {"reserved": 1, "sending": 1}
    held.write(moved.model_copy(update={"reason": "x"}))
    with pytest.raises(Conflict):
        held.write(first.model_copy(update={"state": State.REJECTED}))
    assert counted() == {"reserved": 1, "sending": 1}
    with closing(sqlite3.connect(path)) as operator:
        operator.execute("DELETE FROM records WHERE state = 'reserved'")
        operator.commit()
    assert counted() == {"sending": 1}


def test_a_ledger_of_a_version_that_did_not_keep_who_asked_is_read_and_written(path: Path) -> None:
    store = SqliteStore(path)
    older = store.write(fresh())
    store.close()
    with closing(sqlite3.connect(path)) as earlier:
        earlier.execute("ALTER TABLE records DROP COLUMN asked")
    assert list(FileReader(path).newest(Query(), 0, None)) == [older]
    store = SqliteStore(path)
    assert store.read("demo", older.key) == older
    asked = Asked("email:a@example.com")
    newer = store.write(fresh("other", asked=asked))
    assert store.read("demo", newer.key) == newer
    store.close()
    with closing(sqlite3.connect(path)) as earlier:  # as every version before writes
        earlier.execute(
            "INSERT INTO records (key, version, state, project, promotion, created, record) "
            "SELECT 'k', version, state, project, promotion, created, record FROM records WHERE key = ?",
            (older.key,),
        )
        assert earlier.execute("PRAGMA user_version").fetchone() == (1,)
        earlier.commit()


def test_a_ledger_of_0_1_0_gets_the_index_that_counting_reads(path: Path) -> None:
    store = SqliteStore(path)
    store.write(fresh())
    store.close()
    with closing(sqlite3.connect(path)) as older:
        for trigger in ("record_made", "record_moved", "record_gone"):
            older.execute(f"DROP TRIGGER {trigger}")
        older.executescript(
            "DROP TABLE standing; DROP INDEX records_by_standing; CREATE INDEX records_by_state ON records (state);"
        )
    store = SqliteStore(path)
    assert store.census()["reserved"].records == 1
    store.write(fresh("other"))
    assert store.census()["reserved"].records == 2
    store.close()
    with closing(sqlite3.connect(path)) as now:
        names = {name for (name,) in now.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert "records_by_standing" in names
    assert "records_by_state" not in names
