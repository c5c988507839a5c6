"""When a way in that Port refuses is said to be refused, and when it is tried again. Pure: times are given.

A refusal stops nothing else: it is one error line when it begins, one an hour while it lasts, and one line when it is
over (port.md rule 11).
"""

from typing import Final

TELL_EVERY: Final = 3600.0  # seconds
ASK_EVERY: Final = 60.0


class Refusals:
    """One way in's. Times are monotonic seconds. Not safe for threads: its owner asks from one."""

    def __init__(self) -> None:
        self._why: str | None = None
        self._told = 0.0

    @property
    def refused(self) -> bool:
        """Whether Port refuses this way in now."""
        return self._why is not None

    def begins(self, why: str, now: float) -> bool:
        """Port refuses; whether that is to be said now.

        :param why: what kind of refusal it is, the same for as long as it stays the same.
        """
        if why == self._why and now < self._told + TELL_EVERY:
            return False
        self._why, self._told = why, now
        return True

    def ends(self) -> bool:
        """Port takes it; whether it had refused it before."""
        ended, self._why = self.refused, None
        return ended
