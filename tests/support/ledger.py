"""A ledger that a test can make fail."""

from collections.abc import Callable, Collection, Iterator

from gha_step.ledger.lease import Lease
from gha_step.ledger.record import Record, Target
from gha_step.ledger.sqlite import SqliteStore
from gha_step.ledger.store import Standing, Store


class FaultyStore:
    """A store whose reads and writes pass through hooks, which may raise before or after the real one."""

    exclusive = True
    keeps_reports = True

    def __init__(self, real: Store) -> None:
        self.real = real
        self.exclusive = real.exclusive
        self.before_read: Callable[[], None] = lambda: None
        self.before_write: Callable[[Record], None] = lambda record: None
        self.after_write: Callable[[Record], None] = lambda record: None
        self.before_others: Callable[[], None] = lambda: None
        self.before_lease: Callable[[], None] = lambda: None  # before it is written

    def only(self) -> Record:
        """The one record there is, read without a hook."""
        (found,) = self.real.records()
        return found

    def forget(self) -> None:
        """Somebody deletes the records."""
        self._execute("DELETE FROM records")

    def rewrite(self, old: str, new: str) -> None:
        """The records' JSON becomes what another version of gha-step has written."""
        self._execute("UPDATE records SET record = replace(record, ?, ?)", old, new)

    def _execute(self, statement: str, *values: str) -> None:
        assert isinstance(self.real, SqliteStore)
        self.real._connection.execute(statement, values)

    def read(self, project: str, key: str) -> Record | None:
        self.before_read()
        return self.real.read(project, key)

    def write(self, record: Record) -> Record:
        self.before_write(record)
        stored = self.real.write(record)
        self.after_write(record)
        return stored

    def close(self) -> None:
        self.real.close()

    def others(self, record: Record, runs: Collection[int]) -> list[Record]:
        self.before_others()
        return self.real.others(record, runs)

    def read_lease(self, project: str, target: Target) -> Lease:
        return self.real.read_lease(project, target)

    def write_lease(self, gate: Lease) -> Lease:
        self.before_lease()
        return self.real.write_lease(gate)

    def records(self) -> Iterator[Record]:
        return self.real.records()

    def owed(self) -> Iterator[Record]:
        return self.real.owed()

    def census(self) -> dict[str, Standing]:
        return self.real.census()
