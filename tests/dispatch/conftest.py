"""One process's worth of gha_step beside an emulated GitHub, with a clock that jumps."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import GitHub
from gha_step.ledger.sqlite import SqliteStore
from tests.support.core import Assembled, JumpingClock, Meddled, Meddling, example_secret, github_at


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def github(clock: JumpingClock) -> GitHub:
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
def store(tmp_path: Path) -> Iterator[Meddling]:
    with closing(SqliteStore(tmp_path / "ledger.db")) as opened:
        yield Meddling(opened)


@pytest.fixture
def connector() -> Meddled:
    return Meddled()


@pytest.fixture
def process(
    store: Meddling, secrets: Path, clock: JumpingClock, connector: Meddled
) -> Iterator[Callable[..., Assembled]]:
    """Another process over the same ledger, GitHub and clock."""
    started: list[Assembled] = []

    def start(**changes: Any) -> Assembled:
        common: dict[str, Any] = {"store": store, "secrets": secrets, "clock": clock, "connector": connector}
        started.append(Assembled(**(common | changes)))
        return started[-1]

    yield start
    for one in started:
        one.dispatches.drain()
    for one in started:
        one.close()


@pytest.fixture
def program(process: Callable[..., Assembled]) -> Assembled:
    return process()
