"""An installed App, whose Secret is the only one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jwt  # noqa: F401  the first import of it takes longer than a call waits, on a busy machine
import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Installation
from gha_step.github.app import Installation as Wanted
from gha_step.github.app_tokens import AppTokens
from gha_step.github.endpoint import resolve_endpoint
from tests.github.answers import client_over
from tests.support.app_keys import rsa_key
from tests.support.calls import config
from tests.support.clock import VirtualClock
from tests.support.network import FaultyConnector
from tests.support.secrets import write_secret
from tests.support.workers import TrackedWorkers

NEW: Final = "create-installation-token"


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
def workers() -> Iterator[TrackedWorkers]:
    started = TrackedWorkers(16, "token")
    yield started
    started.finish()


@pytest.fixture
def make_tokens(connector: FaultyConnector, clock: VirtualClock, workers: TrackedWorkers) -> Callable[[], AppTokens]:
    """One process's memory of tokens."""
    return lambda: AppTokens(
        client=client_over(connector, clock),
        clock=clock,
        workers=workers,
    )


@pytest.fixture
def tokens(make_tokens: Callable[[], AppTokens]) -> AppTokens:
    return make_tokens()


@pytest.fixture
def wanted(github_url: str, installed: Installation) -> Callable[..., Wanted]:
    """What a step wants a token for."""

    def make(**changes: Any) -> Wanted:
        whole: dict[str, Any] = {
            "endpoint": resolve_endpoint(github_url, allow_http=False),
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
def secrets(tmp_path: Path, github_url: str, installed: Installation) -> Path:
    """The App's Secret, and no other."""
    write_app(tmp_path / "secrets", github_url)
    return tmp_path / "secrets"
