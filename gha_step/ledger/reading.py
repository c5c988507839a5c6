"""What an operator's commands need from a ledger, and reading a sqlite ledger for them while a server uses it.

Nothing here holds more than one record and a page of keys, because a ledger may have hundreds of thousands of records.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from gha_step.contract.errors import LedgerError, StepError
from gha_step.ledger.keys import step_key
from gha_step.ledger.record import SAID_KEY, Record, State
from gha_step.ledger.sqlite import OWED, RUN_ID, SCHEMA_VERSION, decode, other_schema
from gha_step.ledger.store import LedgerUnusable

PAGE: Final = 1000  # keys
MOST_NAMED: Final = 1000  # records of one name
_WORKFLOW: Final = "CASE WHEN json_valid(record) THEN json_extract(record, '$.target.workflow') END"
_LATEST: Final = (1e300, "")


class Query(NamedTuple):
    """Which records. ``since``, ``before``: when they were made, seconds since the epoch."""

    project: str | None = None
    states: frozenset[str] = frozenset(State)
    owing: frozenset[str] = frozenset()  # states of which those count that owe something
    since: float | None = None
    before: float | None = None
    workflow: tuple[str, bool] | None = None  # whether the target's is this one or not

    def has(self, record: Record) -> bool:
        """Whether it is one of them."""
        return (
            (self.project is None or record.project == self.project)
            and (record.state in self.states or (record.owes and record.state in self.owing))
            and (self.since is None or record.created_at >= self.since)
            and (self.before is None or record.created_at < self.before)
            and (self.workflow is None or (record.target.workflow == self.workflow[0]) is self.workflow[1])
        )


class Reader(Protocol):
    """A ledger as an operator reads it."""

    @property
    def unreadable(self) -> list[str]:
        """Why records were left out so far."""

    def newest(self, query: Query, skip: int, most: int | None) -> Iterator[Record]:
        """Those of the query, newest first, without the first ``skip``; at most ``most``."""

    def named(self, which: str) -> list[Record]:
        """Those of a Promotion, a --key or a run's ID, or whose key begins so; and perhaps some others."""


