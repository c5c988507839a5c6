"""gRPC connections on which nobody has shown a bearer, in plaintext and over TLS: how many, and how many calls."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from gha_step.inbound import connections as of_http
from gha_step.inbound import unproved_calls
from gha_step.inbound.grpc import connections
from gha_step.inbound.grpc.connections import Connections, address_of
from gha_step.inbound.grpc.server import _credentials
from gha_step.inbound.tls import TlsContent, TlsFiles
from tests.abuse.http2 import Raw
from tests.inbound.channels import live
from tests.support.calls import BEARER
from tests.support.certificates import Authority
from tests.support.clock import LONG
from tests.support.loops import in_a_loop

KINDS = "/gha_step.v1.StepService/ListKinds"
HEALTH = "/grpc.health.v1.Health/Check"


@dataclass
class Way:
    """How callers connect."""

    target: str
    authority: Path | None

    def idle(self, source: str) -> socket.socket:
        """A connection from this address on which no call comes."""
        host, _, port = self.target.rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=LONG, source_address=(source, 0))
        context = self._tls()
        return sock if context is None else context.wrap_socket(sock, server_hostname="localhost")

    async def connect(self) -> Raw:
        """A connection for calls, which does not come back by itself."""
        host, _, port = self.target.rpartition(":")
        return await Raw.connect(host, int(port), self._tls())

    def _tls(self) -> ssl.SSLContext | None:
        if self.authority is None:
            return None
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_alpn_protocols(["h2"])
        return context


@pytest.fixture(params=["plaintext", "TLS"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    monkeypatch.setattr(connections, "LOOK_EACH", 0.05)
    authority = Authority(tmp_path / "ca")
    issued = authority.issue("server")
    tls = request.param == "TLS"
    settings = {"GRPC_TLS_CERT": str(issued.certificate), "GRPC_TLS_KEY": str(issued.key)} if tls else {}
    with live(tmp_path, **settings) as running:
        yield Way(running.target, authority.certificate if tls else None)


@in_a_loop
async def test_the_oldest_of_the_address_that_has_most_goes_and_whoever_has_shown_the_bearer_stays(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_http, "_allowed", lambda _: 4)
    proved = await way.connect()
    await proved.whole(KINDS, BEARER)
    with ExitStack() as stack:
        alone = stack.enter_context(way.idle("127.0.0.2"))
        many = []
        for _ in range(6):
            many.append(stack.enter_context(way.idle("127.0.0.1")))
            await asyncio.sleep(0.15)
        assert [closed(sock) for sock in many[:3]] == [True] * 3
        for sock in (alone, *many[3:]):
            assert not closed(sock, within=0.1)
    assert not proved.gone
    await proved.close()


@pytest.mark.parametrize(
    ("path", "taken_back"), [(HEALTH, False), (HEALTH, True), (KINDS, False), ("/gha_step.v1.StepService/None", False)]
)
@in_a_loop
async def test_too_many_calls_without_a_bearer_end_their_connection_and_none_that_has_shown_it(
    way: Way, path: str, taken_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unproved_calls, "MOST", 5)
    proved, other = await way.connect(), await way.connect()
    await proved.whole(KINDS, BEARER)
    async with asyncio.timeout(LONG):
        while not other.gone:
            for one in (proved, other):
                with suppress(OSError):
                    await (one.call_and_reset if taken_back else one.whole)(path, "")
            await asyncio.sleep(0.005)
    assert not proved.gone
    await proved.close()
    await other.close()


@in_a_loop
async def test_who_asks_again_as_soon_as_it_is_refused_hears_after_a_pause() -> None:
    made = Connections()
    for _ in range(connections.REFUSED):
        made.called("ipv4:192.0.2.1:40000")
        await asyncio.wait_for(made.refusing("ipv4:192.0.2.1:40000"), LONG)
    made.called("ipv4:192.0.2.1:40000")
    waiting = [asyncio.create_task(made.refusing("ipv4:192.0.2.1:40000")) for _ in range(unproved_calls.PUT_OFF)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await asyncio.wait_for(made.refusing("ipv4:192.0.2.1:40000"), LONG)  # as many as may wait do
    await asyncio.wait_for(made.refusing("ipv4:192.0.2.2:40000"), LONG)  # another's address
    made.leave()  # the process stops
    await asyncio.wait_for(asyncio.gather(*waiting), LONG)


def test_a_peer_as_grpc_names_it_has_the_address_that_http_tells() -> None:
    assert address_of("ipv4:192.0.2.1:40000") == "192.0.2.1"
    assert address_of("ipv6:%5B2001:db8::1%5D:40000") == "2001:db8::1"
    assert address_of("unix:") == "unix"


@in_a_loop
async def test_connections_to_other_ports_are_none_of_its(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_http, "_allowed", lambda _: 0)

    def look(port: int) -> None:
        watching = Connections()
        watching.watch(port)
        watching.leave()

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as accepted,
    ):
        port = server.getsockname()[1]
        look(port + 1)
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        look(port)
        assert closed(client)


def test_files_are_read_when_they_have_changed_and_not_for_each_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = Authority(tmp_path).issue("server")
    reads = []
    read = TlsFiles.read

    def counted(files: TlsFiles) -> TlsContent:
        reads.append(files)
        return read(files)

    monkeypatch.setattr(TlsFiles, "read", counted)
    asked: list[Callable[[], object]] = []

    def credentials(first: object, renewed: Callable[[], object], **rest: object) -> None:
        asked.append(renewed)

    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", credentials)
    _credentials(TlsFiles(issued.certificate, issued.key, None))
    assert asked[0]() is None
    assert len(reads) == 1
    issued.key.write_bytes(b"half a key")
    assert asked[0]() is None
    assert asked[0]() is None
    assert len(reads) == 2


def closed(sock: socket.socket, within: float = LONG) -> bool:
    """Whether it ends; what the server has said before that is read."""
    sock.settimeout(within)
    try:
        while sock.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True
