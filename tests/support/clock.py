"""Time that a test moves: see `gha_step.runtime.Clock`."""

import threading
import time
from typing import Final

START: Final = 1_700_000_000.0  # 2023-11-14T22:13:20Z


class VirtualClock:
    """It stands still but for sleeps, which take no time: minutes pass in milliseconds, on a busy machine too."""

    def __init__(self, start: float = START) -> None:
        self._lock = threading.Lock()
        self._start = start
        self._passed = 0.0

    def forward(self, seconds: float) -> None:
        """So much time has passed."""
        with self._lock:
            self._passed += seconds

    def now(self) -> float:
        return self._start + self._passed

    def monotonic(self) -> float:
        return 1_000.0 + self._passed

    boottime = monotonic

    def sleep(self, seconds: float) -> None:
        self.forward(seconds)
        time.sleep(0.002)  # whoever waits for somebody else lets him go on