class FileReader:
    """One file. See `Reader`.

    It takes no lock, and neither makes nor changes a file. Not for the process that holds the ledger: closing any
    descriptor of the file drops sqlite's own locks there.

    :raises LedgerUnusable: on use, there is no ledger that can be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.unreadable: list[str] = []

    def newest(self, query: Query, skip: int, most: int | None) -> Iterator[Record]:
        end = None if most is None else skip + most
        return self.fetch(key for _, key in islice(self.places(query), skip, end))

    def named(self, which: str) -> list[Record]:
        run = int(which) if which.isascii() and which.isdecimal() and len(which) < 19 else -1
        prefix = which.lower()
        ways = (
            ("promotion = ?", (which,)),
            (f"{RUN_ID} = ?", (run,)),
            ("state = 'rejected' AND instr(record, ?)", (_cancelling(which),)),
            ("key >= ? AND key < ?", (prefix, prefix + "\N{DELETE}")),
        )
        with self._opened() as connection:
            # No --key is empty or holds what cannot be printed.
            projects = connection.execute("SELECT DISTINCT project FROM records LIMIT ?", (MOST_NAMED,))
            said = which != "" and which.isprintable()
            keys = {step_key(project, SAID_KEY, which): None for (project,) in projects if said}
            for where, values in ways:
                asked = f"SELECT key FROM records WHERE {where} ORDER BY created DESC LIMIT ?"  # noqa: S608  constants
                keys |= dict.fromkeys(key for (key,) in connection.execute(asked, (*values, MOST_NAMED)))
        return list(self.fetch(keys))

    def places(self, query: Query) -> Iterator[tuple[float, str]]:
        """When each record was made, and its key; newest first. Nothing is kept open while somebody prints them."""
        with self._opened() as connection:
            there = [state for (state,) in connection.execute("SELECT DISTINCT state FROM records")]
        if not query.states >= set(State):  # else also what only another version knows
            there = [state for state in there if state in query.states]
        parts = [self._part(query, "state = ?", state) for state in there]
        for state in query.owing:  # by the index of what is owed
            parts += [self._part(query, f"{owed} AND +state = ?", state) for owed in OWED]
        return heapq.merge(*parts, reverse=True)

    def _part(self, query: Query, where: str, state: str) -> Iterator[tuple[float, str]]:
        values: list[object] = [state]
        for term, value in (("project =", query.project), ("created >=", query.since), ("created <", query.before)):
            if value is not None:
                where += f" AND {term} ?"
                values.append(value)
        if query.workflow is not None:
            where += f" AND ({_WORKFLOW} = ?) = ?"
            values += query.workflow
        where += " AND (created, key) < (?, ?) ORDER BY created DESC, key DESC LIMIT ?"
        last = _LATEST
        while True:
            with self._opened() as connection:
                asked = f"SELECT created, key FROM records WHERE {where}"  # noqa: S608  constants
                page = connection.execute(asked, (*values, *last, PAGE)).fetchall()
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]

    def fetch(self, keys: Iterable[str]) -> Iterator[Record]:
        """The records, each read when it is asked for; what cannot be read is left out."""
        with self._opened() as connection:
            known = [column[1] for column in connection.execute("PRAGMA table_info(records)")]
            asked = "asked" if "asked" in known else "NULL"  # as an earlier version has made it
            one = f"SELECT key, version, record, {asked} FROM records WHERE key = ?"  # noqa: S608  a constant
            for key in keys:
                row = connection.execute(one, (key,)).fetchone()
                try:
                    if row is not None:
                        yield decode(*row)
                except LedgerError as error:
                    self.unreadable.append(str(error))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        path = self._path
        try:
            path.open("rb").close()
        except OSError as error:
            raise LedgerUnusable(f"the ledger {path} cannot be read ({error.strerror}): use another path") from None
        # Without a log beside it nobody has the file open, and sqlite would make one, perhaps of another owner.
        mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=5.0)) as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    raise LedgerUnusable(f"{path} is a database, but not a ledger: use another path")
                if version != SCHEMA_VERSION:
                    raise LedgerUnusable(other_schema(path, version))
                yield connection
        except sqlite3.Error as error:
            raise LedgerUnusable(f"the ledger {path} cannot be read: {error}") from None


class FileReaders:
    """Several files, of which one that cannot be read is no reason not to read the others. See `Reader`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._readers = [FileReader(path) for path in paths]
        self._unusable: list[str] = []

    @property
    def unreadable(self) -> list[str]:
        return [*self._unusable, *(line for reader in self._readers for line in reader.unreadable)]

    def newest(self, query: Query, skip: int, most: int | None) -> Iterator[Record]:
        end = None if most is None else skip + most
        places = ((*place, n) for n, reader in enumerate(self._readers) for place in self._places(reader, query, end))
        ordered = sorted(places, reverse=True) if end is None else heapq.nlargest(end, places)
        for n, keys in groupby(ordered[skip:], key=lambda place: place[2]):
            yield from self._readers[n].fetch(key for _, key, _ in keys)

    def _places(self, reader: FileReader, query: Query, most: int | None) -> Iterator[tuple[float, str]]:
        try:
            yield from islice(reader.places(query), most)
        except StepError as error:
            self._unusable.append(str(error))

    def named(self, which: str) -> list[Record]:
        found: list[Record] = []
        for reader in self._readers:
            try:
                found += reader.named(which)
            except StepError as error:
                self._unusable.append(str(error))
        return sorted(found, key=lambda record: -record.created_at)[:MOST_NAMED]


class KubernetesReader:
    """See `gha_step.ledger.reading.Reader`. It holds what it gives and a page, unless all are asked for.

    :param readable: gives all records in no order, page by page, and notes why others cannot be read.
    """

    def __init__(self, readable: Callable[[list[str]], Iterator[Record]]) -> None:
        self._readable = readable
        self.unreadable: list[str] = []

    def newest(self, query: Query, skip: int, most: int | None) -> Iterator[Record]:
        wanted = filter(query.has, self._readable(self.unreadable))
        if most is None:
            return iter(sorted(wanted, key=_age))
        return iter(heapq.nsmallest(skip + most, wanted, key=_age)[skip:])

    def named(self, which: str) -> list[Record]:
        found = (
            one
            for one in self._readable(self.unreadable)
            if which in (one.promotion, one.said_key, one.run and str(one.run.id))
            or (one.reason or "").endswith(_cancelling(which))
            or one.key.startswith(which.lower())
        )
        return heapq.nsmallest(MOST_NAMED, found, key=_age)


def _cancelling(run: str) -> str:
    """How the reason of a cancel's record ends; whoever shows it looks closer."""
    return f" of run {run}"


def _age(record: Record) -> float:
    return -record.created_at
