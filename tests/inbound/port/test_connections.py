"""Connections to Port that are used again: few, for seconds, and nothing but a GET is ever asked twice."""

from collections.abc import Callable

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Port
from gha_step.inbound.port.api import PortApi
from gha_step.inbound.port.client import PortClient, PortCredentials, port_endpoint
from gha_step.inbound.port.connections import IDLE, MOST_IDLE, OLDEST, Connections, Kept
from gha_step.inbound.port.errors import Lost
from gha_step.runtime import ThreadWorkers
from tests.support.clock import VirtualClock
from tests.support.network import FaultyConnector, ScriptedConnection

SILENT = None  # for as long as a kept connection is listened to
WAITING = ThreadWorkers(1, "wait")


def answered(body: bytes = b"{}", head: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


TOKEN = answered(b'{"accessToken":"a-token-of-port","expiresIn":10800}')
AGAIN = answered(b'{"again":true}')


class Wires(FaultyConnector):
    """Scripted connections, in their order."""

    def __init__(self, clock: VirtualClock, *scripts: tuple[bytes | OSError | None, ...]) -> None:
        super().__init__()
        self.wires = [ScriptedConnection(*script, clock=clock) for script in scripts]
        self.on_connect = lambda endpoint: self.wires[self.connects - 1]


def asking(wires: Wires, clock: VirtualClock) -> Callable[[str], bytes]:
    """Asks with this method, and gives the answer's body."""
    credentials = PortCredentials(EXAMPLE_CLIENT_ID, Token("secret"))
    client = PortClient(
        port_endpoint("https://port.example"), lambda: credentials, connector=wires, clock=clock, workers=WAITING
    )
    return lambda method: client.ask("x", method, "/v1/x", {} if method != "GET" else None).body


def test_requests_one_after_another_share_a_connection(api: PortApi, port: Port, connector: FaultyConnector) -> None:
    run = port.press("deploy")
    for number in range(5):
        assert api.patch("run", run.id, {"link": f"https://a.example/{number}"}).status == 200
        assert api.read_run(run.id) is not None
    assert connector.connects == 1
    assert port.count() == 11


@pytest.mark.parametrize("end", [b"", ConnectionResetError(), answered()[:-1], b"nonsense\r\n\r\n"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_only_a_get_is_asked_again_where_a_kept_connection_breaks(
    clock: VirtualClock, method: str, end: bytes | OSError
) -> None:
    wires = Wires(clock, (TOKEN, SILENT, end, b""), (AGAIN,))
    ask = asking(wires, clock)
    if method == "GET":
        assert ask(method) == b'{"again":true}'
    else:
        with pytest.raises(Lost):
            ask(method)
    assert wires.connects == (2 if method == "GET" else 1)
    assert wires.wires[0].closed


def test_a_get_is_not_asked_a_third_time(clock: VirtualClock) -> None:
    wires = Wires(clock, (TOKEN, SILENT, b""), (b"",), (AGAIN,))
    with pytest.raises(Lost):
        asking(wires, clock)("GET")
    assert wires.connects == 2


@pytest.mark.parametrize(
    ("first", "heard"),
    [
        (answered(head=b"HTTP/1.1 200 OK\r\nConnection: close"), ()),
        (answered(head=b"HTTP/1.0 200 OK"), ()),
        (answered() + b"and more", ()),
        (answered(), (b"",)),  # closed while it was idle
        (answered(), (ConnectionResetError(),)),
        (answered(), (answered(head=b"HTTP/1.1 408 Request Timeout"),)),
    ],
)
def test_a_connection_that_is_not_fit_carries_nothing_more(
    clock: VirtualClock, first: bytes, heard: tuple[bytes | OSError, ...]
) -> None:
    wires = Wires(clock, (TOKEN, SILENT, first, *heard), (AGAIN,))
    ask = asking(wires, clock)
    ask("PATCH")
    assert ask("PATCH") == b'{"again":true}'
    assert wires.wires[0].sent.count(b"PATCH") == 1
    assert wires.wires[0].closed


def test_a_token_is_asked_for_over_a_connection_of_its_own(clock: VirtualClock) -> None:
    refused = answered(head=b"HTTP/1.1 401 Unauthorized")
    wires = Wires(clock, (TOKEN, SILENT, answered(), SILENT, refused, SILENT), (TOKEN, SILENT, AGAIN))
    ask = asking(wires, clock)
    ask("PATCH")
    assert ask("PATCH") == b'{"again":true}'
    assert (wires.connects, wires.wires[1].sent.count(b"access_token")) == (2, 1)


def test_what_times_out_is_closed_and_lost(clock: VirtualClock) -> None:
    wires = Wires(clock, (TOKEN, SILENT, None), (AGAIN,))
    ask = asking(wires, clock)
    with pytest.raises(Lost, match="did not answer"):
        ask("GET")
    assert wires.wires[0].closed
    assert ask("GET") == b'{"again":true}'


@pytest.mark.parametrize(("pause", "requests"), [(IDLE, 1), (IDLE / 2, 1 + int(OLDEST / (IDLE / 2)))])
def test_a_connection_is_kept_for_seconds_and_used_for_a_minute(
    clock: VirtualClock, pause: float, requests: int
) -> None:
    wires = Wires(clock, (TOKEN, SILENT, *(answered(), SILENT) * requests), (AGAIN,))
    ask = asking(wires, clock)
    for _ in range(requests):
        ask("POST")
        assert wires.connects == 1
        clock.forward(pause)
    assert ask("POST") == b'{"again":true}'
    assert wires.wires[0].closed


def test_where_one_broke_none_is_kept_half_as_long_again(clock: VirtualClock) -> None:
    """Claims that come every three seconds would otherwise be lost again and again where a server waits for three."""
    wires = Wires(clock, (TOKEN, SILENT, answered(), SILENT, b""), (answered(), SILENT, AGAIN), (answered(),))
    ask = asking(wires, clock)
    ask("POST")
    clock.forward(3.0)
    with pytest.raises(Lost):
        ask("POST")
    assert ask("POST") == b"{}"
    clock.forward(1.4)
    assert ask("POST") == b'{"again":true}'
    clock.forward(1.6)
    assert ask("POST") == b"{}"
    assert wires.connects == 3


def test_no_more_are_kept_than_a_few(clock: VirtualClock) -> None:
    connections, wires = Connections(clock), [ScriptedConnection() for _ in range(3 * MOST_IDLE)]
    for wire in wires:
        connections.give(Kept(wire, clock.boottime()))
    assert [wire.closed for wire in wires] == [True] * 2 * MOST_IDLE + [False] * MOST_IDLE
    connections.close()
    late = ScriptedConnection()
    connections.give(Kept(late, clock.boottime()))
    assert all(wire.closed for wire in [*wires, late])
    assert connections.take() is None
