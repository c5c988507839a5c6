"""Which proxy a connection goes through: HTTPS_PROXY and NO_PROXY as Go's programs read them, Kargo among them. Pure.

Source: https://pkg.go.dev/golang.org/x/net/http/httpproxy. Of NO_PROXY, separated by commas: ``*``; an address or a
network such as 10.0.0.0/8; ``example.com`` with all below it; ``.example.com`` or ``*.example.com`` only what is below
it; names and addresses with ``:port``. localhost and loopback addresses are always asked directly.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from gha_step.contract.errors import StepError

VARIABLE: Final = "HTTPS_PROXY"
_PORTS: Final = {"http": 80, "https": 443}
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadProxy(StepError):
    """HTTPS_PROXY cannot be used: one line with the variable and the fix, without the login."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that opens tunnels (CONNECT). ``tls``: the connection to it uses TLS. ``login``: user:password."""

    tls: bool
    host: str
    port: int
    login: str | None = field(default=None, repr=False)
    url: str = field(default="", repr=False, compare=False)  # as other clients take it


class _Exemption(NamedTuple):
    """One entry of NO_PROXY. ``network`` or ``domain``; ``itself``: the domain, too. ``port``: only this one."""

    network: _Network | None = None
    domain: str = ""
    itself: bool = False
    port: str = ""

    def covers(self, host: str, port: int) -> bool:
        if self.port and self.port != str(port):
            return False
        if self.network is not None:
            address = _address(host)
            return address is not None and address in self.network
        return host.endswith(self.domain) or (self.itself and host == self.domain[1:])


class Proxies(NamedTuple):
    """The proxy of this process, and the hosts that are reached without it."""

    proxy: Proxy | None = None
    direct: bool = False  # NO_PROXY=*
    exemptions: tuple[_Exemption, ...] = ()

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> "Proxies":
        """Read the environment; the upper-case spelling of a name wins.

        :raises BadProxy: the proxy has an unsupported scheme or is not a URL.
        """
        name, url = _either(environment, VARIABLE)
        _, listed = _either(environment, "NO_PROXY")
        entries = [entry for entry in (entry.strip().lower() for entry in listed.split(",")) if entry]
        return cls(
            _proxy(name, url.strip()) if url.strip() else None,
            direct="*" in entries,
            exemptions=tuple(found for entry in entries if (found := _exemption(entry)) is not None),
        )

    def for_tls(self, host: str, port: int) -> Proxy | None:
        """The proxy for a TLS connection to ``host`` (without brackets), if it needs one."""
        name = host.lower().rstrip(".")
        address = _address(name)
        if self.direct or name == "localhost" or (address is not None and address.is_loopback):
            return None
        return None if any(entry.covers(name, port) for entry in self.exemptions) else self.proxy


def _either(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    return next(((one, environment[one]) for one in (name, name.lower()) if environment.get(one)), (name, ""))


def _proxy(name: str, text: str) -> Proxy:
    example = "write http://proxy.example.com:3128"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = "", 0
    if not host or any(c.isspace() or not c.isprintable() for c in text):
        raise BadProxy(f"{name} is not the URL of a proxy: {example}")
    if parts.scheme not in _PORTS:
        kind = parts.scheme[:20]
        raise BadProxy(f"{name}: {kind}:// proxies are not supported; {example}, or one with https://")
    login = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    before, _, _ = parts.netloc.rpartition("@")
    where = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{before}{'@' if before else ''}{where}:{port}"
    return Proxy(parts.scheme == "https", host, port, login, url)


def _exemption(entry: str) -> _Exemption | None:
    try:
        if "/" in entry:
            return _Exemption(ipaddress.ip_network(entry, strict=False))
    except ValueError:
        pass  # as in Go, which then treats it as a name that never matches
    host, port = _split(entry)
    if not host:
        return None
    if (address := _address(host)) is not None:
        return _Exemption(ipaddress.ip_network(address), port=port)
    domain = host[1:] if host.startswith("*.") else host
    try:
        domain = domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return _Exemption(domain=domain if domain.startswith(".") else f".{domain}", itself=domain[0] != ".", port=port)


def _split(entry: str) -> tuple[str, str]:
    """Host without brackets, and port or ''."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    host, colon, port = entry.rpartition(":")
    return (host, port) if colon and ":" not in host else (entry, "")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
