"""What GitHub has refused to the keys of this process: which token is used up, and why nothing was dispatched.

Memory of this process alone: a restart costs one more request at most.
"""

import threading

from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token


class Refusals:
    """Of all keys; threads share it. ``key`` is the hash."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = Memory()  # the installation token in whose place one other is tried
        self._diagnoses: dict[str, str] = Memory()  # why GitHub refused, in better words than the record's

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
