"""Where this program connects to on behalf of a step's config, and where not. It resolves and connects nothing itself.

A service that several projects share stands inside the cluster, and sends requests to hosts that its users name. So it
connects to no address that means this machine, its link or the API server, and to no Service of the cluster. Names are
checked before, addresses when they are about to be connected to: what a name leads to may change in between.
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import OffLimits

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_INSIDE: Final = (".svc", ".cluster.local", ".localhost")
_NETWORKS: Final = tuple(
    (what, tuple(ipaddress.ip_network(network) for network in networks))
    for what, networks in (
        ("a loopback address", ("127.0.0.0/8", "::1")),
        ("a link-local address", ("169.254.0.0/16", "fe80::/10")),
        ("no address of a host", ("0.0.0.0/8", "::", "224.0.0.0/4", "240.0.0.0/4", "ff00::/8")),
        # Where clouds tell machines their credentials, off the link-local network.
        (
            "the address of a cloud's metadata service",
            ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
        ),
    )
)
# IPv6 addresses whose last 32 bits are an IPv4 address: IPv4-compatible, IPv4-translated (SIIT) and NAT64.
_IPV4_AT_THE_END: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)


class Egress(NamedTuple):
    """The limits of one process.

    ``hosts``: only these GitHubs, by the host of their pages or of their API; empty: any. ``shared``: several projects
    share this process, so that what lies inside the cluster is out of bounds.
    """

    hosts: frozenset[str] = frozenset()
    shared: bool = False

    def check_host(self, endpoint: Endpoint) -> None:
        """Refuse by name, or by the address that the URL itself names.

        :raises OffLimits: saying what is refused, who named it, and the fix.
        """
        host = endpoint.host.lower().rstrip(".")
        if (
            self.hosts
            and not endpoint.storage
            and host not in self.hosts
            and host.removeprefix("api.") not in self.hosts
        ):
            allowed = ", ".join(sorted(self.hosts))
            raise _off_limits(
                endpoint,
                f"and GHA_STEP_GITHUB_HOSTS allows only {allowed}: name one of these, or let the operator of gha-step "
                "add this one",
            )
        if not self.shared:
            return
        if host == "localhost" or host.endswith(_INSIDE):
            raise _inside(endpoint, "which is a name inside this machine or cluster")
        literal = parse_address(host) or _old_form(host)
        if literal is not None and (what := _out_of_bounds(literal)):
            raise _inside(endpoint, f"which is {what}")

    def check_addresses(
        self, endpoint: Endpoint, canonical: str, addresses: Iterable[Address], api_server: Iterable[Address]
    ) -> None:
        """Refuse by what the host's name has led to, just before one of ``addresses`` is connected to.

        :param canonical: the name that they belong to, where the resolver has followed others or completed this one.
        :param api_server: the addresses of the Kubernetes API server.
        :raises OffLimits: as `check_host`. One address out of bounds is enough.
        """
        if not self.shared:
            return
        host, name = endpoint.host.lower().rstrip("."), canonical.lower().rstrip(".")
        # A pod's resolver completes `grafana.monitoring` to a Service, whatever the cluster's own domain is.
        completed = name.startswith(f"{host}.") and ".svc." in name.removeprefix(host)
        if name == "localhost" or name.endswith(_INSIDE) or completed:
            raise _inside(endpoint, "which is a name inside this machine or cluster")
        own = {inner for address in api_server for inner in _meant(address)}
        for address in addresses:
            if what := _out_of_bounds(address):
                raise _inside(endpoint, f"which has {what}")
            if own & set(_meant(address)):
                raise _inside(endpoint, "which has the address of the Kubernetes API server")


def parse_address(text: str) -> Address | None:
    """The address in ``text``, as the resolver gives it: an IPv6 address may name its link; ``None`` if it is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _old_form(host: str) -> Address | None:
    """The IPv4 address that resolvers, a proxy's among them, read in `127.1`, `0x7f000001` or `2130706433`."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


def _meant(address: Address) -> Iterator[Address]:
    """The address without its link, and the IPv4 address that it may stand for."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    plain = ipaddress.IPv6Address(int(address))
    yield plain
    embedded = [plain.ipv4_mapped, plain.sixtofour, *(plain.teredo or ())]
    if any(plain in network for network in _IPV4_AT_THE_END) and int(plain) > 1:
        embedded.append(ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF))
    yield from (inner for inner in embedded if inner is not None)


def _out_of_bounds(address: Address) -> str | None:
    """What forbids to connect there; ``None``: nothing."""
    for meant in _meant(address):
        for what, networks in _NETWORKS:
            if any(meant in network for network in networks):
                return what
    return None


def _inside(endpoint: Endpoint, why: str) -> OffLimits:
    return _off_limits(endpoint, f"{why}: this service does not connect there; use a GitHub outside the cluster")


def _off_limits(endpoint: Endpoint, why: str) -> OffLimits:
    return OffLimits(f"{endpoint.named_by} leads to {endpoint.host}, {why}")
