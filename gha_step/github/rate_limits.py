"""When this process may ask GitHub with a token: not within what GitHub asked for, and not faster than it bears.

Limits are a token's, so all that wait with one share what is known of it. Times are monotonic seconds, and given.

Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api: 900 points a minute, of which
a GET costs one (be it answered 304) and a dispatch five; without Retry-After at least a minute, growing.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from gha_step.contract.secret import Token
from gha_step.github.endpoint import Endpoint

PACE: Final = 0.1  # seconds between two requests with one token: 600 points a minute, the rest is for dispatches
BURST: Final = 60  # requests that may be sent at once after a pause
WAIT: Final = 60.0  # seconds, where GitHub does not say how long
MAX_WAIT: Final = 900.0  # seconds, doubled from `WAIT` on
MAX_HOLD: Final = 86_400.0  # seconds: GitHub's windows are an hour, more is some proxy's mistake
_REMEMBERED: Final = 1_000  # tokens; an App's change every hour


@dataclass
class _Budget:
    held_until: float = 0.0
    strikes: int = 0  # refusals in a row that did not say how long to wait
    next_turn: float = 0.0


class RateLimits:
    """One memory per process, by API base and token. Lost with the process, and learned again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate_limits: OrderedDict[tuple[str, Token], _Budget] = OrderedDict()

    def held_until(self, endpoint: Endpoint, token: Token) -> float:
        """Until when nothing may be asked; long past, if it may."""
        with self._lock:
            return self._of(endpoint, token).held_until

    def limited(self, endpoint: Endpoint, token: Token, wait: float | None, now: float) -> float:
        """GitHub has refused for its limits; until when nothing may be asked.

        :param wait: seconds that it asked for; ``None``: it did not say.
        """
        with self._lock:
            budget = self._of(endpoint, token)
            if wait is None:
                wait = min(WAIT * 2.0**budget.strikes, MAX_WAIT)
                budget.strikes = min(budget.strikes + 1, 10)
            # Reset and Date are cut to whole seconds. Answers may come in another order than they were given.
            budget.held_until = max(budget.held_until, now + min(wait, MAX_HOLD) + 1.0)
            return budget.held_until

    def answered(self, endpoint: Endpoint, token: Token) -> None:
        """GitHub has answered within its limits."""
        with self._lock:
            self._of(endpoint, token).strikes = 0

    def take_turn(self, endpoint: Endpoint, token: Token, now: float, requests: int = 1) -> float:
        """When a look may begin: ``now``, or later if many wait with this token. The turn is the caller's.

        :param requests: how many the look is likely to take.
        """
        with self._lock:
            budget = self._of(endpoint, token)
            turn = max(budget.next_turn, now - BURST * PACE)
            budget.next_turn = turn + PACE * requests
            return max(turn, now)

    def _of(self, endpoint: Endpoint, token: Token) -> _Budget:
        key = (endpoint.base, token)
        budget = self._rate_limits.get(key)
        if budget is None:
            budget = self._rate_limits[key] = _Budget(next_turn=float("-inf"))
        self._rate_limits.move_to_end(key)
        if len(self._rate_limits) > _REMEMBERED:
            self._rate_limits.popitem(last=False)
        return budget
