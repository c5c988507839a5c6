"""When this process may ask GitHub with a token: not while GitHub asks to wait, and not faster than it allows.

Limits are a token's, so all that wait with one share what is known of it. Times are monotonic seconds, and given.

Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api: 900 points a minute, of which
a GET costs one (even if answered 304) and a dispatch five; without Retry-After at least a minute, growing.
"""

import threading
from typing import Final, NamedTuple

from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.github.endpoint import Endpoint

PACE: Final = 0.1  # seconds between two requests with one token: 600 points a minute, the rest is for dispatches
BURST: Final = 60  # requests that may be sent at once after a pause
WAIT: Final = 60.0  # seconds, where GitHub does not say how long
MAX_WAIT: Final = 900.0  # seconds, doubled from `WAIT` on
SHORTEST: Final = 1.0  # seconds, however soon GitHub lets ask again; doubled with each refusal …
MAX_SHORTEST: Final = 60.0  # … up to this: a limit that asks for 0 s is no leave to ask at once
MAX_HOLD: Final = 86_400.0  # seconds: GitHub's windows are an hour, more is some proxy's mistake
READS: Final = "reads"
DISPATCHES: Final = "dispatches"  # GitHub limits what creates content apart
_Owner = Token | tuple[str, ...]  # a token, or where that is made anew for each request, who makes it


class Hold(NamedTuple):
    """Until when nothing may be asked, monotonic. ``asked_until``: what GitHub itself asked for; `None`: nothing."""

    until: float
    asked_until: float | None
    why: str

    def asked(self, now: float) -> float | None:
        """For how many seconds from now on GitHub itself asked to wait; ``None``: it did not say."""
        return None if self.asked_until is None else max(0.0, self.asked_until - now)


_FREE: Final = Hold(float("-inf"), None, "")


class _Budget:
    def __init__(self) -> None:
        self.hold = _FREE
        self.strikes = 0  # refusals in a row, each after what the one before had asked for
        self.next_turn = float("-inf")


class RateLimits:
    """One memory per process, by API base, token and kind of request. Lost with the process, and learned again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budgets: Memory[tuple[str, _Owner, str], _Budget] = Memory(1_000)  # an App's tokens change every hour

    def hold(self, endpoint: Endpoint, owner: _Owner, kind: str = READS) -> Hold:
        """Until when nothing may be asked; long past, if it may."""
        with self._lock:
            budget = self._known(endpoint, owner, kind)
            return _FREE if budget is None else budget.hold

    def limited(
        self, endpoint: Endpoint, owner: _Owner, wait: float | None, now: float, *, kind: str = READS, why: str = ""
    ) -> Hold:
        """GitHub has refused for its limits; until when nothing may be asked.

        :param wait: seconds that it asked for; ``None``: it did not say.
        """
        with self._lock:
            budget = self._of(endpoint, owner, kind)
            before = budget.hold
            if now >= before.until:  # else it was asked before the hold began: that is one refusal, told twice
                budget.strikes = min(budget.strikes + 1, 10)
            doubled = 2.0 ** max(budget.strikes - 1, 0)
            least = min(WAIT * doubled, MAX_WAIT) if wait is None else min(SHORTEST * doubled, MAX_SHORTEST)
            pause = min(max(wait or 0.0, least), MAX_HOLD)
            # Reset and Date are cut to whole seconds. Answers may come in another order than they were given.
            until = now + pause + 1.0
            asked = None if wait is None else now + min(wait, MAX_HOLD)
            if until > before.until:
                budget.hold = Hold(until, asked, why)
            return budget.hold

    def answered(self, endpoint: Endpoint, owner: _Owner, kind: str = READS) -> None:
        """GitHub has answered within its limits."""
        with self._lock:
            budget = self._known(endpoint, owner, kind)
            if budget is not None:
                budget.strikes = 0

    def take_turn(self, endpoint: Endpoint, token: Token, now: float, requests: int = 1) -> float:
        """When a look may begin: ``now``, or later if many wait with this token. The turn is the caller's.

        :param requests: how many the look is likely to take.
        """
        with self._lock:
            budget = self._of(endpoint, token, READS)
            turn = max(budget.next_turn, now - BURST * PACE)
            budget.next_turn = turn + PACE * requests
            return max(turn, now)

    def _of(self, endpoint: Endpoint, owner: _Owner, kind: str) -> _Budget:
        budget = self._known(endpoint, owner, kind)
        if budget is None:
            self._budgets[endpoint.base, owner, kind] = budget = _Budget()
        return budget

    def _known(self, endpoint: Endpoint, owner: _Owner, kind: str) -> _Budget | None:
        """Most dispatches are never limited, and leave nothing to remember."""
        key = (endpoint.base, owner, kind)
        budget = self._budgets.get(key)
        if budget is not None:
            self._budgets.move_to_end(key)
        return budget
