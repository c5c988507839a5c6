"""What this process has learned of each GitHub server: whether it names runs, and what it refuses.

Source: the table of server generations in facts/github-dispatch.md.
"""

import threading
from concurrent.futures import Future
from typing import Final

from gha_step.contract.values import MAX_INPUTS
from gha_step.github.endpoint import Endpoint

NAMES_RUNS_SINCE: Final = (3, 21)
MANY_INPUTS_SINCE: Final = (3, 20)
MAX_INPUTS_BEFORE: Final = 10


class ServerCapabilities:
    """One memory per process, by API base. Lost with the process, and learned again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names_runs: dict[str, bool] = {}
        self._versions: dict[str, tuple[int, int]] = {}
        self._without: dict[str, frozenset[str]] = {}
        self._contacts: dict[str, Future[None]] = {}

    def names_runs(self, endpoint: Endpoint) -> bool | None:
        """Whether dispatches here are answered with the run's ID; ``None``: not known yet."""
        if endpoint.names_runs:
            return True
        with self._lock:
            return self._names_runs.get(endpoint.base)

    def max_inputs(self, endpoint: Endpoint) -> int:
        """How many inputs a dispatch may have here, as far as is known."""
        with self._lock:
            version = self._versions.get(endpoint.base, MANY_INPUTS_SINCE)
        return MAX_INPUTS if version >= MANY_INPUTS_SINCE else MAX_INPUTS_BEFORE

    def learn_version(self, endpoint: Endpoint, version: tuple[int, int]) -> None:
        """Remember which GitHub Enterprise Server it is: that tells what it can do."""
        with self._lock:
            self._versions[endpoint.base] = version
            self._names_runs.setdefault(endpoint.base, version >= NAMES_RUNS_SINCE)

    def learn_names_runs(self, endpoint: Endpoint, names: bool) -> None:
        """Remember it."""
        with self._lock:
            self._names_runs[endpoint.base] = names

    def without(self, endpoint: Endpoint) -> frozenset[str]:
        """The extras that this server refuses."""
        with self._lock:
            return self._without.get(endpoint.base, frozenset())

    def learn_without(self, endpoint: Endpoint, feature: str) -> None:
        """Remember that the server refuses ``feature``."""
        with self._lock:
            self._without[endpoint.base] = self._without.get(endpoint.base, frozenset()) | {feature}

    def first_contact(self, endpoint: Endpoint) -> "Future[None] | None":
        """``None``: the caller makes it, and ends it. Otherwise somebody does: the future to wait for."""
        with self._lock:
            if endpoint.base in self._contacts:
                return self._contacts[endpoint.base]
            self._contacts[endpoint.base] = Future()
            return None

    def end_contact(self, endpoint: Endpoint) -> None:
        """The first contact is over, with whatever result."""
        with self._lock:
            future = self._contacts.pop(endpoint.base)
        future.set_result(None)
