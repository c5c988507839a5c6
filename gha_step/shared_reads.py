"""Simultaneous reads of the same thing are done once for all callers, and one after the other.

Every caller gets a value that was read after it asked: a caller that comes during a read gets the next one.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedReads(Generic[T]):
    """By key; for threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next: dict[Hashable, Future[T]] = {}
        self._underway: set[Hashable] = set()

    def read(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, called by this thread or another. Raises what it raises."""
        with self._changed:
            flight = self._next.get(key)
            if flight is None:
                mine = self._next[key] = Future()
        if flight is not None:
            return flight.result()
        with self._changed:
            self._changed.wait_for(lambda: key not in self._underway)
            del self._next[key]
            self._underway.add(key)
        try:
            mine.set_result(make())
        except BaseException as error:  # noqa: BLE001  it is the callers', who ask the future
            mine.set_exception(error)
        finally:
            with self._changed:
                self._underway.discard(key)
                self._changed.notify_all()
        return mine.result()
