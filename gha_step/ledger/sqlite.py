"""The ledger in one sqlite file: for one process on one machine.

One process holds its files for life (`sqlite_files`); sqlite itself stays in normal locking, so that an operator can
read a live ledger. A commit is durable before it is believed (WAL, synchronous=FULL), with one exception: GitHub's own
answer that names the run may be told before it is written, so the disk need not be waited for. Writes that come while
the disk is busy share the next commit.
"""

import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gha_step.contract.errors import LedgerError, LedgerUnavailable
from gha_step.ledger.attribution import concerns
from gha_step.ledger.keys import digest
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import OPEN, Record, State, Target, asked_of, asked_text
from gha_step.ledger.shrinking import DETAIL, STATES, Position, shrunk
from gha_step.ledger.sqlite_files import HeldFiles
from gha_step.ledger.store import Conflict, LedgerUnusable, Standing
from gha_step.telemetry import log

SCHEMA_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE records (
  key     TEXT PRIMARY KEY NOT NULL,
  version INTEGER NOT NULL,
  state   TEXT NOT NULL,
  project TEXT NOT NULL,
  promotion TEXT NOT NULL,
  created REAL NOT NULL,
  record  TEXT NOT NULL
);
CREATE INDEX records_by_promotion ON records (project, promotion);
CREATE TABLE gates (
  target  TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  gate    TEXT NOT NULL
) WITHOUT ROWID;
"""
# One query per index, none over all records. A record that is no JSON has no run, and is refused where it is read.
_WITHOUT_RUN: Final = OPEN | {State.AMBIGUOUS, State.UNRESOLVED}
_PART: Final = "CASE WHEN json_valid(record) THEN json_extract(record, '$.{}') END"
RUN_ID: Final = _PART.format("run.id")
_RUN_INDEX: Final = f"CREATE INDEX IF NOT EXISTS records_by_run ON records ({RUN_ID})"
# How many records are in each state is kept by the database itself, whichever version writes, and not counted. In a
# trigger the conflict clause of the outer statement holds, which is OR IGNORE.
_STANDING_INDEX: Final = """
CREATE INDEX IF NOT EXISTS records_by_standing ON records (state, created);
DROP INDEX IF EXISTS records_by_state;
"""
_STANDING: Final = """
BEGIN IMMEDIATE;
CREATE TABLE standing (state TEXT PRIMARY KEY, records INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO standing SELECT state, count(*) FROM records GROUP BY state;
CREATE TRIGGER record_made AFTER INSERT ON records BEGIN
  INSERT OR IGNORE INTO standing VALUES (new.state, 0);
  UPDATE standing SET records = records + 1 WHERE state = new.state;
END;
CREATE TRIGGER record_moved AFTER UPDATE OF state ON records WHEN old.state <> new.state BEGIN
  INSERT OR IGNORE INTO standing VALUES (new.state, 0);
  UPDATE standing SET records = records + 1 WHERE state = new.state;
  UPDATE standing SET records = records - 1 WHERE state = old.state;
END;
CREATE TRIGGER record_gone AFTER DELETE ON records BEGIN
  UPDATE standing SET records = records - 1 WHERE state = old.state;
END;
COMMIT;
"""
_CENSUS: Final = """
SELECT state, records, (SELECT min(created) FROM records WHERE records.state = standing.state) FROM standing
WHERE records > 0
"""
_REPORT: Final = _PART.format("report.closed")
_ABORT: Final = _PART.format("abort.closed")
_OWED_INDEX: Final = f"""
CREATE INDEX IF NOT EXISTS records_by_duty ON records ({_REPORT}) WHERE {_REPORT} = 0;
CREATE INDEX IF NOT EXISTS records_by_abort ON records ({_ABORT}) WHERE {_ABORT} = 0;
"""
OWED: Final = (f"{_REPORT} = 0", f"{_ABORT} = 0")
_OWED: Final = " UNION ".join(f"SELECT key, version, record FROM records WHERE {owed}" for owed in OWED)  # noqa: S608  constants
_REPLACE: Final = "UPDATE records SET version = ?, state = ?, record = ? WHERE key = ? AND version = ?"
_OLD: Final = """
SELECT created, key FROM records WHERE state = ? AND created < ? AND (created, key) > (?, ?) ORDER BY created, key
LIMIT ?
"""
_OTHERS: Final = f"""
SELECT key, version, record FROM records
WHERE {RUN_ID} IN (SELECT value FROM json_each(?))
UNION SELECT key, version, record FROM records
WHERE project = ? AND promotion = ? AND state NOT IN ('accepted', 'rejected')
UNION SELECT key, version, record FROM records WHERE state IN (SELECT value FROM json_each(?))
"""  # noqa: S608  constants


class _Write:
    """A statement on its way to the disk: what it has changed, or why it may not have been written."""

    __slots__ = ("changed", "durable", "statement", "taken", "trouble", "values")

    def __init__(self, statement: str, values: tuple[object, ...], durable: bool) -> None:
        self.statement = statement
        self.values = values
        self.durable = durable
        self.taken = False
        self.changed = 0
        self.trouble: str | None = None


class SqliteStore:
    """See `gha_step.ledger.store.Store`.

    :param path: the database file; made if it is not there.
    :raises LedgerUnusable: on opening, if another process holds it, it is no ledger, or cannot be written.
    """

    exclusive = True
    keeps_reports = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread_lock = threading.Lock()  # one connection: sqlite's transactions are per connection
        self._session = _Use(self, self._thread_lock)
        self._alone = _Use(self, None)  # by a thread that holds the lock
        self._waiting: deque[_Write] = deque()
        self._synchronous = "FULL"
        self._closed = False
        self._files = HeldFiles(path)
        try:
            self._connection = self._open()
        except BaseException:
            self._files.release()
            raise

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
            (journal,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            if journal != "wal":
                raise LedgerUnusable(
                    f"the ledger {self._path} cannot be kept there, because sqlite cannot write a log: use a file"
                )
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA mmap_size=0")  # a mapped file that is cut off ends the process
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if tables:
                    raise LedgerUnusable(f"{self._path} is a database, but not a ledger: use another path")
                connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
                _sync_directory(self._path)
            elif version != SCHEMA_VERSION:
                raise LedgerUnusable(other_schema(self._path, version))
            else:  # a read-only file or directory opens well enough; only a write tells
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            if "asked" not in [column[1] for column in connection.execute("PRAGMA table_info(records)")]:
                connection.execute("ALTER TABLE records ADD COLUMN asked TEXT")  # earlier versions leave it alone
            connection.executescript(_STANDING_INDEX)
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'standing'").fetchone():
                connection.executescript(_STANDING)
            connection.execute(_RUN_INDEX)
            connection.executescript(_OWED_INDEX)
            self._files.remember()
            self._files.check()
        except (sqlite3.Error, LedgerUnavailable) as error:
            raise LedgerUnusable(f"the ledger {self._path} cannot be used: {error}") from None
        return connection

    def close(self) -> None:
        """Give the files to others. A closed store answers LedgerUnavailable."""
        with self._thread_lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._files.check()
            except LedgerUnavailable as error:
                log.error("%s", error)
                _abandon(self._connection)
                return
            self._connection.close()
            self._files.release()

    def read(self, project: str, key: str) -> Record | None:
        del project  # the key holds it already
        with self._session as connection:
            row = connection.execute("SELECT version, record, asked FROM records WHERE key = ?", (key,)).fetchone()
        return None if row is None else decode(key, *row)

    def write(self, record: Record) -> Record:
        stored = record.model_copy(update={"version": int(record.version) + 1})
        body = stored.model_dump_json(exclude_none=True)
        if record.version == 0:
            changed = self._commit(
                "INSERT OR IGNORE INTO records (key, version, state, project, promotion, created, record, asked) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(record.key, 1, record.state, record.project, record.promotion, record.created_at, body),
                    asked_text(record),
                ),
            )
        else:
            changed = self._commit(
                _REPLACE,
                (stored.version, stored.state, body, record.key, record.version),
                durable=not _may_be_told_unwritten(stored),
            )
        if not changed:
            raise Conflict(f"the ledger record {record.key[:12]} has changed since version {record.version}")
        return stored

    def others(self, record: Record, runs: Collection[int]) -> list[Record]:
        with self._session as connection:
            rows = connection.execute(
                _OTHERS, (json.dumps(sorted(runs)), record.project, record.promotion, json.dumps(sorted(_WITHOUT_RUN)))
            ).fetchall()
        return [other for other in (decode(*row) for row in rows) if concerns(record, other, runs)]

    def read_lease(self, project: str, target: Target) -> Lease:
        with self._session as connection:
            row = connection.execute(
                "SELECT version, gate FROM gates WHERE target = ?", (_gate_key(project, target),)
            ).fetchone()
        if row is None:
            return Lease(project=project, target=target)
        try:
            return Lease.model_validate_json(row[1]).model_copy(update={"version": row[0]})
        except ValidationError:  # it only delays: nothing depends on what it said
            return Lease(project=project, target=target, version=row[0])

    def write_lease(self, gate: Lease) -> Lease:
        stored = gate.model_copy(update={"version": int(gate.version) + 1})
        key, body = _gate_key(gate.project, gate.target), stored.model_dump_json()
        if gate.version == 0:
            changed = self._commit(
                "INSERT OR IGNORE INTO gates (target, version, gate) VALUES (?, ?, ?)", (key, 1, body)
            )
        else:
            changed = self._commit(
                "UPDATE gates SET version = ?, gate = ? WHERE target = ? AND version = ?",
                (stored.version, body, key, gate.version),
            )
        if not changed:
            raise Conflict(f"the gate of {gate.target.repo} has changed since version {gate.version}")
        return stored

    def _commit(self, statement: str, values: tuple[object, ...], *, durable: bool = True) -> int:
        """One statement, whole or not at all; how many rows it changed."""
        mine = _Write(statement, values, durable)
        self._waiting.append(mine)
        with self._thread_lock:  # who gets it first writes for all that wait by then
            if not mine.taken:
                self._write_waiting()
        if mine.trouble is not None:
            raise LedgerUnavailable(mine.trouble)
        return mine.changed

    def _write_waiting(self) -> None:
        batch: list[_Write] = []
        while self._waiting:
            batch.append(self._waiting.popleft())
            batch[-1].taken = True
        try:
            self._transact(batch)
        except BaseException as error:  # one transaction: none of them has a clear answer
            for write in batch:
                write.trouble = f"{error}"
            if not isinstance(error, LedgerUnavailable):
                raise

    def _transact(self, batch: Sequence[_Write]) -> None:
        with self._alone as connection:
            try:
                synchronous = "FULL" if any(write.durable for write in batch) else "NORMAL"
                if synchronous != self._synchronous:
                    connection.execute(f"PRAGMA synchronous={synchronous}")
                    self._synchronous = synchronous
                if len(batch) > 1:
                    connection.execute("BEGIN IMMEDIATE")
                for write in batch:
                    write.changed = connection.execute(write.statement, write.values).rowcount
                if len(batch) > 1:
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._files.remember()

    def records(self) -> Iterator[Record]:
        with self._session as connection:
            rows = connection.execute("SELECT key, version, record FROM records ORDER BY created DESC").fetchall()
        return (decode(*row) for row in rows)

    def owed(self) -> Iterator[Record]:
        with self._session as connection:
            rows = connection.execute(_OWED).fetchall()
        for row in rows:
            try:
                yield decode(*row)
            except LedgerError as error:
                log.error("%s", error)

    def census(self) -> dict[str, Standing]:
        with self._session as connection:
            rows = connection.execute(_CENSUS).fetchall()
        standing = {state: Standing(records, oldest) for state, records, oldest in rows}
        return {state: standing.get(state, Standing()) for state in State}

    def shrink(self, before: float, position: Position, most: int) -> Position | None:
        """See `gha_step.ledger.shrinking.Shrinkable`. It holds one record at a time: one may have a megabyte."""
        wanted = (STATES[position.state], before, position.created, position.key, most)
        with self._session as connection:
            rows = connection.execute(_OLD, wanted).fetchall()
        for _, key in rows:
            self._shrink(key)
        if len(rows) == most:
            return Position(position.state, *rows[-1])
        return Position(position.state + 1) if position.state + 1 < len(STATES) else None

    def _shrink(self, key: str) -> None:
        """A compare-and-set like any other: a record that changes meanwhile stays as it is until the next round."""
        with self._session as connection:
            row = connection.execute("SELECT version, record FROM records WHERE key = ?", (key,)).fetchone()
        if row is None or DETAIL not in row[1]:
            return
        try:
            record = decode(key, row[0] + 1, row[1])
        except LedgerError:
            return
        if (body := shrunk(record)) is not None:  # if the disk loses it, nothing is lost
            self._commit(_REPLACE, (row[0] + 1, record.state, body, key, row[0]), durable=False)

    def opened(self) -> sqlite3.Connection:
        """The connection, to be used by one thread. :raises LedgerUnavailable: it must not be used."""
        if self._closed:
            raise LedgerUnavailable(f"the ledger {self._path} is closed: the server is stopping")
        self._files.check()
        return self._connection

    def cannot_be_used(self, error: sqlite3.Error) -> LedgerUnavailable:
        """What sqlite says, in our words."""
        return LedgerUnavailable(f"the ledger {self._path} cannot be used now: {error}")


class _Use:
    """A store's connection, ``with`` which sqlite's errors are ours. No generator: it is entered with each dispatch.

    :param lock: held meanwhile; ``None``: the caller holds it.
    """

    def __init__(self, store: SqliteStore, lock: "threading.Lock | None") -> None:
        self._store = store
        self._lock = lock

    def __enter__(self) -> sqlite3.Connection:
        if self._lock is None:
            return self._store.opened()
        self._lock.acquire()
        try:
            return self._store.opened()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._lock is not None:
            self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise self._store.cannot_be_used(error) from None


def _may_be_told_unwritten(record: Record) -> bool:
    """Whether nobody waits for the record to be durable: GitHub itself has named the run, and nothing is owed."""
    return (
        record.state is State.ACCEPTED
        and record.run is not None
        and record.run.source == "response"
        and record.duty is None
    )


def other_schema(path: Path, version: int) -> str:
    """Why a ledger of this schema is not read."""
    return (
        f"the ledger {path} has schema {version}, this version of gha-step knows {SCHEMA_VERSION}: use the version "
        "that wrote it, or use another path"
    )


def _gate_key(project: str, target: Target) -> str:
    return digest([project, target.hash])


def decode(key: str, version: int, text: str, asked: str | None = None) -> Record:
    """A row's record. :raises LedgerError: it is none that this version can read."""
    try:
        record = Record.model_validate_json(text)
        if "state" in record.model_fields_set:  # a record without one must not look like one that was never sent
            return record.model_copy(update={"version": version, "asked": asked_of(asked)})
        fields = "state"
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, problem["loc"])) for problem in error.errors()}))
    raise LedgerError(
        f"this version of gha-step cannot read the ledger record {key} ({fields}), so nothing is sent: use the version "
        "that wrote it"
    )


def _abandon(connection: sqlite3.Connection) -> None:
    """Never close a connection whose files are not its own any more.

    Closing would delete the log with the file's name, which may be that of another server by now, and read a
    mapped file that may be cut off. Python closes it as well once nothing refers to it, so something always does.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _sync_directory(path: Path) -> None:
    """Make the new file's name as durable as its content."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
