"""Places for messages that are being received, and who gets one: callers that withhold theirs keep nobody waiting.

A place is for whoever holds the fewest. Where none is free, the caller that holds the most gives its oldest, unless
that has just begun: a message whose bytes are here takes milliseconds.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

PARTS: Final = 8  # in which places are taken, each a part of the grace later: so many messages at once delay others


class GivenAway(Exception):
    """Another caller, who held fewer places, has got this one."""


class Places:
    """So many. For one event loop.

    :param grace: seconds for which a place is nobody else's.
    :param waiting: how many may wait for one.
    """

    def __init__(self, number: int, grace: float, waiting: int) -> None:
        self._free = number
        self._at_a_time = max(number // PARTS, 1)
        self._most_waiting = self._may_wait = waiting
        self._grace = grace
        self._held: dict[str, OrderedDict[asyncio.Timeout, float]] = {}  # by caller; since when
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return self._most_waiting - self._may_wait

    @asynccontextmanager
    async def one(self, whose: str) -> AsyncIterator[None]:
        """A place, as soon as there is one. :raises GivenAway: it was needed for another caller."""
        await self._get(whose)
        clock = asyncio.get_running_loop()
        held = asyncio.timeout(None)
        mine = self._held.setdefault(whose, OrderedDict())
        try:
            async with held:
                mine[held] = clock.time()
                yield
        except TimeoutError:
            if held.expired():
                raise GivenAway from None
            raise
        finally:
            mine.pop(held, None)
            if not mine and self._held.get(whose) is mine:
                del self._held[whose]
            self._give()

    async def _get(self, whose: str) -> None:
        if self._free:
            self._free -= 1
            return
        if self._may_wait <= 0:
            raise GivenAway
        self._may_wait -= 1
        try:
            await self._wait(whose)
        finally:
            self._may_wait += 1

    async def _wait(self, whose: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(whose, deque()).append(turn)
        if self._timer is None:
            self._press()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self._give()
            raise

    def _give(self) -> None:
        """A place is free."""
        while self._waiting:
            next_one = min(self._waiting, key=self._number)
            turns = self._waiting[next_one]
            turn = turns.popleft()
            if not turns:
                del self._waiting[next_one]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _number(self, whose: str) -> int:
        return len(self._held.get(whose, ()))

    def _press(self) -> None:
        """Take places from those who hold the most, for those who wait and hold none; later, if none may be taken."""
        clock = asyncio.get_running_loop()
        self._timer = None
        without = sum(not self._number(one) for one in self._waiting)
        aged = clock.time() - self._grace
        for _ in range(min(without, self._at_a_time)):
            crowd = max(self._held, key=self._number, default=None)
            if crowd is None:
                break
            oldest, since = next(iter(self._held[crowd].items()))
            if since > aged:
                break
            del self._held[crowd][oldest]
            if not self._held[crowd]:
                del self._held[crowd]
            oldest.reschedule(clock.time())
        if without:
            self._timer = clock.call_later(self._grace / PARTS, self._press)
