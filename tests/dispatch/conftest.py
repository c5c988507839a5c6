"""One process's worth of gha_step beside an emulated GitHub, with a clock that jumps."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import GitHub
from gha_step.ledger.sqlite import SqliteStore
from tests.support.clock import VirtualClock
from tests.support.core import Program
from tests.support.github import github_at
from tests.support.ledger import FaultyStore
from tests.support.network import FaultyConnector
from tests.support.secrets import example_secret


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock.flowing()


@pytest.fixture
def github(clock: VirtualClock) -> GitHub:
    """github.com, by the same clock."""
    return GitHub(now=clock.now)


@pytest.fixture
def url(github: GitHub) -> Iterator[str]:
    with github_at(github) as at:
        yield at


@pytest.fixture
def secrets(tmp_path: Path, url: str) -> Path:
    return example_secret(tmp_path / "secrets", url)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaultyStore]:
    with closing(SqliteStore(tmp_path / "ledger.db")) as opened:
        yield FaultyStore(opened)


@pytest.fixture
def connector() -> FaultyConnector:
    return FaultyConnector()


@pytest.fixture
def process(
    store: FaultyStore, secrets: Path, clock: VirtualClock, connector: FaultyConnector
) -> Iterator[Callable[..., Program]]:
    """Another process over the same ledger, GitHub and clock."""
    started: list[Program] = []

    def start(**changes: Any) -> Program:
        common: dict[str, Any] = {"store": store, "secrets": secrets, "clock": clock, "connector": connector}
        started.append(Program(**(common | changes)))
        return started[-1]

    yield start
    for one in started:
        one.dispatches.drain()
    for one in started:
        one.close()


@pytest.fixture
def program(process: Callable[..., Program]) -> Program:
    return process()
