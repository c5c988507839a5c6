"""Where a shared service does not connect to, however it is written, resolved or named."""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import GitHub, serve
from gha_step.github.connection import Found, SocketConnector, resolve
from gha_step.github.egress import Egress, parse_address
from gha_step.github.endpoint import Endpoint, resolve_endpoint
from gha_step.github.errors import OffLimits, Unreachable
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import SystemClock
from tests.github.answers import asking, client_over
from tests.support.calls import config
from tests.support.core import Program
from tests.support.proxy import proxy
from tests.support.rows import each_row
from tests.support.secrets import write_secret

SHARED = Egress(shared=True)
API_SERVER = "10.96.0.1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def own_address() -> str:
    """An address of this machine that is not loopback, as a pod has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(sock.getsockname()[0])


def addresses_of(name: str) -> list[str]:
    """Those that this machine's resolver knows; a machine's own name may be unknown to it."""
    try:
        return socket.gethostbyname_ex(name)[2][:1]
    except OSError:
        return []


def at(base_url: str) -> Endpoint:
    return resolve_endpoint(base_url, allow_http=True)


def words(base_url: str, bounds: Egress = SHARED) -> str:
    with pytest.raises(OffLimits) as caught:
        bounds.check_host(at(base_url))
    assert caught.value.retry_after is None
    return str(caught.value)


INSIDE = [
    "https://localhost",
    "https://localhost.",
    "https://LOCALHOST",
    "https://localhost。",  # an ideographic full stop, which IDNA takes for a dot
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "https://github.localhost",
    "https://grafana.monitoring.svc",
    "https://grafana.monitoring.svc.",
    "https://GRAFANA.monitoring.SVC",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes.default.svc.cluster.local.",
    "https://x.cluster.local",
    "https://x.svc:8443/api/v3",
]
LITERALS = [
    "https://127.0.0.1",
    "https://127.0.0.1:8443",
    "https://127.255.255.254",
    "https://127.1",
    "https://2130706433",
    "https://0x7f000001",
    "https://0177.0.0.1",
    "https://0",
    "https://0.0.0.0",
    "https://169.254.169.254",
    "https://169.254.1.1",
    "https://2852039166",  # 169.254.169.254
    "https://224.0.0.1",
    "https://255.255.255.255",
    "https://240.0.0.1",
    "https://100.100.100.200",
    "https://[::1]",
    "https://[::]",
    "https://[0:0:0:0:0:0:0:1]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[::ffff:169.254.169.254]",
    "https://[::127.0.0.1]",
    "https://[64:ff9b::7f00:1]",
    "https://[64:ff9b::a9fe:a9fe]",
    "https://[64:ff9b:1::7f00:1]",
    "https://[::ffff:0:127.0.0.1]",
    "https://[2002:7f00:1::]",
    "https://[fe80::1]",
    "https://[fe80::1%25eth0]",
    "https://[febf::1]",
    "https://[ff02::1]",
    "https://[fd00:ec2::254]",
]


@each_row("base_url", INSIDE + LITERALS)
def test_a_shared_service_connects_to_nothing_inside_and_stores_no_artifacts_there(base_url: str) -> None:
    assert "outside the cluster" in words(base_url)
    with pytest.raises(OffLimits):
        SHARED.check_host(replace(at(base_url), storage=True))
    with pytest.raises(OffLimits):
        SocketConnector(SHARED).connect(at(base_url))


@pytest.mark.parametrize("base_url", ["http://localhost", "http://127.0.0.1:8080", "http://[::1]"])
def test_http_on_loopback_is_no_way_around(base_url: str) -> None:
    with pytest.raises(OffLimits):
        SHARED.check_host(resolve_endpoint(base_url, allow_http=False))


@each_row(
    "base_url",
    [
        "",
        "https://github.com",
        "https://ghe.example.com",
        "https://10.1.2.3",
        "https://172.16.0.1",
        "https://192.168.1.1:8443",
        "https://100.64.0.1",
        "https://[fd00::1]",
        "https://[2001:db8::1]",
        "https://[::ffff:10.0.0.1]",
        "https://[64:ff9b::a00:1]",
        "https://svc.example.com",
        "https://github.svc.example.com",
        "https://cluster.local.example.com",
        "https://mylocalhost",
        "https://localhost.example.com",
        "https://ghe",
    ],
)
def test_what_is_outside_or_private_is_allowed(base_url: str) -> None:
    SHARED.check_host(at(base_url))
    literal = parse_address(at(base_url).host)
    SHARED.check_addresses(at(base_url), "", [] if literal is None else [literal], [])


def test_where_artifacts_are_stored_is_not_among_the_githubs() -> None:
    storage = at("https://x.blob.core.windows.net")
    with pytest.raises(OffLimits, match="GHA_STEP_GITHUB_HOSTS"):
        Egress(frozenset({"github.com"})).check_host(storage)
    Egress(frozenset({"github.com"})).check_host(replace(storage, storage=True))


@each_row("base_url", INSIDE + LITERALS)
def test_a_sidecar_connects_wherever_its_user_says(base_url: str) -> None:
    Egress().check_host(at(base_url))
    Egress().check_addresses(at(base_url), "localhost", [ipaddress.ip_address("127.0.0.1")], [])


# ---------------------------------------------------------------- by what a name leads to


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "169.254.169.254", "fe80::1%eth0", "0.0.0.0", "::", "::ffff:127.0.0.1", "fd00:ec2::254"],
)
def test_a_name_that_leads_inside_is_refused_by_its_address(address: str) -> None:
    found = [ipaddress.ip_address(text) for text in ("203.0.113.7", address)]
    with pytest.raises(OffLimits) as caught:
        SHARED.check_addresses(at("https://ghe.example.com"), "ghe.example.com", found, [])
    assert address not in str(caught.value)  # a name may be a secret of the cluster's DNS
    assert "ghe.example.com" in str(caught.value)


@pytest.mark.parametrize("address", [API_SERVER, f"::ffff:{API_SERVER}", f"64:ff9b::{API_SERVER}"])
def test_the_address_of_the_api_server_is_refused_in_any_form(address: str) -> None:
    with pytest.raises(OffLimits, match="Kubernetes API server"):
        SHARED.check_addresses(
            at("https://ghe.example.com"), "", [ipaddress.ip_address(address)], [ipaddress.ip_address(API_SERVER)]
        )


@pytest.mark.parametrize(
    ("host", "canonical", "refused"),
    [
        ("grafana.monitoring", "grafana.monitoring.svc.cluster.local", True),
        ("grafana.monitoring", "grafana.monitoring.svc.corp.example", True),
        ("grafana", "grafana.gha-step.svc.corp.example.", True),
        ("ghe.example.com", "kubernetes.default.svc.cluster.local", True),
        ("ghe.example.com", "localhost", True),
        ("ghe.example.com", "lb.svc.example.net", False),
        ("ghe.example.com", "ghe.example.com", False),
        ("ghe", "ghe.corp.example", False),
        ("ghe.example.com", "", False),
    ],
)
def test_a_name_that_the_resolver_completes_to_a_service_is_refused(host: str, canonical: str, refused: bool) -> None:
    endpoint, found = at(f"https://{host}"), [ipaddress.ip_address("10.1.1.1")]
    if not refused:
        SHARED.check_addresses(endpoint, canonical, found, [])
        return
    with pytest.raises(OffLimits):
        SHARED.check_addresses(endpoint, canonical, found, [])


def test_the_api_server_is_refused_over_a_real_socket_by_name_and_by_address() -> None:
    address = own_address()
    with socket.create_server((address, 0)) as listener:
        listener.settimeout(0.2)
        endpoint = at(f"http://{address}:{listener.getsockname()[1]}")
        for named in (address, f"::ffff:{address}", socket.gethostname()):
            if named == socket.gethostname() and address not in addresses_of(named):
                continue
            with pytest.raises(OffLimits, match="Kubernetes API server"):
                SocketConnector(SHARED, [named]).connect(endpoint)
        with pytest.raises(TimeoutError):
            listener.accept()
        SocketConnector(SHARED, ["kubernetes.invalid", "10.255.255.1"]).connect(endpoint).close()
        listener.accept()[0].close()


def test_nothing_is_sent_to_loopback_by_a_name_that_resolves_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        for host in ("localhost", "localhost.localdomain", "ip6-localhost", "127.1", "017700000001", "0"):
            endpoint = Endpoint(base="", tls=False, host=host, port=port, path="/api/v3")
            with pytest.raises((OffLimits, Unreachable)):  # where the name is not known here
                SocketConnector(SHARED).connect(endpoint)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_what_is_connected_to_is_what_was_checked() -> None:
    """A name that leads elsewhere when it is asked for once more: it is not asked for once more."""
    address = own_address()
    asked: list[str] = []

    def rebinding(host: str, port: int | None, flags: int) -> Sequence[Found]:
        asked.append(host)
        return resolve(address if len(asked) == 1 else "127.0.0.1", port, flags)

    with socket.create_server((address, 0)) as outside:
        endpoint = at(f"http://ghe.example.com:{outside.getsockname()[1]}")
        connector = SocketConnector(SHARED, resolve=rebinding)
        connection = connector.connect(endpoint)
        accepted, _ = outside.accept()
        assert asked == ["ghe.example.com"]
        accepted.close()
        connection.close()
        with pytest.raises(OffLimits):
            connector.connect(endpoint)


# ---------------------------------------------------------------- GHA_STEP_GITHUB_HOSTS


@each_row("shared", [True, False])
@each_row(
    ("base_url", "allowed"),
    [
        ("", True),
        ("https://github.com", True),
        ("https://api.github.com", True),
        ("https://api.acme.ghe.com", True),
        ("https://GHE.example.com:8443/api/v3", True),
        ("https://other.ghe.com", False),
        ("https://github.com.evil.example", False),
        ("https://xgithub.com", False),
        ("https://api.api.github.com", False),
        ("https://ghe.example.com.evil.example", False),
        ("https://140.82.112.3", False),
    ],
)
def test_only_the_hosts_that_the_operator_names_are_connected_to(shared: bool, base_url: str, allowed: bool) -> None:
    bounds = Egress(hosts=frozenset({"github.com", "acme.ghe.com", "ghe.example.com"}), shared=shared)
    if allowed:
        bounds.check_host(at(base_url))
        return
    said = words(base_url, bounds)
    assert "GHA_STEP_GITHUB_HOSTS allows only acme.ghe.com, ghe.example.com, github.com" in said


def test_a_host_that_is_named_does_not_open_the_inside() -> None:
    assert "cluster" in words("https://x.svc", Egress(hosts=frozenset({"x.svc"}), shared=True))


# ---------------------------------------------------------------- proxies


def test_behind_a_proxy_names_are_checked_and_the_proxy_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy() as through:
        monkeypatch.setenv("HTTPS_PROXY", through.url)
        connector = SocketConnector(SHARED)
        for base_url in ("https://localhost", "https://x.svc", "https://169.254.169.254", "https://127.1", "https://0"):
            with pytest.raises(OffLimits):
                connector.connect(at(base_url))
        assert through.asked == []
        through.refuses_with = 502
        with pytest.raises(Unreachable):
            connector.connect(at("https://ghe.example.com"))
        assert [asked.target for asked in through.asked] == ["ghe.example.com:443"]


# ---------------------------------------------------------------- both clients, and what users hear


@pytest.fixture
def inside() -> Iterator[tuple[str, GitHub]]:
    """A GitHub inside: nobody must reach it."""
    github = GitHub("ghes-3.19")
    with serve(github) as url:
        yield url, github
    assert github.count() == 0


def test_the_client_of_everything_but_the_dispatch_keeps_the_same_bounds(inside: tuple[str, GitHub]) -> None:
    client = client_over(SocketConnector(SHARED), SystemClock())
    with pytest.raises(OffLimits):
        client.get("meta", asking(inside[0]), "/meta", Token("x"))
    with pytest.raises(OffLimits):
        client.post("app_token", asking(inside[0]), "/app/installations/1/access_tokens", Token("x"), {}, owner=("x",))


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Callable[[Egress], Program]]:
    """Makes a process that keeps these bounds; its Secrets lie in ``tmp_path``."""
    with ExitStack() as stack:

        def make(bounds: Egress) -> Program:
            store = stack.enter_context(closing(SqliteStore(tmp_path / "ledger.db")))
            made = Program(store=store, secrets=tmp_path, connector=SocketConnector(bounds), clock=SystemClock())
            return stack.enter_context(closing(made))

        yield make


TOKEN = "ghp_0123456789abcdefABCD"
OF_A_WAIT = {key: value for key, value in config(runID=1).items() if key in ("credentials", "owner", "repo", "runID")}


@pytest.mark.parametrize(("kind", "step"), [("gha-dispatch-workflow", config()), ("gha-wait-for-workflow", OF_A_WAIT)])
def test_a_step_fails_at_once_and_names_the_secret_and_its_key(
    inside: tuple[str, GitHub], tmp_path: Path, bounded: Callable[[Egress], Program], kind: str, step: Any
) -> None:
    write_secret(tmp_path, accessToken=TOKEN, baseURL=inside[0])
    result = bounded(SHARED).call(step, kind=kind)
    assert result.status == "Failed"
    assert (
        "the key baseURL of the Secret github in project demo leads to 127.0.0.1, which is a loopback address: this "
        "service does not connect there; use a GitHub outside the cluster" in str(result.message)
    )
    assert TOKEN not in str(result.message)


def test_a_step_with_a_url_names_that(
    inside: tuple[str, GitHub], tmp_path: Path, bounded: Callable[[Egress], Program]
) -> None:
    url = f"{inside[0]}/myorg/my-app"
    write_secret(tmp_path, name="git", repoURL=url, username="x", password=TOKEN)
    result = bounded(SHARED).call(config(credentials=..., owner=..., repo=..., repoURL=url))
    assert result.status == "Failed"
    assert "config.repoURL leads to 127.0.0.1, which is a loopback address" in str(result.message)


def test_without_a_base_url_the_missing_key_is_named(tmp_path: Path, bounded: Callable[[Egress], Program]) -> None:
    write_secret(tmp_path, accessToken=TOKEN)
    said = str(bounded(Egress(hosts=frozenset({"ghe.example.com"}))).call(config()).message)
    assert "the key baseURL of the Secret github in project demo (missing: github.com) leads to api.github.com" in said
    assert "GHA_STEP_GITHUB_HOSTS allows only ghe.example.com" in said
