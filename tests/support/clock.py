"""Time that a test moves (see `gha_step.runtime.Clock`), and the two ways in which tests look at real time.

How long something really takes says how busy the machine is. So a test waits for a condition, or asks whether something
was waited for that lasts at least `LONG`; it never asks for less.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

START: Final = 1_700_000_000.0  # 2023-11-14T22:13:20Z

LONG: Final = 60.0  # seconds of real time


def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, which takes some processes minutes on a busy machine."""
    deadline = time.monotonic() + 4 * LONG
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


@contextmanager
def soon() -> Iterator[None]:
    """What is done here does not wait for anything that lasts `LONG`."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < LONG / 2


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
        time.sleep(0.002)  # a waiting thread lets the others go on
