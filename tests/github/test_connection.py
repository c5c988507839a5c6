"""The way to GitHub over real sockets: names, refusals, certificates, proxies."""

import base64
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gha_step.github import connection as connections
from gha_step.github.connection import Connection, Found, SocketConnector, resolve
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unreachable, Untrusted
from tests.support.certificates import Authority, Issued
from tests.support.clock import soon
from tests.support.ports import free_port
from tests.support.proxy import Proxy, proxy

HELLO = b"hello"
GHE = "ghe.example.com"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def server(authority: Authority) -> Issued:
    """For 127.0.0.1, localhost and `GHE`, where proxies lead."""
    return authority.issue("server", names=("localhost", GHE))


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that treats each connection so; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def loop() -> None:
            while not stop.is_set():
                if select.select([listener], [], [], 0.05)[0]:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(5)
                        with suppress(OSError):
                            serve(connection)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            stop.set()
            thread.join()


@contextmanager
def greeting(issued: Issued | None) -> Iterator[int]:
    """A server, with TLS if it has a certificate, that says hello and closes."""
    context = None
    if issued is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)

    def serve(connection: socket.socket) -> None:
        if context is None:
            connection.sendall(HELLO)
        else:
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.sendall(HELLO)

    with listening(serve) as port:
        yield port


