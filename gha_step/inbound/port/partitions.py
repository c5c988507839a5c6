"""How far each partition of the topic may be committed, and which messages have to come again. Pure.

Runs of one partition go on side by side, so their messages are decided in any order; what may be committed is the
highest offset below which all are decided. A partition's book lives as long as its assignment: what is decided for an
earlier one counts no more, because somebody else may have read the message since.

Source: port.md rule 3.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

MOST_AHEAD: Final = 10_000  # messages behind the first that is undecided: then nothing more is read of a partition


@dataclass(frozen=True)
class Place:
    """A message's place in its partition, during one assignment of it."""

    partition: int
    offset: int
    assignment: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass
class _Book:
    assignment: int
    end: int | None = None  # one more than the highest offset that was read
    position: int = 0  # the offset that comes next, at the lowest
    undecided: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)  # of the undecided: forgotten, and to be read once more
    committed: int | None = None

    @property
    def decided_below(self) -> int | None:
        return min(self.undecided, default=self.end)


class Partitions:
    """The books of all partitions that this process has. Its owner uses it from one thread."""

    def __init__(self) -> None:
        self._books: dict[int, _Book] = {}
        self._assignments = 0

    @property
    def ours(self) -> tuple[int, ...]:
        """The partitions that this process has."""
        return tuple(self._books)

    def assigned(self, partitions: Iterable[int]) -> None:
        """These are ours from now on: of each, a new book."""
        for partition in partitions:
            self._assignments += 1
            self._books[partition] = _Book(self._assignments)

    def taken(self, partitions: Iterable[int]) -> None:
        """These are ours no more."""
        for partition in partitions:
            self._books.pop(partition, None)

    def has(self, place: Place) -> bool:
        """Whether a message is still ours to decide."""
        book = self._books.get(place.partition)
        return book is not None and book.assignment == place.assignment and place.offset in book.undecided

    def read(self, partition: int, offset: int) -> Place | None:
        """A message has come. ``None``: it is in hand or decided already, or its partition is not ours.

        Those that were to come again before it are no longer in the topic: they are done with.
        """
        book = self._books.get(partition)
        if book is None:
            return None
        gone = {one for one in book.again if book.position <= one < offset}
        book.undecided -= gone
        book.again -= gone
        book.position = offset + 1
        if book.end is None or offset >= book.end:
            book.end = offset + 1
            book.undecided.add(offset)
        elif offset in book.again:
            book.again.remove(offset)
        else:
            return None
        return Place(partition, offset, book.assignment)

    def decide(self, place: Place) -> bool:
        """A message is done with; whether it was ours."""
        if not self.has(place):
            return False
        book = self._books[place.partition]
        book.undecided.remove(place.offset)
        book.again.discard(place.offset)
        return True

    def forget(self, place: Place) -> None:
        """A message that is undecided has to come again."""
        if self.has(place):
            self._books[place.partition].again.add(place.offset)

    def to_rewind(self) -> Mapping[int, int]:
        """From which offset each partition has to be read again, where one has and is not about to be."""
        firsts = {partition: min(book.again) for partition, book in self._books.items() if book.again}
        return {partition: first for partition, first in firsts.items() if first < self._books[partition].position}

    def rewound(self, partition: int, offset: int) -> None:
        """What comes next of a partition is not before this offset."""
        self._books[partition].position = offset

    def crowded(self, partition: int) -> bool:
        """Whether so much is behind the first undecided message that nothing more is to be read."""
        book = self._books.get(partition)
        if book is None or book.end is None or book.again:
            return False
        return book.end - (book.decided_below or 0) >= MOST_AHEAD

    def to_commit(self) -> Mapping[int, int]:
        """How far each partition may be committed, where that is further than what was."""
        return {
            partition: below
            for partition, book in self._books.items()
            if (below := book.decided_below) is not None and (book.committed is None or below > book.committed)
        }

    def committed(self, offsets: Mapping[int, int]) -> None:
        """So much was told to the brokers."""
        for partition, offset in offsets.items():
            if (book := self._books.get(partition)) is not None:
                book.committed = offset

    def not_committed(self) -> None:
        """The brokers did not take it: it is told once more."""
        for book in self._books.values():
            book.committed = None
