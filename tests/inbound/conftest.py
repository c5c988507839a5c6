"""The HTTP server over a real socket, beside an emulated GitHub."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gha_step.credentials.directory import DirectorySecrets
from gha_step.emulator import GitHub
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import SystemClock
from tests.inbound.slow_secrets import Slow
from tests.support.core import Program
from tests.support.github import github_at
from tests.support.secrets import example_secret
from tests.support.server import serving


@pytest.fixture
def clock() -> SystemClock:
    """Real time: what is tested here waits for sockets."""
    return SystemClock()


@pytest.fixture
def slow(secrets: Path) -> Iterator[Slow]:
    made = Slow(DirectorySecrets(secrets))
    yield made
    made.free.set()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, GitHub]]:
    """A server for all tests of a module that must not reach GitHub, and that GitHub."""
    folder, github = tmp_path_factory.mktemp("shared"), GitHub()
    with github_at(github) as github_url, closing(SqliteStore(folder / "ledger.db")) as store:
        secrets = example_secret(folder / "secrets", github_url)
        program = Program(store=store, secrets=secrets, clock=SystemClock())
        with serving(program) as url:
            yield url, github
        program.close()


@pytest.fixture
def url(shared: tuple[str, GitHub]) -> Iterator[str]:
    """The shared server's URL; whatever the test does, GitHub hears nothing of it."""
    yield shared[0]
    assert shared[1].count() == 0
