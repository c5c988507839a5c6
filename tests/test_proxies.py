"""HTTPS_PROXY and NO_PROXY, read as Go's programs read them.

The cases of NO_PROXY are those of https://pkg.go.dev/golang.org/x/net/http/httpproxy, in words of our own.
"""

import pytest

from gha_step.proxies import BadProxy, Proxies, Proxy
from tests.support.rows import each_row

PROXY = "http://proxy.example.com:3128"


def goes_through(host: str, exempt: str, port: int = 443) -> bool:
    return Proxies.parse({"HTTPS_PROXY": PROXY, "NO_PROXY": exempt}).for_tls(host, port) is not None


@each_row(
    ("exempt", "host"),
    [
        ("*", "ghe.example.com"),
        ("a.b,*", "ghe.example.com"),
        ("example.com", "example.com"),
        ("example.com", "ghe.example.com"),
        ("EXAMPLE.com", "ghe.Example.COM"),
        (".example.com", "ghe.example.com"),
        ("*.example.com", "ghe.example.com"),
        ("*.example.com", "a.ghe.example.com"),
        (" a.b , example.com ,", "ghe.example.com"),
        ("ghe.example.com:443", "ghe.example.com"),
        (".example.com:443", "ghe.example.com"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3/8", "10.200.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3:443", "10.1.2.3"),
        ("fd00::/8", "fd00::1"),
        ("fd00::1", "fd00:0::1"),
        ("[fd00::1]", "fd00::1"),
        ("[fd00::1]:443", "fd00::1"),
        ("10.1.2.3", "::ffff:10.1.2.3"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("", "localhost"),
        ("", "127.0.0.1"),
        ("", "127.8.9.10"),
        ("", "::1"),
    ],
)
def test_what_no_proxy_exempts(exempt: str, host: str) -> None:
    assert not goes_through(host, exempt)


@each_row(
    ("exempt", "host"),
    [
        ("", "ghe.example.com"),
        (",,", "ghe.example.com"),
        ("ample.com", "example.com"),
        ("example.com", "example.com.org"),
        (".example.com", "example.com"),
        ("*.example.com", "example.com"),
        ("*ample.com", "example.com"),
        ("ghe.*", "ghe.example.com"),
        ("ghe.example.com:80", "ghe.example.com"),
        (":443", "ghe.example.com"),
        ("10.0.0.0/8", "11.1.2.3"),
        ("10.0.0.0/40", "10.1.2.3"),
        ("10.1.2.3:80", "10.1.2.3"),
        ("10.1.2", "10.1.2.3"),
        ("10.0.0.0/8", "ghe.example.com"),
        ("https://ghe.example.com", "ghe.example.com"),
    ],
)
def test_what_no_proxy_does_not_exempt(exempt: str, host: str) -> None:
    assert goes_through(host, exempt)


def test_the_port_is_that_of_the_connection() -> None:
    assert not goes_through("ghe.example.com", "ghe.example.com:8443", 8443)
    assert goes_through("ghe.example.com", "ghe.example.com:8443", 443)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://p", Proxy(tls=False, host="p", port=80)),
        ("https://p", Proxy(tls=True, host="p", port=443)),
        ("p", Proxy(tls=False, host="p", port=80)),
        (" p.example.com:3128 ", Proxy(tls=False, host="p.example.com", port=3128)),
        ("http://[fd00::1]:8080/", Proxy(tls=False, host="fd00::1", port=8080)),
        ("http://u:p%40s@p:1", Proxy(tls=False, host="p", port=1, login="u:p@s")),
        ("http://bücher.example", Proxy(tls=False, host="xn--bcher-kva.example", port=80)),
    ],
)
def test_a_proxy_is_an_address_with_the_port_of_its_scheme(url: str, proxy: Proxy) -> None:
    assert Proxies.parse({"HTTPS_PROXY": url}).for_tls("ghe.example.com", 443) == proxy


def test_other_clients_get_the_proxys_whole_url() -> None:
    found = Proxies.parse({"HTTPS_PROXY": "u:p%40s@bücher.example"}).for_tls("ghe.example.com", 443)
    assert found is not None
    assert found.url == "http://u:p%40s@xn--bcher-kva.example:80"
    assert "p%40s" not in repr(found)


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        ({"https_proxy": "http://lower"}, "lower"),
        ({"https_proxy": "http://lower", "HTTPS_PROXY": "http://upper"}, "upper"),
        ({"https_proxy": "http://lower", "HTTPS_PROXY": ""}, "lower"),
        ({"HTTPS_PROXY": "http://upper", "no_proxy": "ghe.example.com"}, None),
        ({"HTTPS_PROXY": "http://upper", "no_proxy": "ghe.example.com", "NO_PROXY": "a.b"}, "upper"),
        ({"HTTP_PROXY": "http://other", "ALL_PROXY": "http://other"}, None),
        ({}, None),
    ],
)
def test_upper_case_counts_before_lower_case(environment: dict[str, str], host: str | None) -> None:
    found = Proxies.parse(environment).for_tls("ghe.example.com", 443)
    assert (found.host if found else None) == host


@each_row("name", ["HTTPS_PROXY", "https_proxy"])
@each_row(
    "url",
    [
        "http://",
        "http:///x",
        "http://u:hunter2@127.0.0.1:abc",
        "http://u:hunter2@127.0.0.1:99999",
        "http://[::1",
        "http://a..b:3128",
        "http://u:hunter2@a b",
        "socks5://u:hunter2@p:1080",
        "socks5h://p",
        "ftp://p",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_by_the_name_of_its_variable(name: str, url: str) -> None:
    with pytest.raises(BadProxy) as caught:
        Proxies.parse({name: url})
    said = str(caught.value)
    assert said.startswith(name)
    assert "http://proxy.example.com:3128" in said
    assert "hunter2" not in said
    if "socks" in url:
        assert "socks5" in said
