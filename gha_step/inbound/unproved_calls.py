"""How many calls without a valid bearer one address makes in a second, and what that is worth to it.

A few are answered at once, others after a pause, and if there are very many none is answered; unless a valid bearer
comes from there too: then one controller, or a proxy, may be the address of good and bad callers. It knows no
connection; what is done to those is their module's.
"""

import asyncio
import random
from collections import Counter
from typing import Final

from gha_step.contract.memory import Memory
from gha_step.telemetry import log

MOST: Final = 300  # in a second, of one address
MISUSES: Final = 5  # connections of one address that break a bound in a second: then it is not let in, idle or not
PAUSE: Final = 0.5  # seconds for which an answer waits, at most; some wait less, so that not all go out at once
PUT_OFF: Final = 256  # answers that wait: more are given at once
SECOND: Final = 1.0
KNOWN: Final = 600.0  # seconds for which an address is known, after a valid bearer


class UnprovedCalls:
    """Those of one way in. For one event loop.

    :param way: HTTP or gRPC, for the log.
    :param free: so many of one address are answered at once.
    """

    def __init__(self, way: str, free: int) -> None:
        self._way = way
        self._free = free
        self._counts: Counter[str] = Counter()
        self._misuses: Counter[str] = Counter()
        self._known: Memory[str, float] = Memory()  # when a valid bearer came, by address
        self._released = asyncio.Event()
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def came(self, address: str) -> None:
        """One more."""
        self._counts[address] += 1
        self._await_end()

    def misused(self, address: str) -> None:
        """A connection was ended: it sent what no client sends, or did not take its answers."""
        self._misuses[address] += 1
        self._await_end()

    def _await_end(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECOND, self._second_ends)

    def proved(self, address: str, *, counted: bool) -> None:
        """A valid bearer came from there; ``counted``: with a call of which it was not known before."""
        if counted and self._counts[address]:
            self._counts[address] -= 1
        self._known[address] = asyncio.get_running_loop().time()

    def too_many(self, address: str) -> bool:
        """Whether this address has made more than `MOST`, and is not known."""
        return self._counts[address] > MOST and not self._is_known(address)

    def is_shut_out(self, address: str, *, busy: bool) -> bool:
        """Whether it is not let in. ``busy``: there is much to do for others."""
        return (busy and self.too_many(address)) or (self._misuses[address] >= MISUSES and not self._is_known(address))

    def _is_known(self, address: str) -> bool:
        seen = self._known.get(address)
        return seen is not None and asyncio.get_running_loop().time() - seen <= KNOWN

    def at_once(self, address: str) -> bool:
        """Whether its newest call is answered without a pause."""
        return self._counts[address] <= self._free or self._waiting >= PUT_OFF

    async def turn(self, address: str) -> None:
        """Wait until its newest call may be answered."""
        if self.at_once(address):
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(random.uniform(PAUSE / 4, PAUSE)):
                await self._released.wait()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    def _second_ends(self) -> None:
        for address, count in self._counts.items():
            if count > MOST:
                words = "%d calls without a valid bearer over %s within a second: from %s"
                log.warning(words, count, self._way, address)
        self._counts.clear()
        self._misuses.clear()
        self._timer = None

    def release(self) -> None:
        """Forget what came, and let everybody hear: the process stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._counts.clear()
        self._misuses.clear()
        self._released.set()
        self._released = asyncio.Event()
