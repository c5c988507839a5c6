"""Port and GitHub emulated on real sockets, and processes of gha_step between them."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

from gha_step.emulator import EXAMPLE_REPOSITORY, NEVER, GitHub, serve
from gha_step.emulator.port import Port, example
from gha_step.ledger.sqlite import SqliteStore
from tests.support.clock import LONG
from tests.support.github import github_at
from tests.support.ledger import FaultyStore
from tests.support.port import PortProcess, QuickClock, port_secrets

Begin = Callable[..., PortProcess]


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def port(clock: QuickClock) -> Port:
    return example(Port(now=clock.now))


@pytest.fixture
def github(clock: QuickClock) -> GitHub:
    """Its runs go on until a test ends them."""
    made = GitHub(now=clock.now)
    (workflow,) = made._repositories[EXAMPLE_REPOSITORY].workflows
    workflow.runs_for = NEVER
    return made


@pytest.fixture
def github_url(github: GitHub) -> Iterator[str]:
    with github_at(github) as url:
        yield url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaultyStore]:
    with closing(SqliteStore(tmp_path / "ledger.db")) as opened:
        yield FaultyStore(opened)


@pytest.fixture
def begin(tmp_path: Path, port: Port, github_url: str, store: FaultyStore, clock: QuickClock) -> Iterator[Begin]:
    """Starts a process."""
    begun: list[PortProcess] = []
    secrets = port_secrets(tmp_path / "secrets", github_url)
    with serve(port) as port_url:

        def start(**changes: object) -> PortProcess:
            given = {"port_url": port_url, "secrets": secrets, "store": store, "clock": clock} | changes
            begun.append(PortProcess(**given))  # type: ignore[arg-type]
            return begun[-1]

        yield start
        for one in begun:
            one.stop()
        for one in begun:
            one.finish()
        with suppress(HTTPError), build_opener(ProxyHandler({})).open(f"{port_url}/v1/none", timeout=LONG):
            pass  # connections are taken in order: none is left that it has not even seen
