"""An emulated GitHub with an installed App, and one process's worth of gha_step beside it, by a clock that jumps."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Installation, serve
from gha_step.github.app import Installation as Wanted
from gha_step.github.app_tokens import AppTokens
from gha_step.github.client import PyGithubClient
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.server_capabilities import ServerCapabilities
from gha_step.ledger.sqlite import SqliteStore
from gha_step.telemetry import Telemetry
from tests.support.app_keys import rsa_key
from tests.support.calls import config
from tests.support.clock import VirtualClock
from tests.support.core import Program
from tests.support.network import FaultyConnector
from tests.support.secrets import write_secret
from tests.support.workers import TrackedWorkers

NEW: Final = "create-installation-token"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock.flowing()


@pytest.fixture
def github(clock: VirtualClock) -> GitHub:
    """github.com, by the same clock; it takes no token but the App's."""
    github = GitHub(now=clock.now)
    github.remove_token(EXAMPLE_TOKEN)
    return github


@pytest.fixture
def installed(github: GitHub) -> Installation:
    return github.add_installation(github.add_app(rsa_key().public))


@pytest.fixture
def url(github: GitHub) -> Iterator[str]:
    with serve(github) as at:
        yield at


@pytest.fixture
def connector() -> FaultyConnector:
    return FaultyConnector()


@pytest.fixture
def workers() -> Iterator[TrackedWorkers]:
    started = TrackedWorkers(16, "token")
    yield started
    started.finish()


@pytest.fixture
def make_tokens(connector: FaultyConnector, clock: VirtualClock, workers: TrackedWorkers) -> Callable[[], AppTokens]:
    """One process's memory of tokens."""
    return lambda: AppTokens(
        client=PyGithubClient(connector, clock),
        servers=ServerCapabilities(),
        clock=clock,
        workers=workers,
        telemetry=Telemetry(),
    )


@pytest.fixture
def tokens(make_tokens: Callable[[], AppTokens]) -> AppTokens:
    return make_tokens()


@pytest.fixture
def wanted(url: str, installed: Installation) -> Callable[..., Wanted]:
    """What a step wants a token for."""

    def make(**changes: Any) -> Wanted:
        whole: dict[str, Any] = {
            "endpoint": resolve_endpoint(url, allow_http=False),
            "issuer": installed.app.client_id,
            "number": installed.id,
            "private_key": Token(rsa_key().private),
            "owner": "myorg",
            "repo": "my-app",
        }
        return Wanted(**(whole | changes))

    return make


def write_app(folder: Path, url: str, **changes: str) -> None:
    """The App's Secret, as Kargo has it; a value of ``-`` leaves the key out."""
    whole = {
        "repoURL": f"{url}/myorg/my-app",
        "githubAppClientID": "Iv23example",
        "githubAppInstallationID": "815",
        "githubAppPrivateKey": rsa_key().private,
    }
    kept: dict[str, Any] = {key: value for key, value in (whole | changes).items() if value != "-"}
    write_secret(folder, "demo", "app", **kept)


def by_url(url: str, **changes: Any) -> dict[str, Any]:
    """Kargo's example in the form since v1.9."""
    return config(credentials=..., owner=..., repo=..., repoURL=f"{url}/myorg/my-app", **changes)


@pytest.fixture
def program(
    tmp_path: Path, url: str, installed: Installation, clock: VirtualClock, connector: FaultyConnector
) -> Iterator[Program]:
    write_app(tmp_path / "secrets", url)
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        program = Program(store=store, secrets=tmp_path / "secrets", clock=clock, connector=connector)
        yield program
        program.close()
