"""The metrics for whoever asks: they are made once for all who ask at the same time, with a rest between.

The rest grows as long as somebody asks during it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

REST: Final = 4.0  # seconds, for each second that the last took: meanwhile it competed with calls …
LONGEST_REST: Final = 1.0  # … but no longer than this


class Scrapes:
    """For one event loop.

    :param collect: makes them, on a thread: it may read the ledger.
    """

    def __init__(self, collect: Callable[[], bytes]) -> None:
        self._collect = collect
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None
        self._rest = self._rests_until = 0.0

    async def read(self) -> bytes:
        """As they are at some moment after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._make())
        return await asyncio.shield(self._next)

    async def _make(self) -> bytes:
        clock = asyncio.get_running_loop()
        async with self._turn:
            left = self._rests_until - clock.time()
            await asyncio.sleep(max(0.0, left))
            self._next = None  # who comes from here on gets those that are made next
            begun = clock.time()
            try:
                return await asyncio.to_thread(self._collect)
            finally:
                took = clock.time() - begun
                self._rest = min(max(REST * took, 2 * self._rest if left > 0 else 0.0), LONGEST_REST)
                self._rests_until = clock.time() + self._rest
