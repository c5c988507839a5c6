"""One fresh connection to a GitHub server: DNS, TCP, proxy, TLS. It sends one request and never reopens itself.

Opening is a separate call, so that a failure to connect is known before the ledger says "sending". Reading can time out
and be resumed later, which http.client's buffered reader cannot do: that is why the bytes are handled here (see
`gha_step.github.exchange`).
"""

import base64
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias

from gha_step.github.egress import Address, Egress, parse_address
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, Unreachable, Untrusted
from gha_step.proxies import VARIABLE, Proxies, Proxy
from gha_step.trust import check_authorities, client_context, has_authorities, wrong_with

CONNECT_SECONDS: Final = 10.0  # for all of it: every address, the proxy, TLS
MOST_ADDRESSES: Final = 8  # of one name that are tried
_CHUNK: Final = 65_536
Found: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
Resolve: TypeAlias = Callable[[str, int | None, int], Sequence[Found]]


class Connection(Protocol):
    """Bytes to and from a server."""

    def send(self, data: bytes) -> None:
        """Hand all of ``data`` to the socket. :raises OSError: some of it may have left."""

    def receive(self, seconds: float) -> bytes | None:
        """What comes next: ``b""`` when the peer has closed, ``None`` when it stays silent so long.

        :raises OSError: the connection broke.
        """

    def close(self) -> None:
        """Let go of it; nothing is raised."""


class Connector(Protocol):
    """Opens connections."""

    def connect(self, endpoint: Endpoint) -> Connection:
        """A fresh connection, ready for a request's first byte.

        :raises Unreachable: no connection.
        :raises Untrusted: the certificate, or a host where this process does not connect to.
        """


class SocketConnection:
    """A connection over a real socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, data: bytes) -> None:
        self._socket.settimeout(CONNECT_SECONDS)
        self._socket.sendall(data)

    def receive(self, seconds: float) -> bytes | None:
        self._socket.settimeout(max(seconds, 0.001))
        try:
            return self._socket.recv(_CHUNK) or b""  # TLS within TLS says 0 of an end without a farewell
        except TimeoutError:
            return None

    def close(self) -> None:
        self._socket.close()


def resolve(host: str, port: int | None, flags: int) -> Sequence[Found]:
    """Where ``host`` leads by the system's resolver. :raises OSError: nowhere."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)


