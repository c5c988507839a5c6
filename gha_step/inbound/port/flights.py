"""One request for all who want the same at once: one caller sends it, the others wait for its result."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from gha_step.runtime import Workers

K = TypeVar("K")
V = TypeVar("V")


class Flights(Generic[K, V]):
    """See the module.

    :param workers: to wait with; none is started.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._flights: dict[K, Future[V]] = {}

    def share(self, key: K, ask: Callable[[], V], seconds: float) -> V:
        """What ``ask`` gives, or raises, for all who come with this key meanwhile.

        :raises TimeoutError: who asks needs longer than so many seconds.
        """
        mine: Future[V] = Future()
        with self._lock:
            flight = self._flights.setdefault(key, mine)
        if flight is mine:
            try:
                mine.set_result(ask())
            except BaseException as error:
                mine.set_exception(error)
                raise
            finally:
                with self._lock:
                    del self._flights[key]
        elif not self._workers.join(flight, seconds):
            raise TimeoutError
        return flight.result()
