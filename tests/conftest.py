"""What tests of every folder share: an emulated GitHub, one process's worth of gha_step beside it, a real API server.

A folder whose tests need another of these parts overrides that one fixture in its own conftest.
"""

import gc
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from gha_step.emulator import GitHub
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import Clock
from tests.support.api_server import ApiServer
from tests.support.api_server import serving as api_server
from tests.support.certificates import Authority
from tests.support.clock import VirtualClock
from tests.support.cluster import Cluster, running_or_skipped
from tests.support.core import Program, Start
from tests.support.github import github_at
from tests.support.ledger import FaultyStore
from tests.support.network import FaultyConnector
from tests.support.secrets import example_secret
from tests.support.server import serving

# How long an example takes says how busy the machine is, and nothing about the program.
# The same examples each time: a change is judged by its own faults. `make soak` looks for new ones.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60, derandomize=True
)
settings.register_profile("soak", settings.get_profile("tests"), max_examples=500, derandomize=False)
settings.load_profile("tests")

MEMORY: Final = Path("/dev/shm")
ROOM: Final = 2**30  # bytes; a run writes 200 MB


def pytest_configure() -> None:
    """Files lie in memory where there is room: on a disk, a run waits for tens of thousands of fsyncs.

    What nohup or a shell's background ignores is not handed on to the processes that tests start.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        there = os.statvfs(MEMORY)
        if there.f_bavail * there.f_frsize >= ROOM and not there.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


# Tests that wait for many seconds, the longest first. Those of one line stay together: they share what they wait for.
LONG_ONES: Final = (
    "pages/test_blocks.py::test_the_blocks_of_a_page_run",
    "scenarios/",
    "kills/test_kills.py",
    "inbound/port/test_broker.py",
    "test_cli.py::test_the_demo_",
    "shell/test_kills.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones begin first, in one half of the workers, while the other half computes: begun last, each would be
    waited for alone. xdist gives each worker a part of the list, in its order."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    groups = [[item for item in items if f"tests/{name}" in item.nodeid] for name in LONG_ONES]
    long = {item for group in groups for item in group}
    others = [item for item in items if item not in long]
    waiting, count, ordered = max(1, workers // 2), len(items), list[pytest.Item]()
    for part in range(workers):
        ends = len(ordered) + (count - len(ordered)) // (workers - part)
        if part < waiting:
            ordered += [item for group in groups[part::waiting] for item in group]
        share = max(0, ends - len(ordered))
        ordered, others = ordered + others[:share], others[share:]
    items[:] = ordered


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Each worker collects all tests, and nothing of them is garbage: to look for some takes a tenth of that time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def clock() -> Clock:
    """Standing at 2023-11-14T22:13:20Z until somebody sleeps."""
    return VirtualClock()


@pytest.fixture
def github(clock: Clock) -> GitHub:
    """github.com with the example repository, by the same clock."""
    return GitHub(now=clock.now)


@pytest.fixture
def github_url(github: GitHub) -> Iterator[str]:
    with github_at(github) as url:
        yield url


@pytest.fixture
def secrets(tmp_path: Path, github_url: str) -> Path:
    """The directory of Secrets; `github` of the project `demo` leads to the emulated GitHub."""
    return example_secret(tmp_path / "secrets", github_url)


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger's file; to copy one takes half the time of making one."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    SqliteStore(path).close()
    return path


@pytest.fixture
def store(tmp_path: Path, empty_ledger: Path) -> Iterator[FaultyStore]:
    shutil.copyfile(empty_ledger, tmp_path / "ledger.db")
    with closing(SqliteStore(tmp_path / "ledger.db")) as opened:
        yield FaultyStore(opened)


@pytest.fixture
def connector() -> FaultyConnector:
    return FaultyConnector()


@pytest.fixture
def process(store: FaultyStore, secrets: Path, clock: Clock, connector: FaultyConnector) -> Iterator[Start]:
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
def program(process: Start) -> Program:
    return process()


@pytest.fixture
def live(program: Program) -> Iterator[str]:
    """The URL of an HTTP server around it; it asks for the bearer of the tests."""
    with serving(program) as url:
        yield url


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A stand-in for a kube-apiserver."""
    with api_server() as started:
        yield started


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """See `tests.support.cluster`; its tests are skipped, and say so, where there is none."""
    with running_or_skipped() as started:
        yield started
