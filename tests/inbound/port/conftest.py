"""A client of an emulated Port, over real sockets, whose clock the test moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import serve
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET, Port, example
from gha_step.inbound.port.api import PortApi
from gha_step.inbound.port.client import PortClient, PortCredentials, port_endpoint
from gha_step.runtime import ThreadWorkers
from tests.support.clock import VirtualClock
from tests.support.network import FaultyConnector


@pytest.fixture
def clock() -> VirtualClock:
    """In place of the real one that other ways in are tried with."""
    return VirtualClock()


@pytest.fixture
def port(clock: VirtualClock) -> Port:
    """With the example's credentials, installation and action."""
    return example(Port(now=clock.now))


class Observed(list[tuple[str, str]]):
    """What the client's observer heard."""

    def hear(self, route: str, result: str) -> None:
        self.append((route, result))


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def credentials() -> list[PortCredentials]:
    """The Secret: the last one counts."""
    return [PortCredentials(EXAMPLE_CLIENT_ID, Token(EXAMPLE_CLIENT_SECRET))]


@pytest.fixture
def connector() -> FaultyConnector:
    return FaultyConnector()


@pytest.fixture
def new_client(
    port: Port,
    clock: VirtualClock,
    observed: Observed,
    credentials: list[PortCredentials],
    connector: FaultyConnector,
) -> Iterator[Callable[[], PortClient]]:
    """Makes a client as another process would have it."""
    with serve(port) as url, ExitStack() as stack:

        def new() -> PortClient:
            made = PortClient(
                port_endpoint(url),
                lambda: credentials[-1],
                connector=connector,
                clock=clock,
                workers=ThreadWorkers(1, "wait"),
                observe=observed.hear,
            )
            return stack.enter_context(closing(made))

        yield new


@pytest.fixture
def client(new_client: Callable[[], PortClient]) -> PortClient:
    return new_client()


@pytest.fixture
def api(client: PortClient) -> PortApi:
    return PortApi(client)
