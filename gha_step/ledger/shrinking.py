"""Removes details from old records in a file, but nothing that later decisions need.

A step that is called again after years gets the same result, and nothing is sent: key, state, target and run stay, and
for a record without a run everything that may still identify its late run. Nothing is deleted.
"""

from concurrent.futures import Future
from typing import Final, NamedTuple, Protocol

from gha_step.contract.errors import LedgerUnavailable
from gha_step.ledger.record import FINAL, Record, State
from gha_step.runtime import Clock, Workers
from gha_step.telemetry import log

EVERY: Final = 3600.0  # seconds
PAUSE: Final = 0.1  # seconds between two pages: others want the file as well
PAGE: Final = 200  # records
STATES: Final = tuple(sorted(FINAL))
_ALWAYS: Final = frozenset(
    {
        *("schema_version", "key", "key_parts", "promotion", "promotion_uid", "version", "state", "created_at"),
        *("target", "inputs_hash", "timeout", "run", "report", "abort"),
    }
)
# The owner's late answer needs the nonce, a late look the marker and the floor; others' looks ask when it was sent.
_WITHOUT_RUN: Final = frozenset(
    {*("nonce", "marker", "marker_input", "floor", "actor", "sending_at", "answered_date"), "candidates", "reason"}
)
_REASON: Final = 100  # characters
_CANDIDATES: Final = 10
DETAIL: Final = '"listings":'  # in the JSON of every record that has not been shrunk, and of no other


class Position(NamedTuple):
    """How far a round has come: what is before it needs no second look."""

    state: int = 0  # of `STATES`
    created: float = -1e300
    key: str = ""


class Shrinkable(Protocol):
    def shrink(self, before: float, position: Position, most: int) -> Position | None:
        """Shrink those of the next ``most`` records that ended and were made before ``before``; None: that was all."""


def shrunk(record: Record) -> str | None:
    """The record without its details, as JSON that every version reads; ``None``: it is not over, or owes something."""
    if not record.final or record.owes:
        return None
    kept = set(_ALWAYS)
    if record.run is None:
        kept |= _WITHOUT_RUN if record.state is not State.REJECTED else {"reason"}
    elif record.run.source != "response":
        kept.add("nonce")
    reason = record.reason and record.reason[:_REASON]
    less = record.model_copy(update={"reason": reason, "candidates": record.candidates[:_CANDIDATES]})
    return less.model_dump_json(include=kept, exclude_none=True)


class Shrinking:
    """Goes through the ledger once an hour.

    :param keep: seconds.
    """

    def __init__(self, store: Shrinkable, keep: float, clock: Clock, workers: Workers) -> None:
        self._store = store
        self._keep = keep
        self._clock = clock
        self._workers = workers
        self._stopped: Future[None] = Future()

    def start(self) -> None:
        self._workers.spawn(self._run)

    def stop(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _run(self) -> None:
        self.round()
        while not self._workers.join(self._stopped, EVERY):
            self.round()

    def round(self) -> None:
        """Once through all."""
        before = self._clock.now() - self._keep
        position = Position()
        try:
            while (following := self._store.shrink(before, position, PAGE)) is not None:
                position = following
                if self._workers.join(self._stopped, PAUSE):
                    return
        except LedgerUnavailable as error:
            log.warning("old ledger records could not be shrunk yet: %s", error)
