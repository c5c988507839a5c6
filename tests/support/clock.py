"""Time that a test moves: see `gha_step.runtime.Clock`."""

import threading
import time
from collections.abc import Callable
from typing import Final

START: Final = 1_700_000_000.0  # 2023-11-14T22:13:20Z


class VirtualClock:
    """A sleep takes no time, so minutes pass in milliseconds.

    :param passing: seconds that pass on their own; time stands still by default.
    """

    def __init__(self, start: float = START, passing: Callable[[], float] = lambda: 0.0) -> None:
        self._lock = threading.Lock()
        self._start = start
        self._passing = passing
        self._ahead = 0.0

    @classmethod
    def flowing(cls) -> "VirtualClock":
        """Real time passes besides, for what waits on real sockets and threads."""
        begun = time.monotonic()
        return cls(time.time(), lambda: time.monotonic() - begun)

    def forward(self, seconds: float) -> None:
        """So much time has passed."""
        with self._lock:
            self._ahead += seconds

    def now(self) -> float:
        return self._start + self._passing() + self._ahead

    def monotonic(self) -> float:
        return 1_000.0 + self._passing() + self._ahead

    boottime = monotonic

    def sleep(self, seconds: float) -> None:
        self.forward(seconds)
        time.sleep(0.002)  # whoever waits for somebody else lets him go on
