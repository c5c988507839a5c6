"""What GitHub has refused to the keys of this process: until when nothing is sent, which token is used up, and why.

Memory of this process alone: a restart costs one more request at most.
"""

import threading

from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.github.errors import RateLimited
from gha_step.runtime import Clock


class Refusals:
    """Of all keys; threads share it. ``key`` is the hash."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._holds: dict[str, tuple[float, RateLimited]] = Memory()  # not before (monotonic), and why
        self._tokens: dict[str, Token] = Memory()  # the installation token in whose place one other is tried
        self._diagnoses: dict[str, str] = Memory()  # why GitHub refused, in better words than the record's

    def hold(self, key: str, seconds: float, error: RateLimited) -> None:
        """Send nothing for so long."""
        with self._lock:
            self._holds[key] = (self._clock.monotonic() + seconds, error)

    def held(self, key: str) -> tuple[float, RateLimited] | None:
        """For how many seconds nothing is sent, and why; ``None``: it may be sent."""
        now = self._clock.monotonic()
        with self._lock:
            until, error = self._holds.get(key, (0.0, None))
        return (until - now, error) if error is not None and until > now else None

    def first_of(self, key: str, token: Token) -> bool:
        """Whether ``token`` is the first installation token refused to the key: one other is tried, and no more."""
        with self._lock:
            if key in self._tokens:
                return False
            self._tokens[key] = token
        return True

    def is_used_up(self, key: str, token: Token) -> bool:
        """Whether GitHub has refused this token, so that another one takes its place."""
        with self._lock:
            return key in self._tokens and self._tokens[key] == token

    def explain(self, key: str, diagnosis: str) -> None:
        """Keep the better words."""
        with self._lock:
            self._diagnoses[key] = diagnosis

    def explanation(self, key: str) -> str | None:
        """The better words, if there are any."""
        with self._lock:
            return self._diagnoses.get(key)
