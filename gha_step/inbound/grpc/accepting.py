"""How fast calls are accepted that may be many at once: each costs this one process a millisecond of its loop.

grpcio accepts whatever comes, and has no limit of its own. What is not accepted yet waits in its core, where it costs
little; calls that are taken back meanwhile are accepted all the same, in their turn. There is no public way to say so:
its `AioServer` asks for the next call of each method by a method that is another one here (as of 1.85.1;
`tests/inbound/test_grpc_bounds.py` tells).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from gha_step.inbound.grpc.messages import SERVICE
from gha_step.inbound.room import SMALL
from gha_step.telemetry import log

RUNS: Final = 200  # that are accepted in a second; one whose message comes counts as two, …
BYTES: Final = 1 << 13  # … and as one more for so many bytes of it
EXECUTES: Final = 500  # calls in a second, while many do not send their message
OTHERS: Final = 200  # calls of all other methods in a second: most of them need no bearer
AT_ONCE: Final = 50  # of each, after a rest
EXECUTE, RUN = f"/{SERVICE}/Execute", f"/{SERVICE}/Run"
_ASKED: Final = "_make_request_call_future", "_request_call", "_request_registered_call"


class Turns:
    """When the next call of a method is accepted: so many in a second. ``now`` only grows."""

    def __init__(self, per_second: float) -> None:
        self._each = 1 / per_second
        self._next = float("-inf")

    def pause(self, now: float) -> float:
        """Seconds until one more may be accepted."""
        self._next = max(self._next, now - AT_ONCE * self._each) + self._each
        return max(self._next - now, 0.0)

    def charge(self, calls: float) -> None:
        """One that was accepted counts as so many more."""
        self._next += calls * self._each


class Pauses:
    """How long to wait before the next call of a method is accepted.

    Runs are accepted slowly, even if they are all that comes: whose they are is known only of those whose message has
    come. An Execute is accepted at once: others wait for its answer, and what follows is shared fairly.

    :param withheld: whether many calls do not send their message.
    """

    def __init__(self, withheld: Callable[[], bool]) -> None:
        self._withheld = withheld
        self._runs, self._executes, self._others = Turns(RUNS), Turns(EXECUTES), Turns(OTHERS)

    def before(self, method: str, now: float) -> float:
        """Seconds. ``method``: its path, '' for those that there are not."""
        if method == EXECUTE:
            return self._executes.pause(now) if self._withheld() else 0.0
        return (self._runs if method == RUN else self._others).pause(now)

    def received(self, method: str, size: int) -> None:
        """A message of so many bytes has come."""
        if method == RUN:
            self._runs.charge(1 + min(size, SMALL) / BYTES)  # larger ones wait for each other anyway


def server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, Any]],
    most: int,
    pauses: Pauses,
) -> grpc.aio.Server:
    """A server of grpcio that accepts calls so; of a grpcio that is another inside, one that accepts whatever comes."""
    made = grpc.aio.server(interceptors=interceptors, options=options, maximum_concurrent_rpcs=most)
    if not all(hasattr(cygrpc.AioServer, name) for name in _ASKED):
        log.warning("calls cannot be paced with this version of grpcio: many Runs at once may delay other projects")
        return made
    made._server = _Server(tuple(interceptors), options, most, pauses)  # type: ignore[attr-defined]  # noqa: SLF001
    return made


class _Server(cygrpc.AioServer):  # type: ignore[misc]
    def __init__(
        self,
        interceptors: tuple[grpc.aio.ServerInterceptor, ...],
        options: Sequence[tuple[str, Any]],
        most: int,
        pauses: Pauses,
    ) -> None:
        self._clock = asyncio.get_running_loop()
        super().__init__(self._clock, None, (), interceptors, options, most)
        self._pauses = pauses

    def _make_request_call_future(self, method: bytes | None) -> Any:
        seconds = self._pauses.before((method or b"").decode(), self._clock.time())
        if not seconds:
            return super()._make_request_call_future(method)
        return self._clock.create_task(self._later(method, seconds))

    async def _later(self, method: bytes | None, seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return await (self._request_call() if method is None else self._request_registered_call(method))
