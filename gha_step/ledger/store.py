"""What a ledger's store must do. It keeps records; it decides nothing."""

from collections.abc import Iterator
from typing import Protocol

from gha_step.contract.errors import StepError
from gha_step.ledger.record import Record


class Conflict(StepError):
    """The record is no longer of the version that was to be replaced, or exists already.

    The write may still have been our own, applied earlier: only a fresh read tells.
    """


class Store(Protocol):
    """Records by project and key. Every method may raise LedgerUnavailable: then nothing is known of it."""

    def read(self, project: str, key: str) -> Record | None:
        """The newest record, never a stale copy.

        :raises LedgerError: the record is foreign, or of a schema that this version does not know.
        """

    def write(self, record: Record) -> Record:
        """Replace the stored record of exactly ``record.version`` (0: there is none) by ``record``.

        Sent once, never repeated by itself; durable when it returns. Gives the record with its new version.

        :raises Conflict: the stored record has another version.
        :raises LedgerUnavailable: no clear answer; the write may have been applied, now or later.
        """

    def records(self) -> Iterator[Record]:
        """All records, for an operator, newest first."""

    def count_by_state(self) -> dict[str, int]:
        """How many records stand in each state, for the metrics."""