def endpoint(port: int, *, tls: bool = True, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(base="", tls=tls, host=host, port=port, path="/api/v3")


def first_bytes(target: Endpoint) -> bytes | None:
    connection = SocketConnector().connect(target)
    try:
        return connection.receive(5)
    finally:
        connection.close()


def unreachable(target: Endpoint) -> str:
    with pytest.raises(Unreachable) as caught:
        SocketConnector().connect(target)
    assert caught.value.retry_after is not None
    return str(caught.value)


def untrusted(target: Endpoint) -> str:
    with pytest.raises(Untrusted) as caught:
        SocketConnector().connect(target)
    assert caught.value.retry_after is None
    return str(caught.value)


# ---------------------------------------------------------------- without TLS


def test_a_plain_connection_carries_bytes_and_tells_of_the_end() -> None:
    with greeting(None) as port:
        connection = SocketConnector().connect(endpoint(port, tls=False))
        assert connection.receive(5) == HELLO
        assert connection.receive(5) == b""
        connection.close()


def test_silence_is_none_and_not_an_error() -> None:
    def say_nothing(connection: socket.socket) -> None:
        connection.recv(1)

    with listening(say_nothing) as port:
        connection = SocketConnector().connect(endpoint(port, tls=False))
        assert connection.receive(0.01) is None
        assert connection.receive(0) is None
        connection.close()


def test_a_connection_never_reopens_itself() -> None:
    accepted: list[int] = []

    def reset(connection: socket.socket) -> None:
        accepted.append(1)
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def post_until_it_fails(connection: Connection) -> None:
        for _ in range(100):
            connection.send(b"POST / HTTP/1.1\r\n\r\n")
            connection.receive(1)

    with listening(reset) as port:
        connection = SocketConnector().connect(endpoint(port, tls=False))
        for _ in range(3):
            with pytest.raises(OSError, match=r"reset|Broken pipe|not connected"):
                post_until_it_fails(connection)
        connection.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            connection.send(b"POST / HTTP/1.1\r\n\r\n")
    assert len(accepted) == 1


def test_each_connect_is_a_fresh_connection() -> None:
    accepted: list[int] = []
    with listening(lambda connection: accepted.append(1)) as port:
        connector = SocketConnector()
        for _ in range(3):
            connector.connect(endpoint(port, tls=False)).close()
        assert first_bytes(endpoint(port, tls=False)) == b""
    assert len(accepted) == 4


def test_a_refused_connection_is_unreachable_and_named() -> None:
    port = free_port()
    said = unreachable(endpoint(port, tls=False))
    assert f"127.0.0.1 port {port}" in said
    assert "refused" in said


def test_a_name_that_does_not_resolve_is_unreachable_and_named() -> None:
    assert "gha-step-tests.invalid does not resolve" in unreachable(endpoint(443, host="gha-step-tests.invalid"))


def test_a_name_longer_than_any_name_is_unreachable() -> None:
    unreachable(endpoint(443, host=".".join(["a" * 60] * 6) + ".invalid"))


# ---------------------------------------------------------------- TLS


def test_a_certificate_that_nobody_trusts_is_untrusted_naming_host_and_ca(server: Issued) -> None:
    with greeting(server) as port:
        said = untrusted(endpoint(port))
    assert f"127.0.0.1 port {port}" in said
    assert "SSL_CERT_FILE" in said


def test_ssl_cert_file_makes_it_trusted(server: Issued, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with greeting(server) as port:
        assert first_bytes(endpoint(port)) == HELLO
        assert first_bytes(endpoint(port, host="localhost")) == HELLO


def test_a_certificate_for_another_name_is_untrusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    other = authority.issue("other", names=(GHE,))
    with greeting(other) as port:
        said = untrusted(endpoint(port, host="localhost"))
    assert "is not for this host" in said
    assert "'localhost'" in said
    assert "SSL_CERT_FILE" not in said, "no CA would help"


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_ca_file_that_is_none_trusts_nobody_and_is_named(
    server: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with greeting(server) as port:
        untrusted(endpoint(port))


def test_a_server_without_tls_is_unreachable_over_https() -> None:
    with greeting(None) as port:
        assert "accepts no TLS connection" in unreachable(endpoint(port))


def test_a_server_that_closes_within_the_handshake_is_unreachable() -> None:
    with listening(lambda connection: None) as port:
        unreachable(endpoint(port))


# ---------------------------------------------------------------- proxies


@pytest.fixture
def through(server: Issued, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, int]]:
    """A proxy that HTTPS_PROXY names, and the port of a trusted server."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with greeting(server) as port, proxy() as running:
        monkeypatch.setenv("HTTPS_PROXY", running.url)
        running.leads[f"{GHE}:{port}"] = port
        yield running, port


def test_https_goes_through_the_proxy_as_a_tunnel(through: tuple[Proxy, int]) -> None:
    running, port = through
    assert first_bytes(endpoint(port, host=GHE)) == HELLO
    assert [asked.target for asked in running.asked] == [f"{GHE}:{port}"]
    assert running.asked[0].login is None


def test_the_lower_case_name_works_too_and_so_does_a_bare_address(
    through: tuple[Proxy, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, port = through
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("https_proxy", running.url.removeprefix("http://"))
    assert first_bytes(endpoint(port, host=GHE)) == HELLO
    assert len(running.asked) == 1


def test_the_proxys_login_is_sent_to_the_proxy_only(
    through: tuple[Proxy, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, port = through
    monkeypatch.setenv("HTTPS_PROXY", running.url.replace("http://", "http://user:p%40ss%3Aword@"))
    running.login = "user:p@ss:word"
    assert first_bytes(endpoint(port, host=GHE)) == HELLO
    assert running.asked[0].login == "Basic " + base64.b64encode(b"user:p@ss:word").decode()


def test_a_proxy_that_wants_another_login_is_unreachable_and_no_password_is_told(
    through: tuple[Proxy, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, port = through
    running.login = "user:right"
    monkeypatch.setenv("HTTPS_PROXY", running.url.replace("http://", "http://user:hunter2@"))
    said = unreachable(endpoint(port, host=GHE))
    assert "407" in said
    assert "HTTPS_PROXY" in said
    assert "hunter2" not in said


def test_loopback_is_never_asked_through_the_proxy(through: tuple[Proxy, int]) -> None:
    running, port = through
    assert first_bytes(endpoint(port)) == HELLO
    assert first_bytes(endpoint(port, host="localhost")) == HELLO
    assert running.asked == []


@pytest.mark.parametrize(
    "exempt", ["*", "example.com", "*.example.com", "ghe.example.com:{port}", " a.b , .example.com"]
)
def test_no_proxy_exempts_a_host(through: tuple[Proxy, int], monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    running, port = through
    monkeypatch.setenv("NO_PROXY", exempt.format(port=port))

    def directly(host: str, port: int | None, flags: int) -> Sequence[Found]:
        assert host == GHE
        return resolve("127.0.0.1", port, flags)

    connection = SocketConnector(resolve=directly).connect(endpoint(port, host=GHE))
    assert connection.receive(5) == HELLO
    connection.close()
    assert running.asked == []


@pytest.mark.parametrize("exempt", ["", "ample.com", "ghe.example.com:1", "x.ghe.example.com", "127.0.0.1"])
def test_no_proxy_does_not_exempt_others(
    through: tuple[Proxy, int], monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    running, port = through
    monkeypatch.setenv("NO_PROXY", exempt)
    assert first_bytes(endpoint(port, host=GHE)) == HELLO
    assert len(running.asked) == 1


def test_a_proxy_may_itself_be_spoken_to_over_tls(
    authority: Authority, server: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with greeting(server) as port, proxy(server) as running:
        running.leads[f"{GHE}:{port}"] = port
        running.login = "user:word"
        monkeypatch.setenv("HTTPS_PROXY", running.url.replace("https://", "https://user:word@"))
        connection = SocketConnector().connect(endpoint(port, host=GHE))
        assert connection.receive(5) == HELLO
        assert connection.receive(5) == b""
        connection.close()
        assert len(running.asked) == 1


def test_a_proxy_whose_certificate_nobody_trusts_is_named(server: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(server) as running:
        monkeypatch.setenv("HTTPS_PROXY", running.url)
        said = untrusted(endpoint(443, host=GHE))
    assert "the certificate of the proxy 127.0.0.1 port" in said
    assert running.asked == []


def test_plain_http_does_not_go_through_the_proxy(through: tuple[Proxy, int]) -> None:
    running, _ = through
    with greeting(None) as port:
        assert first_bytes(endpoint(port, tls=False)) == HELLO
    assert running.asked == []


@pytest.mark.parametrize("status", [200 - 1 + 104, 400, 403, 407, 502, 503, 302])
def test_a_proxy_that_opens_no_tunnel_is_unreachable_and_its_status_told(
    through: tuple[Proxy, int], status: int
) -> None:
    running, port = through
    running.refuses_with = status
    assert str(status) in unreachable(endpoint(port, host=GHE))


@pytest.mark.parametrize("said", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200", b"\x05\x00", b"x" * 100_000])
def test_a_proxy_that_speaks_no_http_is_unreachable(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(said)

    with listening(serve) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert "proxy" in unreachable(endpoint(443, host=GHE))


def test_a_proxy_that_refuses_connections_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:hunter2@127.0.0.1:{port}")
    said = unreachable(endpoint(443, host="ghe.example.com"))
    assert "through the proxy 127.0.0.1" in said
    assert "hunter2" not in said


def test_a_proxys_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://gha-step-proxy.invalid:3128")
    assert "gha-step-proxy.invalid does not resolve" in unreachable(endpoint(443, host=GHE))


def test_the_certificate_is_that_of_the_server_behind_the_proxy(
    through: tuple[Proxy, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path / "other").certificate))
    running, port = through
    assert "through the proxy" in untrusted(endpoint(port, host=GHE))
    assert len(running.asked) == 1


# ---------------------------------------------------------------- what an hour, and what no descriptor, does to it


@contextmanager
def deaf() -> Iterator[int]:
    """A port whose backlog is full: who connects hears nothing."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


def test_all_addresses_of_a_name_share_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 1.0)
    with deaf() as port:

        def sixty(host: str, _: int | None, flags: int) -> Sequence[Found]:
            return [found for found in resolve("127.0.0.1", port, flags) for _ in range(60)]

        with soon(), pytest.raises(Unreachable, match="timed out"):
            SocketConnector(resolve=sixty).connect(endpoint(80, tls=False, host="ghe"))


def test_an_address_that_answers_is_found_behind_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 2.0)
    with deaf() as silent, greeting(None) as answers:

        def both(host: str, _: int | None, flags: int) -> Sequence[Found]:
            return [*resolve("127.0.0.1", silent, flags), *resolve("127.0.0.1", answers, flags)]

        connection = SocketConnector(resolve=both).connect(endpoint(80, tls=False, host="ghe"))
        assert connection.receive(5) == HELLO
        connection.close()


def test_cas_that_could_not_be_read_are_no_reason_to_call_a_certificate_untrusted_and_are_read_again(
    monkeypatch: pytest.MonkeyPatch, server: Issued, authority: Authority
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with greeting(server) as port:
        target = endpoint(port, host="localhost")
        connector = SocketConnector()
        monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_, **__: None)  # no descriptor was left
        with pytest.raises(Unreachable, match="could not be read"):
            connector.connect(target)
        monkeypatch.undo()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        connection = connector.connect(target)
        assert connection.receive(5) == HELLO
        connection.close()
