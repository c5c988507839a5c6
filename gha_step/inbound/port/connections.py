"""Idle connections to Port: few, kept for seconds, and only if they have nothing to read.

Port's servers may close one at any time, and a request sent just then is lost. So a connection is kept for less than
the shortest common idle timeout of servers (5 s) and checked before it is reused. If one breaks anyway, connections are
kept half as long from then on.
"""

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from gha_step.github.connection import Connection
from gha_step.runtime import Clock

MOST_IDLE: Final = 8
IDLE: Final = 4.0  # seconds
SHORTEST: Final = 1.0  # seconds: for so long one is kept whatever breaks
OLDEST: Final = 60.0  # seconds: then names, proxies and certificates count anew
LISTEN: Final = 0.001  # seconds


@dataclass(frozen=True)
class Kept:
    """An open connection, when it was opened, and for how many seconds it was idle before it was taken."""

    connection: Connection
    opened: float
    idle: float = 0.0


class Connections:
    """See the module. It holds no more than `MOST_IDLE`, whatever comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: deque[tuple[float, Kept]] = deque()  # the longest idle first
        self._closed = False
        self._longest = IDLE

    def take(self) -> Kept | None:
        """The one that was used last, if it is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, kept = self._idle.pop()
            idle = self._clock.boottime() - since
            if idle < self._longest and _is_silent(kept.connection):
                return replace(kept, idle=idle)
            kept.connection.close()

    def broke(self, kept: Kept) -> None:
        """It was taken, and broke before an answer: the other side may be one that waits no longer than this."""
        with self._lock:
            self._longest = min(self._longest, max(kept.idle / 2, SHORTEST))

    def give(self, kept: Kept) -> None:
        """It has carried a request and its answer, and may carry another."""
        now, closing = self._clock.boottime(), []
        with self._lock:
            if now - kept.opened < OLDEST and not self._closed:
                self._idle.append((now, kept))
            else:
                closing.append(kept)
            while self._idle and (len(self._idle) > MOST_IDLE or now - self._idle[0][0] >= self._longest):
                closing.append(self._idle.popleft()[1])
        for one in closing:
            one.connection.close()

    def close(self) -> None:
        """Close all, and keep none from now on."""
        with self._lock:
            self._closed = True
            closing = [kept for _, kept in self._idle]
            self._idle.clear()
        for kept in closing:
            kept.connection.close()


def _is_silent(connection: Connection) -> bool:
    """Whether the other side has neither closed nor said anything: tickets of TLS are taken in and count as nothing."""
    try:
        return connection.receive(LISTEN) is None
    except OSError:
        return False