class SocketConnector:
    """Connections by the system's resolver, CAs (SSL_CERT_FILE counts), HTTPS_PROXY and NO_PROXY.

    :param proxies: those of the environment, unless they are given.
    :param bounds: where not to connect to. Behind a proxy, which resolves names itself, it is held to names.
    :param api_server: the hosts of the Kubernetes API server.
    """

    def __init__(
        self,
        bounds: Egress | None = None,
        api_server: Iterable[str] = (),
        *,
        proxies: Proxies | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._proxies = Proxies.parse(os.environ) if proxies is None else proxies
        self._bounds = bounds or Egress()
        self._resolve = resolve
        self._api_server = tuple(api_server)
        # By whether certificates are checked. Loading the CAs costs more than a handshake.
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def connect(self, endpoint: Endpoint) -> Connection:
        self._bounds.check_host(endpoint)
        proxy = self._proxies.for_tls(endpoint.host, endpoint.port) if endpoint.tls else None
        where = f"{endpoint.host} port {endpoint.port}" + (f" through the proxy {proxy.host}" if proxy else "")
        patience = _Patience()
        sock = self._dial_or_explain(endpoint, proxy, where, patience)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy and proxy.tls:
                sock.settimeout(patience.left())
                sock = self._secure(sock, proxy.host, f"the proxy {proxy.host} port {proxy.port}", VARIABLE)
            if proxy:
                _open_tunnel(sock, endpoint, proxy.login, patience)
            if endpoint.tls:
                sock.settimeout(patience.left())
                sock = self._secure(sock, endpoint.host, where, endpoint.named_by, verify=endpoint.verify)
        except GitHubError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            raise Unreachable(f"{where} accepts no TLS connection ({cause_of(error)})") from None
        return SocketConnection(sock)

    def _dial_or_explain(
        self, endpoint: Endpoint, proxy: Proxy | None, where: str, patience: "_Patience"
    ) -> socket.socket:
        hint = f"is {endpoint.named_by} right, and can gha-step reach it?" if not proxy else f"is {VARIABLE} right?"
        try:
            if proxy:
                return _first_of(self._resolve(proxy.host, proxy.port, 0), patience)
            return self._dial(endpoint, patience)
        except socket.gaierror as error:
            name = proxy.host if proxy else endpoint.host
            raise Unreachable(f"the name {name} does not resolve ({error.strerror}): {hint}") from None
        except OSError as error:
            raise Unreachable(f"{where} cannot be reached ({cause_of(error)}): {hint}") from None

    def _secure(
        self, sock: socket.socket, host: str, where: str, named_by: str, *, verify: bool = True
    ) -> socket.socket:
        context = self._context(verify)
        try:
            if not isinstance(sock, ssl.SSLSocket):
                return context.wrap_socket(sock, server_hostname=host)
            from urllib3.util.ssltransport import SSLTransport  # ssl itself has no TLS within TLS

            return SSLTransport(sock, context, server_hostname=host)  # type: ignore[return-value]
        except ssl.SSLCertVerificationError as error:
            check_authorities(context)
            why = wrong_with(error, host, named_by)
            raise Untrusted(f"the certificate of {where} is not trusted: {why}") from None

    def _dial(self, endpoint: Endpoint, patience: "_Patience") -> socket.socket:
        """A TCP connection to an address that was checked. :raises OSError: none of the host's addresses takes one."""
        flags = socket.AI_CANONNAME if self._bounds.shared else 0
        found = self._resolve(endpoint.host, endpoint.port, flags)
        if self._bounds.shared:
            canonical = found[0][3] if found else ""
            found = [one for one in found if parse_address(str(one[4][0]))]  # what is not understood is not used
            addresses = [address for *_, where in found if (address := parse_address(str(where[0])))]
            self._bounds.check_addresses(endpoint, canonical, addresses, self._api_server_addresses())
        return _first_of(found, patience)

    def _api_server_addresses(self) -> Iterator[Address]:
        for host in self._api_server:
            try:
                found = self._resolve(host, None, 0)
            except OSError:  # then nobody else's name leads there either
                continue
            yield from (address for *_, where in found if (address := parse_address(str(where[0]))))

    def _context(self, verify: bool) -> ssl.SSLContext:
        context = self._contexts.get(verify)
        if context is None:
            context = client_context(verify=verify)
            if not verify or has_authorities(context):  # else it costs little, and the next may find them
                self._contexts[verify] = context
        return context


def cause_of(error: OSError) -> str:
    """What the system says of a connection that failed, in a few words."""
    return "timed out" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__


class _Patience:
    """What is left of `CONNECT_SECONDS`: nothing that the other side does begins them anew."""

    def __init__(self) -> None:
        self._until = time.monotonic() + CONNECT_SECONDS

    def left(self) -> float:
        """Seconds, for a socket's timeout. :raises TimeoutError: none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _first_of(found: Sequence[Found], patience: _Patience) -> socket.socket:
    """A TCP connection to one of these addresses, each of which gets its part of the time. :raises OSError: none."""
    trouble = OSError("it has no address")
    tried = found[:MOST_ADDRESSES]
    for number, (family, kind, protocol, _, where) in enumerate(tried):
        seconds = patience.left() / (len(tried) - number)
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(seconds)
        try:
            sock.connect(where)  # an address, which nobody resolves once more
        except OSError as error:
            sock.close()
            trouble = error
        else:
            return sock
    raise trouble


def _open_tunnel(sock: socket.socket, endpoint: Endpoint, login: str | None, patience: _Patience) -> None:
    """Ask the proxy for a tunnel (RFC 9110, CONNECT)."""
    import h11  # only those pay who have a proxy

    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    target = f"{host}:{endpoint.port}"
    headers = [("Host", target)]
    if login is not None:
        headers.append(("Proxy-Authorization", "Basic " + base64.b64encode(login.encode()).decode()))
    framing = h11.Connection(h11.CLIENT)
    request = framing.send(h11.Request(method="CONNECT", target=target, headers=headers))
    sock.sendall(request or b"")
    framing.send(h11.EndOfMessage())
    try:
        while (event := framing.next_event()) is h11.NEED_DATA or isinstance(event, h11.InformationalResponse):
            if event is h11.NEED_DATA:
                sock.settimeout(patience.left())
                framing.receive_data(sock.recv(_CHUNK))
    except h11.RemoteProtocolError:
        raise Unreachable("the proxy that HTTPS_PROXY names does not answer as an HTTP proxy") from None
    if not isinstance(event, h11.Response) or not 200 <= event.status_code < 300:
        status = event.status_code if isinstance(event, h11.Response) else "nothing"
        raise Unreachable(f"the proxy that HTTPS_PROXY names answered {status} to a tunnel to {target}")
