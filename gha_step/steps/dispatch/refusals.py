"""GitHub's refusals for the keys of this process: which token was refused, and why nothing was dispatched.

Only in memory: a restart costs at most one more request.
"""

import threading
from typing import Final

from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.github.refusals import pause
from gha_step.runtime import Clock

MOST_TOKENS: Final = 2  # that GitHub may refuse to one key


class Refusals:
    """Of all keys; threads share it. ``key`` is the hash."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, list[Token]] = Memory()  # the installation tokens that were refused, the first first
        self._used_up: dict[str, Token] = Memory()  # the one in whose place the other is tried
        self._new_tokens: dict[str, tuple[Token, int, float]] = Memory()  # too new: tries, and when to try again
        self._diagnoses: dict[str, str] = Memory()  # why GitHub refused, in better words than the record's

    def counts(self, key: str, token: Token) -> bool:
        """Whether this token's refusal may be followed by another try: two tokens per key may be refused, no third."""
        with self._lock:
            tokens = self._tokens.setdefault(key, [])
            if token not in tokens and len(tokens) < MOST_TOKENS:
                tokens.append(token)
            return token in tokens

    def use_up(self, key: str, token: Token) -> bool:
        """Put another token in the place of this one. False: it is the second, and no third is tried."""
        with self._lock:
            if self._tokens[key].index(token):
                return False
            self._used_up[key] = token
        return True

    def is_used_up(self, key: str, token: Token) -> bool:
        """Whether GitHub has refused this token, so that another one takes its place."""
        with self._lock:
            return key in self._used_up and self._used_up[key] == token

    def too_new(self, key: str, token: Token) -> None:
        """GitHub has refused a token that it has just made: try again in a moment."""
        with self._lock:
            of, tries, _ = self._new_tokens.get(key, (None, 0, 0.0))
            tries = tries + 1 if of == token else 1
            self._new_tokens[key] = (token, tries, self._clock.monotonic() + pause(tries))

    def wait_for(self, key: str) -> float:
        """Seconds until a token that was too new is tried again."""
        with self._lock:
            _, _, until = self._new_tokens.get(key, (None, 0, 0.0))
        return max(0.0, until - self._clock.monotonic())

    def explain(self, key: str, diagnosis: str) -> None:
        """Keep the better words."""
        with self._lock:
            self._diagnoses[key] = diagnosis

    def explanation(self, key: str) -> str | None:
        """The better words, if there are any."""
        with self._lock:
            return self._diagnoses.get(key)
