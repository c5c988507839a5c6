"""How much of others' large answers this process holds and works on at once, and that nobody takes all of it.

An answer that fits `SMALL` costs nothing. A larger one first gets room, is then read whole, and what is in it is made
into values while no other large one is: Python does nothing else meanwhile. Who sends answers that take long to read
waits nine times as long before the next, and longer after a very long one: it may send what it likes, and costs the
others a tenth of their time at most.

Whose answers they are is said by a name: the project's for which they are asked, else the server's. Under one name
there is one at a time: several that had come before the first was read would be worked on without that pause.
"""

import threading
from collections.abc import Callable
from typing import Final, Self

from gha_step.contract.memory import Memory
from gha_step.runtime import Clock, cpu_of_this_thread

SMALL: Final = 1 << 16  # bytes
ROOM: Final = 16 << 20  # bytes of large answers at once
MOST_MARKS: Final = 150_000  # of a large JSON: a page of 100 runs has some 60,000
MOST_ESCAPES: Final = 30_000  # of a large JSON: each is looked behind for tokens
MOST_DIGITS: Final = 64_000  # of numbers of more than 640: to read one takes the square of its digits
_SLICE: Final = 1 << 16  # bytes
_LONG: Final = b"0" * 640
_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
REST: Final = 9.0  # seconds without a large answer under a name, for each of a processor's that its last one took …
OFTEN: Final = 0.0015  # … and more after one that took longer than `REST` times this: all wait for it, so fewer must
LONGEST_REST: Final = 5.0  # seconds
_TICK: Final = 0.05  # seconds


def rest_after(took: float, rest: float = REST, longest: float = LONGEST_REST) -> float:
    """Seconds. No thread runs while values are made: beside such work without a pause few calls then meet any.

    :param rest: seconds for each second, at least.
    """
    return min(max(rest, took / OFTEN) * took, longest)


def is_too_much(body: bytes) -> bool:
    """Whether making values of ``body`` would take more time and memory than any answer of GitHub's does."""
    if len(body) <= SMALL:
        return False
    marks = escapes = digits = 0
    for begin in range(0, len(body), _SLICE):  # no other thread runs while one of these counts
        part = body[begin : begin + _SLICE]
        marks += len(part) - len(part.translate(None, b",:[{"))
        escapes += len(part) - len(part.translate(None, b"\\%&"))
        digits += len(_LONG) * part.translate(_DIGITS).count(_LONG)
        if marks > MOST_MARKS or escapes > MOST_ESCAPES or digits > MOST_DIGITS:
            return True
    return False


class LargeAnswers:
    """All of one kind in one process; threads share it.

    :param cpu: how long a busy machine takes for an answer is not its sender's doing.
    """

    def __init__(self, clock: Clock, cpu: Callable[[], float] = cpu_of_this_thread) -> None:
        self._clock = clock
        self._cpu = cpu
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._rests_until: dict[str, float] = Memory()
        self._alone = threading.Lock()

    def place(self, name: str) -> "Place":
        """The place of one answer, from its first byte until what it says has been read: ``with`` it, or leave it.

        :param name: whose it is; '' may have several, and never rests.
        """
        return Place(self, name)

    def take(self, name: str, size: int, seconds: float) -> bool:
        """Wait for room; whether it came."""
        deadline = self._clock.monotonic() + seconds
        while not self._took(name, size):
            if self._clock.monotonic() >= deadline:
                return False
            self._clock.sleep(_TICK)
        return True

    def _took(self, name: str, size: int) -> bool:
        with self._lock:
            busy = bool(name) and (name in self._held or self._clock.monotonic() < self._rests_until.get(name, 0.0))
            if busy or sum(self._held.values()) + size > ROOM:
                return False
            self._held[name] = self._held.get(name, 0) + size
            return True

    def give(self, name: str, size: int) -> None:
        """The room is free again."""
        with self._lock:
            self._held[name] -= size
            if not self._held[name]:
                del self._held[name]

    def begin(self) -> float:
        """Work on a large answer, alone; what to give to `end`, which the same thread calls."""
        self._alone.acquire()
        return self._cpu()

    def end(self, name: str, begun: float) -> None:
        """Its values are made."""
        took = self._cpu() - begun
        self._alone.release()
        if name:
            with self._lock:
                self._rests_until[name] = self._clock.monotonic() + rest_after(took)


class Place:
    """What one answer holds of the room."""

    def __init__(self, answers: LargeAnswers, name: str) -> None:
        self._answers = answers
        self._name = name
        self._size = 0
        self._begun: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def grow(self, size: int, seconds: float) -> bool:
        """The answer is larger than `SMALL`, and has at most ``size`` bytes: wait for room; whether it came."""
        if not self._size and self._answers.take(self._name, size, seconds):
            self._size = size
        return self._size > 0

    def read(self) -> None:
        """The answer is whole: from here on until `leave` no other large one is worked on."""
        if self._size and self._begun is None:
            self._begun = self._answers.begin()

    def leave(self) -> None:
        """Nothing of the answer is needed any more."""
        if self._begun is not None:
            self._answers.end(self._name, self._begun)
            self._begun = None
        if self._size:
            self._answers.give(self._name, self._size)
            self._size = 0
