"""When a way in that Port refuses is said to be refused, and when it is tried again. Pure: times are given.

A refusal stops nothing else: it is one error line when it begins, one an hour while it lasts, and one line when it is
over (port.md rule 11).
"""

from typing import Final

TELL_EVERY: Final = 3600.0  # seconds
ASK_EVERY: Final = 60.0


class Refusals:
    """By what is refused. Times are monotonic seconds. Not safe for threads: its owner asks from one."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, float]] = {}  # why, and when that was said

    def begins(self, what: str, why: str, now: float) -> bool:
        """Port refuses it; whether that is to be said now.

        :param why: what kind of refusal it is, the same for as long as it stays the same.
        """
        before, told = self._told.get(what, ("", 0.0))
        if why == before and now < told + TELL_EVERY:
            return False
        self._told[what] = why, now
        return True

    def ends(self, what: str) -> bool:
        """Port takes it; whether it had refused it before."""
        return self._told.pop(what, None) is not None
