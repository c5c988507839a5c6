"""What this process has learned of each GitHub server: how it is asked, what it refuses, whether it names runs.

Everything is remembered per API base and API version, and forgotten when an answer says otherwise.

Source: the table of server generations in facts/github-dispatch.md.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from gha_step.contract.values import MAX_INPUTS
from gha_step.github.endpoint import Endpoint
from gha_step.github.messages import API_2022, API_2026, VERSION_HEADER, Dialect, enterprise_version

NAMES_RUNS_SINCE: Final = (3, 21)
MANY_INPUTS_SINCE: Final = (3, 20)
MAX_INPUTS_BEFORE: Final = 10


@dataclass
class _Server:
    """One API base. ``refused``: API versions; ``keyless``: versions in which our key is refused."""

    version: tuple[int, int] | None = None  # of a GitHub Enterprise Server
    refused: set[str] = field(default_factory=set)
    keyless: set[str | None] = field(default_factory=set)
    names_runs: dict[Dialect, bool] = field(default_factory=dict)
    contact: "Future[None] | None" = None


class ServerCapabilities:
    """One memory per process, by API base. Lost with the process, and learned again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[str, _Server] = {}

    def dialect(self, endpoint: Endpoint) -> Dialect:
        """How this server is asked.

        2026-03-10 first where it is known to be; elsewhere, and where it was refused, 2022-11-28; then no version.
        """
        with self._lock:
            return self._dialect(endpoint)

    def _dialect(self, endpoint: Endpoint) -> Dialect:
        server = self._of(endpoint)
        new = endpoint.names_runs or (server.version or (0, 0)) >= NAMES_RUNS_SINCE
        versions = (API_2026, API_2022) if new else (API_2022, API_2026)
        version = next((one for one in versions if one not in server.refused), None)
        return Dialect(version, key_known=version not in server.keyless)

    def refused(self, endpoint: Endpoint, dialect: Dialect, feature: str) -> None:
        """The server does not know what ``dialect`` asked it: its API version, or our key."""
        with self._lock:
            server = self._of(endpoint)
            if feature != VERSION_HEADER:
                server.keyless.add(dialect.version)
            elif dialect.version is not None:
                server.refused.add(dialect.version)

    def answered_dispatch(self, endpoint: Endpoint, dialect: Dialect, *, names_run: bool) -> None:
        """A dispatch was accepted. Since 2026-03-10 every run is named: where none was, the header did not arrive."""
        with self._lock:
            server = self._of(endpoint)
            if dialect.version == API_2026 and not names_run:
                server.refused.add(API_2026)
            else:
                server.names_runs[dialect] = names_run

    def saw(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        """Learn from an answer's headers: a server that was upgraded may know what it refused before."""
        version = enterprise_version(headers)
        with self._lock:
            server = self._of(endpoint)
            if version is not None and version != server.version:
                self._servers[endpoint.base] = _Server(version, contact=server.contact)

    def names_runs(self, endpoint: Endpoint) -> bool | None:
        """Whether dispatches here are answered with the run's ID; ``None``: not known yet."""
        if endpoint.names_runs:
            return True
        with self._lock:
            server = self._of(endpoint)
            learned = server.names_runs.get(self._dialect(endpoint))
            if learned is None and server.version is not None:
                return server.version >= NAMES_RUNS_SINCE
            return learned

    def max_inputs(self, endpoint: Endpoint) -> int:
        """How many inputs a dispatch may have here, as far as is known."""
        with self._lock:
            version = self._of(endpoint).version or MANY_INPUTS_SINCE
        return MAX_INPUTS if version >= MANY_INPUTS_SINCE else MAX_INPUTS_BEFORE

    def first_contact(self, endpoint: Endpoint) -> "Future[None] | None":
        """``None``: the caller makes it, and ends it. Otherwise somebody does: the future to wait for."""
        with self._lock:
            server = self._of(endpoint)
            if server.contact is None:
                server.contact = Future()
                return None
            return server.contact

    def end_contact(self, endpoint: Endpoint) -> None:
        """The first contact is over, with whatever result."""
        with self._lock:
            server = self._of(endpoint)
            future, server.contact = server.contact, None
        if future is not None:
            future.set_result(None)

    def _of(self, endpoint: Endpoint) -> _Server:
        return self._servers.setdefault(endpoint.base, _Server())
