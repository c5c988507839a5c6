"""How many bytes of large bodies this process holds at once, and that nobody takes all of it. For one event loop.

A body that fits `SMALL` and has few values costs nothing. Another one gets room for all that it may become, before more
of it is read, and keeps it until its call is answered. Values are made of one of them after the other, with a rest
between.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final, TypeVar

from gha_step import large_answers
from gha_step.inbound.receiving import Places

SMALL: Final = 1 << 16  # bytes
RECEIVED: Final = 64  # bodies that are larger than one read of their connection, at once
GRACE: Final = 0.5  # seconds for which such a body may be silent even if others wait
TINY: Final = 1 << 12  # bytes: its values need not be counted
FEW: Final = 1000  # values and keys: they take half a millisecond
ROOM: Final = 12 << 20  # bytes: with the values that are made of them some 100 MiB
REST: Final = (
    4.0  # seconds without work on a large body, for each second that the last one took, and more after long ones
)
LONGEST_REST: Final = 1.0  # seconds
SHARE: Final = ROOM // 4  # for one project, while others wait
WITHHELD_AFTER: Final = 3.0, 9.0  # seconds, for one that did not come while others waited: not all hear at once
REFUSED_AFTER: Final = 0.8  # seconds, for a large body: who sends it again at once costs others little

T = TypeVar("T", bytes, bytes | bytearray)


def rest_after(worked: float) -> float:
    """Seconds. Beside large bodies without a pause few calls then wait for one, and none for two."""
    return large_answers.rest_after(worked, REST, LONGEST_REST)


def is_light(body: T, has_more_values: Callable[[T, int], bool]) -> bool:
    """Whether values are made of a body in no time.

    :param has_more_values: counts them in the body's format.
    """
    return len(body) <= TINY or (len(body) <= SMALL and not has_more_values(body, FEW))


class NoRoom(Exception):
    """Others have taken it, and did not give it back in time."""


class Room:
    """Of one process."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self.received = Places(RECEIVED, GRACE, RECEIVED)
        self._rests_until = 0.0  # by the loop's clock

    def place(self, whose: str) -> "Place":
        """The place of one call, ``with`` which it is read and answered. ``whose``: a project, '' where unknown."""
        return Place(self, whose)

    async def take(self, whose: str, size: int, seconds: float) -> None:
        """Wait for so many bytes. :raises NoRoom: they did not become free."""
        self._waiting[whose] += 1
        try:
            async with asyncio.timeout(seconds):
                while not self._free(whose, size):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise NoRoom from None
        finally:
            self._waiting[whose] -= 1
        self._held[whose] += size

    @asynccontextmanager
    async def turn(self, place: "Place", seconds: float) -> AsyncIterator[None]:
        """Make values of a large body: meanwhile nobody else is served. :raises NoRoom: its turn did not come."""
        try:
            async with asyncio.timeout(seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise NoRoom from None
        try:
            clock = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._rests_until - clock.time()))
            begun = clock.time()
            try:
                yield
            finally:
                ended = clock.time()
                place.worked = ended - begun
                self._rests_until = ended + rest_after(place.worked)
        finally:
            self._turn.release()

    def _free(self, whose: str, size: int) -> bool:
        if self._held.total() + size > ROOM:
            return False
        alone = not any(count for other, count in self._waiting.items() if other != whose)
        return alone or self._held[whose] + size <= max(SHARE, size)

    def give(self, whose: str, size: int) -> None:
        """So many bytes are free again."""
        self._held[whose] -= size
        self._held += Counter()  # which forgets those who hold nothing
        self._waiting += Counter()
        self._changed.set()


class Place:
    """What one call holds of it."""

    def __init__(self, room: Room, whose: str) -> None:
        self._room = room
        self._whose = whose
        self.size = 0
        self.withheld = False  # the body did not come, and others waited for its place
        self.worked = 0.0  # seconds that it took to make the values of a large body

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        if self.size:
            self._room.give(self._whose, self.size)
            self.size = 0

    def receiving(self, peer: str) -> AbstractAsyncContextManager[None]:
        """More of the body arrives than one read held. :raises GivenAway: others that send theirs wait for a place."""
        return self._room.received.one(self._whose or peer)

    def reading(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Values are made of the body. :raises NoRoom: see `Room.turn`."""
        return self._room.turn(self, seconds) if self.size else _SMALL_WORK

    async def put_off(self) -> None:
        """Before a refusal is told: what a large body held is free, and whoever sent it waits for a moment."""
        if self.size or self.withheld:
            self.__exit__()
            await asyncio.sleep(random.uniform(*WITHHELD_AFTER) if self.withheld else REFUSED_AFTER)

    async def grow(self, size: int, seconds: float) -> None:
        """The body is larger than `SMALL`, and has at most ``size`` bytes. :raises NoRoom: see `Room.take`."""
        if not self.size:
            await self._room.take(self._whose, size, seconds)
            self.size = size


_SMALL_WORK: Final = nullcontext()
