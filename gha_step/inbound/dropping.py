"""What is left of a body when its answer comes early: read and dropped for a moment, on a few connections at a time.

A connection that is closed upon unread bytes is reset, and the answer may be lost with it. It knows no HTTP.
"""

import asyncio
from typing import Final

LINGER: Final = 2.0  # seconds …
SILENCE: Final = 0.3  # … unless nothing comes for so long
AT_ONCE: Final = 16  # connections: each takes a moment of every turn of the loop
_DROPPED: Final = memoryview(bytearray(1 << 16))  # what nobody reads needs no memory of its own


class Dropping:
    """For one event loop."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def drop(self, transport: asyncio.Transport, most: int) -> None:
        """Until ``most`` bytes have come, the client has closed, or it takes too long. Then the connection must end."""
        transport.pause_reading()
        try:
            async with asyncio.timeout(LINGER), self._places:
                rest = _Rest(transport.get_protocol(), most)
                transport.set_protocol(rest)
                transport.resume_reading()
                await rest.ended.wait()
        except TimeoutError:
            pass
        finally:
            transport.pause_reading()


class _Rest(asyncio.BufferedProtocol):
    """Takes the place of a connection's protocol, which hears only what it must."""

    def __init__(self, before: asyncio.BaseProtocol, most: int) -> None:
        self._before = before
        self._left = most
        self._heard = False
        self.ended = asyncio.Event()
        self._look()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._heard = False
        self._timer = loop.call_later(SILENCE, self._silent)

    def _silent(self) -> None:
        if self._heard:
            self._look()
        else:
            self.ended.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return _DROPPED

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        self._left -= nbytes
        if self._left <= 0:
            self._end()

    def eof_received(self) -> bool:
        self._end()
        return True  # whoever has sent the answer closes the connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()

    def _end(self) -> None:
        self._timer.cancel()
        self.ended.set()
