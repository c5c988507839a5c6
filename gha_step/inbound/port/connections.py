"""Connections to Port that wait for their next request: few, for seconds, and none that has anything to say.

Port's servers may close one at any moment, and a request that goes out just then is lost. So a connection is not kept
for as long as the shortest common time limit of servers (5 s), and is listened to before it is used again.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from gha_step.github.connection import Connection
from gha_step.runtime import Clock

MOST_IDLE: Final = 8
IDLE: Final = 4.0  # seconds
OLDEST: Final = 60.0  # seconds: then names, proxies and certificates count anew
LISTEN: Final = 0.001  # seconds


@dataclass(frozen=True)
class Kept:
    """An open connection, and when it was opened."""

    connection: Connection
    opened: float


class Connections:
    """See the module. It holds no more than `MOST_IDLE`, whatever comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: deque[tuple[float, Kept]] = deque()  # the longest idle first
        self._closed = False

    def take(self) -> Kept | None:
        """The one that was used last, if it is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, kept = self._idle.pop()
            if self._clock.boottime() - since < IDLE and _is_silent(kept.connection):
                return kept
            kept.connection.close()

    def give(self, kept: Kept) -> None:
        """It has carried a request and its answer, and may carry another."""
        now, closing = self._clock.boottime(), []
        with self._lock:
            if now - kept.opened < OLDEST and not self._closed:
                self._idle.append((now, kept))
            else:
                closing.append(kept)
            while self._idle and (len(self._idle) > MOST_IDLE or now - self._idle[0][0] >= IDLE):
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
