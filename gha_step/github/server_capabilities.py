"""What this process has learned of each GitHub server: how it is asked, what it refuses, whether it names runs.

Everything is remembered per API base and API version, and forgotten when an answer says otherwise: an upgraded
GitHub Enterprise Server says its new version; any server is asked once an hour for what it refused.

Source: the table of server generations in facts/github-dispatch.md.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Final

from gha_step.contract.memory import Memory
from gha_step.contract.values import MAX_INPUTS
from gha_step.github.endpoint import Endpoint
from gha_step.github.messages import (
    API_2022,
    API_2026,
    VERSION_HEADER,
    VERSION_SELECTED,
    Dialect,
    enterprise_version,
)
from gha_step.runtime import Clock

NAMES_RUNS_SINCE: Final = (3, 21)
MANY_INPUTS_SINCE: Final = (3, 20)
MAX_INPUTS_BEFORE: Final = 10
AGAIN_AFTER: Final = 3600.0  # seconds after which a server is asked once more for what it refused


class _Server:
    """One API base. ``refused``: API versions; ``keyless``: versions in which our key is refused; each with when."""

    def __init__(self, version: tuple[int, int] | None = None, contact: "Future[None] | None" = None) -> None:
        self.version = version  # of a GitHub Enterprise Server
        self.selects = False  # its answers say which API version was selected: our header arrives
        self.refused: dict[str, float] = {}
        self.keyless: dict[str | None, float] = {}
        self.names_runs: dict[Dialect, bool] = {}
        self.no_groups: float | None = None  # when it said that it does not tell of concurrency groups
        self.contact = contact


class ServerCapabilities:
    """One memory per process, by API base. Lost with the process, and learned again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._servers: Memory[str, _Server] = Memory(1_000)

    def dialect(self, endpoint: Endpoint) -> Dialect:
        """How this server is asked.

        2026-03-10 first where it is known to be, and our header to arrive; elsewhere, and where it was refused,
        2022-11-28; then no version.
        """
        with self._lock:
            return self._dialect(endpoint)

    def dialect_to_read(self, endpoint: Endpoint) -> Dialect:
        """As `dialect`, but once an hour with a version that was refused. Never for a dispatch: it may go unnamed."""
        with self._lock:
            server, usual = self._of(endpoint), self._dialect(endpoint)
            for version in self._versions(endpoint, server):
                if version == usual.version:
                    break
                if self._is_old(server.refused[version]):
                    server.refused[version] = self._clock.monotonic()
                    return Dialect(version)
            return usual

    def _dialect(self, endpoint: Endpoint) -> Dialect:
        server = self._of(endpoint)
        version = next((one for one in self._versions(endpoint, server) if one not in server.refused), None)
        # Our key is simply sent again: a dispatch that is refused for it has started nothing.
        return Dialect(version, key_known=self._is_old(server.keyless.get(version)))

    def _versions(self, endpoint: Endpoint, server: _Server) -> tuple[str, ...]:
        """What may be asked, the best first."""
        # A dispatch whose header is lost on the way goes unnamed: an Enterprise Server has shown before that it is not.
        new = endpoint.names_runs or (server.selects and (server.version or (0, 0)) >= NAMES_RUNS_SINCE)
        return (API_2026, API_2022) if new else (API_2022, API_2026)

    def _is_old(self, since: float | None) -> bool:
        return since is None or self._clock.monotonic() - since >= AGAIN_AFTER

    def refused(self, endpoint: Endpoint, dialect: Dialect, feature: str) -> None:
        """The server does not know what ``dialect`` asked it: its API version, or our key."""
        with self._lock:
            server = self._of(endpoint)
            if feature != VERSION_HEADER:
                server.keyless[dialect.version] = self._clock.monotonic()
            elif dialect.version is not None:
                server.refused[dialect.version] = self._clock.monotonic()

    def answered_dispatch(self, endpoint: Endpoint, dialect: Dialect, *, names_run: bool) -> None:
        """A dispatch was accepted. Since 2026-03-10 every run is named: where none was, the header did not arrive."""
        with self._lock:
            server = self._of(endpoint)
            if dialect.version == API_2026 and not names_run:
                server.refused[API_2026] = self._clock.monotonic()
            else:
                server.names_runs[dialect] = names_run

    def saw(self, endpoint: Endpoint, headers: Mapping[str, str], dialect: Dialect) -> None:
        """Learn from the headers of an answer to ``dialect``: the server may know what it refused before."""
        version = enterprise_version(headers)
        with self._lock:
            server = self._of(endpoint)
            if dialect.version is not None and headers.get(VERSION_SELECTED) == dialect.version:
                server.refused.pop(dialect.version, None)
            if version is not None and version != server.version:
                self._servers[endpoint.base] = server = _Server(version, contact=server.contact)
            server.selects |= VERSION_SELECTED in headers

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

    def may_tell_groups(self, endpoint: Endpoint) -> bool:
        """Whether it may tell of concurrency groups, as far as is known."""
        with self._lock:
            return self._is_old(self._of(endpoint).no_groups)

    def tells_no_groups(self, endpoint: Endpoint) -> None:
        """It has no concurrency groups: 404 for a run that is there."""
        with self._lock:
            self._of(endpoint).no_groups = self._clock.monotonic()

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
        server = self._servers.get(endpoint.base)
        if server is None:
            server = self._servers[endpoint.base] = _Server()
        return server
