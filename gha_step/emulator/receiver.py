"""What both emulated servers do with any request: log it, and answer it according to the fault plan."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Generic, TypeVar

from .faults import Fault, Faults
from .wire import Request, Response

Name = TypeVar("Name", bound=str)  # of an operation


@dataclass(slots=True)
class Logged(Generic[Name]):
    """A request that was received whole, whether or not it was processed."""

    operation: Name
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case; `authorization` says only whose token it is
    body: bytes  # without secrets
    at: float  # the server's clock
    status: int | None = None  # of the server's answer; None while or if it is not processed


class Receiver(Generic[Name]):
    """Mixed into a state, which has a lock and a clock."""

    lock: threading.RLock
    clock: Callable[[], float]

    def __init__(self, longest: int) -> None:
        """`longest`: how many requests the log remembers."""
        self.faults: Faults[Name] = Faults()
        self._log: deque[Logged[Name]] = deque(maxlen=longest)
        self._counts: Counter[Name] = Counter()

    def receive(self, request: Request) -> Logged[Name]:
        """Enters the request in the log; no more."""
        raise NotImplementedError

    def answer(self, request: Request, entry: Logged[Name]) -> Response:
        """Processes a received request."""
        raise NotImplementedError

    @property
    def log(self) -> list[Logged[Name]]:
        """The requests received so far, in order; no more than the last of them."""
        with self.lock:
            return list(self._log)

    def count(self, *operations: Name) -> int:
        """How many requests of these operations were received; of all, without arguments."""
        with self.lock:
            return sum(self._counts[name] for name in operations) if operations else self._counts.total()

    def forget_log(self) -> None:
        """Empties the log and its counters."""
        with self.lock:
            self._log.clear()
            self._counts.clear()

    def handle(self, request: Request) -> Response:
        """Receives a request and answers it, without faults."""
        return self.answer(request, self.receive(request))

    def begin(self, request: Request) -> tuple[list[Fault], Callable[[], Response]]:
        """As `server.Emulated` asks for it."""
        entry = self.receive(request)
        return self.faults.take(entry.operation, request), lambda: self.answer(request, entry)

    def plain_headers(self) -> dict[str, str]:
        """What even a proxy's answer carries."""
        return {"Date": formatdate(self.clock(), usegmt=True)}

    def _enter(self, request: Request, operation: Name, headers: Mapping[str, str], body: bytes) -> Logged[Name]:
        entry = Logged(operation, request.method, request.path, request.query, headers, body, self.clock())
        with self.lock:
            self._log.append(entry)
            self._counts[operation] += 1
        return entry
