"""Refused callers: counted, and logged once per second and peer, so that guessing does not fill the disk."""

from typing import Any, Final

from gha_step.contract.memory import Memory
from gha_step.runtime import Clock
from gha_step.telemetry import Telemetry, log

APART: Final = 1.0  # seconds between two lines about one peer


class RefusedCallers:
    """What every way in tells of calls that it does not execute."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._told: dict[str, tuple[float, int]] = Memory()  # by peer: when it was told last, and what was not since

    def unproved(self, wire: str, peer: str, why: object, whose: dict[str, Any] | None = None) -> None:
        """A caller had no token, or a wrong one.

        :param wire: http, grpc or rest. ``whose``: the log's fields, where the caller has named a step.
        """
        self._telemetry.refused_callers.add(wire)
        self.refused(peer, why, whose)

    def malformed(self, wire: str, peer: str, why: object) -> None:
        """A call holds nothing that can be executed. ``wire`` as above."""
        self._telemetry.malformed_calls.add(wire)
        self.refused(peer, why)

    def refused(self, peer: str, why: object, whose: dict[str, Any] | None = None) -> None:
        """A call could not be executed as it came."""
        now = self._clock.monotonic()
        last, more = self._told.get(peer, (-APART, 0))
        if now - last < APART:
            self._told[peer] = last, more + 1
            return
        self._told[peer] = now, 0
        untold = f" ({more} more of this caller before)" if more else ""
        log.warning("a call from %s was refused: %s%s", peer, why, untold, extra=whose)
