"""Port's ways in put together as `gha_step.wiring` does it, over real sockets, with time that runs faster."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from gha_step.credentials.directory import DirectorySecrets
from gha_step.emulator import EXAMPLE_TOKEN
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET
from gha_step.github.connection import Connector, SocketConnector
from gha_step.ledger.leader import Alone, Leader
from gha_step.ledger.record import Owner, Record
from gha_step.ledger.store import Store
from gha_step.settings import Settings
from gha_step.telemetry import Telemetry
from gha_step.wiring.core import Core
from gha_step.wiring.port import PortParts
from tests.support.clock import START
from tests.support.secrets import write_secret
from tests.support.workers import TrackedWorkers

T = TypeVar("T")
TIMES: Final = 10  # as fast as the machine's clock
PROJECT: Final = "port"
_numbers = itertools.count(1)


class QuickClock:
    """The machine's clock, ten times as fast."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def monotonic(self) -> float:
        return 1_000.0 + TIMES * (time.monotonic() - self._begun)

    boottime = monotonic

    def now(self) -> float:
        return START + self.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / TIMES)


class QuickWorkers:
    """Threads whose waits are as fast as that clock."""

    def __init__(self, limit: int, name: str) -> None:
        self._threads = TrackedWorkers(limit, name)

    def spawn(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        return self._threads.spawn(work, share)

    def finish(self) -> None:
        """Wait until nothing is under way."""
        self._threads.finish(60.0)

    def follow(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        return self._threads.follow(work, share)

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return self._threads.join(job, seconds / TIMES)


class PortProcess:
    """One process's worth of Port's ways in."""

    def __init__(
        self,
        *,
        port_url: str,
        secrets: Path,
        store: Store,
        clock: QuickClock,
        connector: Connector | None = None,
        leader: Leader | None = None,
        claims: bool = True,
        kafka: bool = False,
        **settings: str,
    ) -> None:
        environment = {"GHA_STEP_PORTIO": "claims", "GHA_STEP_PORTIO_API": port_url}
        environment |= {f"GHA_STEP_PORTIO_{name.upper()}": value for name, value in settings.items()}
        self._workers: list[QuickWorkers] = []
        self.telemetry = Telemetry()
        self.store = store
        self.clock = clock
        self.core = Core(
            store=store,
            secrets=DirectorySecrets(secrets),
            connector=connector or SocketConnector(),
            clock=clock,
            workers=self._made,
            owner=Owner(incarnation=f"process-{next(_numbers)}"),
            new_nonce=lambda: f"nonce-{next(_numbers)}",
            settle=5.0,
            telemetry=self.telemetry,
        )
        self.parts = PortParts(
            Settings.parse(environment),
            self.core,
            project=PROJECT,
            secrets=DirectorySecrets(secrets),
            connector=connector or SocketConnector(),
            store=store,
            leader=leader or Alone(),
            clock=clock,
            workers=self._made,
            telemetry=self.telemetry,
        )
        if kafka:
            self.parts.add_kafka(
                self.parts.settings.portio_kafka_ca, session=6.0
            )  # the mock cluster does not hear that a member leaves
        if claims:
            self.parts.add_claims()
        self.parts.start()

    def _made(self, limit: int, name: str) -> QuickWorkers:
        self._workers.append(QuickWorkers(limit, name))
        return self._workers[-1]

    def stop(self) -> None:
        """Begin nothing more."""
        self.parts.drain()
        self.core.drain()
        self.parts.close()

    def finish(self) -> None:
        """Wait for what is under way."""
        for workers in self._workers:
            workers.finish()

    def records(self) -> list[Record]:
        return list(self.store.records())


def port_secrets(root: Path, github_url: str, *, token: str = EXAMPLE_TOKEN) -> Path:
    """The Secrets of the project."""
    write_secret(root, PROJECT, "port-credentials", clientId=EXAMPLE_CLIENT_ID, clientSecret=EXAMPLE_CLIENT_SECRET)
    write_secret(root, PROJECT, "github-credentials", accessToken=token, baseURL=github_url)
    return root
