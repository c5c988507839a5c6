"""Which URL a Secret's baseURL becomes, and which it may not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.errors import BadEndpoint
from tests.support.rows import each_row


@each_row(
    ("url", "base"),
    [
        (None, "https://api.github.com"),
        ("", "https://api.github.com"),
        ("  \n", "https://api.github.com"),
        ("https://api.github.com", "https://api.github.com"),
        ("https://api.github.com/", "https://api.github.com"),
        (" https://ghe.example.com\n", "https://ghe.example.com/api/v3"),
        ("https://ghe.example.com/", "https://ghe.example.com/api/v3"),
        ("https://ghe.example.com/api/v3", "https://ghe.example.com/api/v3"),
        ("https://ghe.example.com/api/v3/", "https://ghe.example.com/api/v3"),
        ("https://ghe.example.com/prefix", "https://ghe.example.com/prefix/api/v3"),
        ("https://ghe.example.com/api", "https://ghe.example.com/api/api/v3"),
        ("HTTPS://GHE.Example.COM", "https://ghe.example.com/api/v3"),
        ("https://ghe.example.com:443", "https://ghe.example.com/api/v3"),
        ("https://ghe.example.com:8443", "https://ghe.example.com:8443/api/v3"),
        ("https://ghe.example.com.", "https://ghe.example.com/api/v3"),
        ("https://api.acme.ghe.com", "https://api.acme.ghe.com"),
        ("https://ACME.ghe.com", "https://api.acme.ghe.com"),
        ("https://acme.ghe.com/api/v3/", "https://api.acme.ghe.com"),
        ("https://acme.ghe.com:8443", "https://api.acme.ghe.com:8443"),
        ("https://ghe.api.example.com", "https://ghe.api.example.com"),
        ("https://api.acme.ghe.com/api/v3/", "https://api.acme.ghe.com/api/v3"),
        ("https://apis.example.com", "https://apis.example.com/api/v3"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/api/v3"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example/api/v3"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v3"),
        ("http://127.1.2.3", "http://127.1.2.3/api/v3"),
        ("http://[::1]:80", "http://[::1]/api/v3"),
        ("http://localhost:8080/api/v3", "http://localhost:8080/api/v3"),
        ("http://LOCALHOST.", "http://localhost/api/v3"),
    ],
)
def test_the_base_follows_go_githubs_rule(url: str | None, base: str) -> None:
    assert resolve_endpoint(url, allow_http=False).base == base


@each_row(
    ("url", "words"),
    [
        ("ghe.example.com", "https://"),
        ("ftp://ghe.example.com", "https://"),
        ("file:///etc/passwd", "https://"),
        ("//ghe.example.com", "https://"),
        ("javascript:alert(1)", "https://"),
        ("https://", "no host"),
        ("https:///api/v3", "no host"),
        ("https://:443", "no host"),
        ("https://user@ghe.example.com", "user name or password"),
        ("https://user:hunter2@ghe.example.com", "user name or password"),
        ("https://hunter2%40x@ghe.example.com", "user name or password"),
        ("https://@ghe.example.com", "user name or password"),
        ("https://ghe.example.com?x=1", "query"),
        ("https://ghe.example.com?", "query"),
        ("https://ghe.example.com#x", "fragment"),
        ("https://ghe.example.com/#", "fragment"),
        ("https://ghe.example.com:99999", "not a URL"),
        ("https://ghe.example.com:x", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://a..b", "not a valid name"),
        ("https://" + "a" * 2041, "2049 characters; the maximum is 2048"),
        ("https://" + "a" * 64 + ".com", "not a valid name"),
        ("https://ghe example.com", "white space"),
        ("https://ghe.example.com/a b", "white space"),
        ("https://ghe.example.com/\x00", "printable ASCII"),
    ],
)
def test_what_is_no_base_url_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(BadEndpoint, match=words):
        resolve_endpoint(url, allow_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://ghe.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://2130706433",
        "http://127.1",
        "http://[::ffff:10.0.0.1]",
        "http://api.github.com",
    ],
)
def test_plain_http_is_for_loopback_only_unless_allowed(url: str) -> None:
    with pytest.raises(BadEndpoint, match="GHA_STEP_ALLOW_HTTP"):
        resolve_endpoint(url, allow_http=False)
    assert not resolve_endpoint(url, allow_http=True).tls


@pytest.mark.parametrize("url", ["https://u:hunter2@h", "https://h?token=hunter2", "hunter2://h", "https://h:hunter2"])
def test_a_refusal_never_repeats_the_url(url: str) -> None:
    with pytest.raises(BadEndpoint) as caught:
        resolve_endpoint(url, allow_http=False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://ghe.example.com/é", "https://ghe.example.com/a\u2028b", "https://x/\U0001f680"]
)
def test_a_path_that_no_request_line_can_hold_is_refused(url: str) -> None:
    with pytest.raises(BadEndpoint):
        resolve_endpoint(url, allow_http=False)


def test_port_zero_is_no_port() -> None:
    with pytest.raises(BadEndpoint):
        resolve_endpoint("https://ghe.example.com:0", allow_http=False)


@pytest.mark.parametrize(
    "url", ["https://ghe\\example.com", "https://ghe\u00a0x.com", "https://ghe<x>.com", 'https://"ghe"']
)
def test_a_host_with_characters_that_no_name_has_is_refused(url: str) -> None:
    with pytest.raises(BadEndpoint):
        resolve_endpoint(url, allow_http=False)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        (None, True),
        ("https://api.acme.ghe.com", True),
        ("https://ghe.example.com", False),
        ("https://api.example.com", False),
        ("https://api.github.com.evil.example", False),
        ("https://evilghe.com", False),
        ("http://127.0.0.1:1", False),
    ],
)
def test_only_githubs_own_servers_are_known_to_name_runs(url: str | None, names: bool) -> None:
    assert resolve_endpoint(url, allow_http=False).names_runs is names


@pytest.mark.parametrize(
    ("url", "web"),
    [
        (None, "https://github.com"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com"),
        ("https://ghe.example.com:8443", "https://ghe.example.com:8443"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://api.acme.ghe.com:8080", "http://acme.ghe.com:8080"),
    ],
)
def test_pages_are_on_the_servers_own_site(url: str | None, web: str) -> None:
    assert resolve_endpoint(url, allow_http=True).web == web


@given(st.text(max_size=40))
def test_no_text_whatever_does_more_than_be_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://ghe.example.com/{text}"):
        try:
            endpoint = resolve_endpoint(url, allow_http=False)
        except BadEndpoint:
            continue
        assert endpoint.base.startswith(("https://", "http://"))
        assert resolve_endpoint(endpoint.base, allow_http=False) == endpoint
