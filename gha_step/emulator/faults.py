"""The fault plan: which requests get which fault, and how often. The server carries it out.

A fault `before` means that the server never processes the request; `after` that it did, and the response is affected.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from .wire import Request, Response

OperationName = TypeVar("OperationName", bound=str)
When: TypeAlias = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Delay:
    """Waits, then goes on; the request is processed even if the client has left."""

    seconds: float
    when: When = "before"


@dataclass(frozen=True, slots=True)
class Hold:
    """Waits for :meth:`release`, then goes on; the request is processed even if the client has left."""

    released: threading.Event = field(default_factory=threading.Event)
    when: When = "before"

    def release(self) -> None:
        """All requests that it holds go on, and later ones are not held."""
        self.released.set()


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST)."""

    when: When = "before"


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is closed without an answer (EOF)."""

    when: When = "before"


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer ever comes; the connection stays open until the client or the server ends."""

    when: When = "before"


@dataclass(frozen=True, slots=True)
class Answer:
    """This answer instead of the server's. A missing Date header is added."""

    response: Response
    when: When = "before"


@dataclass(frozen=True, slots=True)
class Truncate:
    """The server's answer, cut off after `keep` bytes of its body by EOF or, with `reset`, by RST. Its
    Content-Length promises the whole body. A 204 becomes a 200 for this."""

    keep: int = 10
    reset: bool = False
    when: When = "after"


@dataclass(frozen=True, slots=True)
class Endless:
    """Status 200 and a chunked body that never ends: `chunk` again and again, every `interval` seconds."""

    chunk: bytes = b" " * 65_536
    interval: float = 0.0
    when: When = "after"


Fault: TypeAlias = Delay | Hold | Reset | Close | Silence | Answer | Truncate | Endless


def redirect(location: str, status: int = 307, when: When = "before") -> Answer:
    """A redirect to this URL."""
    body = {
        "message": "Temporary Redirect",
        "url": location,
        "documentation_url": "https://docs.github.com/rest",
    }
    return Answer(Response.of(status, body, {"Location": location}), when)


def bad_gateway(when: When = "after") -> Answer:
    """The 502 of a proxy before GitHub, here by default although GitHub did process the request."""
    page = b"<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"
    return Answer(Response(502, (("Content-Type", "text/html"),), page), when)


@dataclass(slots=True)
class Planned(Generic[OperationName]):
    """A fault in the plan."""

    fault: Fault
    operation: OperationName | None
    where: Callable[[Request], bool] | None
    times: float
    skip: int
    used: int = 0  # how many requests have met it


class Faults(Generic[OperationName]):
    """The plan, which any thread may change at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plan: list[Planned[OperationName]] = []

    def add(
        self,
        fault: Fault,
        operation: OperationName | None = None,
        *,
        where: Callable[[Request], bool] | None = None,
        times: int | None = 1,
        skip: int = 0,
    ) -> Planned[OperationName]:
        """Plans it for the next `times` requests (None: all) of the operation for which `where` holds, after
        `skip` of them went unharmed."""
        planned = Planned(fault, operation, where, float("inf") if times is None else times, skip)
        with self._lock:
            self._plan.append(planned)
        return planned

    def clear(self) -> None:
        """No more trouble."""
        with self._lock:
            self._plan.clear()

    def take(self, operation: OperationName, request: Request) -> list[Fault]:
        """The faults that this request meets, in the order of planning, delays first; each counts as used."""
        taken: list[Fault] = []
        with self._lock:
            for planned in self._plan:
                if planned.operation not in (None, operation) or (planned.where and not planned.where(request)):
                    continue
                if planned.skip > 0:
                    planned.skip -= 1
                elif planned.used < planned.times:
                    planned.used += 1
                    taken.append(planned.fault)
        return sorted(taken, key=lambda fault: not isinstance(fault, Delay | Hold))
