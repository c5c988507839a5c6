"""The HTTP listener's socket: how many connections are let in at a time, and from where none is for a while.

asyncio would take all that wait at once, a thousand, before anything else is served. It knows no request.
"""

import asyncio
import os
import socket
from typing import Any, Final

from gha_step.inbound.unproved_calls import UnprovedCalls

AT_A_TIME: Final = 4  # each costs half a millisecond until it is answered
TURNED_AWAY: Final = 64  # at a time: each costs ten microseconds
LATE: Final = 0.005  # seconds that one turn of the loop takes on the average, once there is too much to do
_NEW: Final = 0.1  # of that average: the newest


class Door(socket.socket):
    """A listening socket. For one event loop."""

    def __init__(self, listener: socket.socket, calls: UnprovedCalls) -> None:
        super().__init__(fileno=listener.detach())
        self._calls = calls
        self._let_in = 0  # in this turn of the loop
        self._late = 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. :raises BlockingIOError: there is none for now."""
        for _ in range(TURNED_AWAY):
            if self._let_in >= AT_A_TIME:
                break
            descriptor, address = self._accept()  # type: ignore[attr-defined]  # no object is made of one that is turned away
            if not self._calls.is_shut_out(address[0], busy=self._late >= LATE):
                self._count()
                return socket.socket(self.family, self.type, self.proto, descriptor), address
            os.close(descriptor)
        raise BlockingIOError

    def _count(self) -> None:
        if not self._let_in:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._turn_ends, loop.time())
        self._let_in += 1

    def _turn_ends(self, begun: float) -> None:
        self._let_in = 0
        self._late += (asyncio.get_running_loop().time() - begun - self._late) * _NEW
