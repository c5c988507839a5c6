"""The interface of a ledger's store. A store keeps records; it decides nothing."""

from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

from gha_step.contract.errors import LedgerUnavailable, StepError
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import Record, Target


class Conflict(StepError):
    """The record is no longer of the version that was to be replaced, or exists already.

    The write may still have been our own, applied earlier: only a fresh read tells.
    """


class TooMany(StepError):
    """There are more records that might decide than one decision reads."""


class RecordRefused(LedgerUnavailable):
    """The store does not take this content, too large for example, and has not applied it; it may take less."""


class LedgerUnusable(StepError):
    """No ledger can be kept, or read, there; the message names the place and the fix."""


class LedgerHeld(LedgerUnusable):
    """Another process holds the ledger; it may let go."""


class Standing(NamedTuple):
    """The records in one state: how many, and when the oldest was made (seconds since the epoch; ``None``: none)."""

    records: int = 0
    oldest: float | None = None


class Store(Protocol):
    """Records by project and key, gates by target. After LedgerUnavailable nothing is known of the request."""

    exclusive: bool
    """Whether no other process can hold this ledger: then every other owner is known to be gone."""
    keeps_reports: bool
    """Whether the last record with a report was taken: an earlier CustomResourceDefinition knows none."""

    def read(self, project: str, key: str) -> Record | None:
        """The newest record, never a stale copy.

        :raises LedgerError: the record is foreign, or of a schema that this version does not know.
        """

    def write(self, record: Record) -> Record:
        """Replace the stored record of exactly ``record.version`` (0: there is none) by ``record``.

        Sent once, never repeated by itself; durable when it returns, but for a run that GitHub itself has named, which
        may be told before. Gives the record with its new version, which another content never has.

        :raises Conflict: the stored record has another version.
        :raises RecordRefused: the store does not take this content.
        :raises LedgerUnavailable: no clear answer; the write may have been applied, now or later.
        """

    def others(self, record: Record, runs: Collection[int]) -> list[Record]:
        """The records of other keys that concern ``record``, where a listing shows ``runs``.

        See `gha_step.ledger.attribution.concerns`, for which alone they serve: they may lack what it does not ask. Of
        the whole ledger, as far as this process may read it.

        :raises TooMany: the project has more than are read; those of others count as strangers' then.
        """

    def read_lease(self, project: str, target: Target) -> Lease:
        """The gate of a target; an empty one if there is none (version 0), or what is there cannot be read."""

    def write_lease(self, gate: Lease) -> Lease:
        """Compare-and-set, as :meth:`write` does with records."""

    def records(self) -> Iterator[Record]:
        """All records, for an operator, newest first."""

    def owed(self) -> Iterator[Record]:
        """The records that owe something, in any order; the cost does not grow with those that owe nothing.

        A record that cannot be read is left out, and logged.
        """

    def close(self) -> None:
        """Let go of it. A closed store answers LedgerUnavailable; closing it again does nothing."""

    def census(self) -> dict[str, Standing]:
        """What stands in each state, for the metrics."""
