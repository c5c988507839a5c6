"""A repository's URL, taken apart; and where the API of its server is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.repo_url import parse_repo_url
from gha_step.github.endpoint import endpoint_of
from gha_step.github.errors import BadEndpoint
from tests.support.rows import each_row

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: not name.endswith(".git"))


def api(url: str, *, allow_http: bool = False) -> str:
    return endpoint_of(parse_repo_url(url), allow_http=allow_http, verify=True).base


@each_row(
    "url",
    [
        "https://github.com/myorg/my-app",
        "https://github.com/myorg/my-app/",
        "https://github.com/myorg/my-app.git",
        "https://github.com/myorg/my-app.git/",
        "https://GitHub.com/myorg/my-app",
        "https://github.com./myorg/my-app",
        "https://github.com:443/myorg/my-app",
        "https://user@github.com/myorg/my-app.git",
        "https://user:password@github.com/myorg/my-app.git",
        "https://www.github.com/myorg/my-app",
        "ssh://git@github.com/myorg/my-app.git",
        "ssh://git@github.com:22/myorg/my-app",
        "ssh://git@ssh.github.com:443/myorg/my-app.git",
        "ssh://github.com/myorg/my-app/",
        "git@github.com:myorg/my-app.git",
        "git@github.com:myorg/my-app",
        "git@github.com:/myorg/my-app.git",
        "github.com:myorg/my-app.git/",
        "  https://github.com/myorg/my-app\n",
    ],
)
def test_every_spelling_of_a_repository_on_github_com_is_understood(url: str) -> None:
    parsed = parse_repo_url(url)
    assert (parsed.owner, parsed.repo, parsed.text) == ("myorg", "my-app", url)
    assert api(url) == "https://api.github.com"


@each_row(
    ("url", "base"),
    [
        ("https://acme.ghe.com/o/r", "https://api.acme.ghe.com"),
        ("git@acme.ghe.com:o/r.git", "https://api.acme.ghe.com"),
        ("https://api.acme.ghe.com/o/r", "https://api.acme.ghe.com"),
        ("https://ghe.example.com/o/r", "https://ghe.example.com/api/v3"),
        ("https://GHE.example.com:8443/o/r.git", "https://ghe.example.com:8443/api/v3"),
        ("ssh://git@ghe.example.com:7999/o/r.git", "https://ghe.example.com/api/v3"),
        ("git@ghe.example.com:o/r.git", "https://ghe.example.com/api/v3"),
        ("https://api.example.com/o/r", "https://api.example.com"),
        ("https://git.api.example.com/o/r", "https://git.api.example.com"),
        ("https://notgithub.com/o/r", "https://notgithub.com/api/v3"),
        ("https://github.com.evil.example/o/r", "https://github.com.evil.example/api/v3"),
        ("https://ghe.com/o/r", "https://ghe.com/api/v3"),
        ("https://10.0.0.1/o/r", "https://10.0.0.1/api/v3"),
        ("https://[2001:db8::1]:8443/o/r", "https://[2001:db8::1]:8443/api/v3"),
        ("https://bücher.example/o/r", "https://xn--bcher-kva.example/api/v3"),
        ("http://127.0.0.1:8080/o/r", "http://127.0.0.1:8080/api/v3"),
        ("http://[::1]:8080/o/r", "http://[::1]:8080/api/v3"),
        ("http://localhost:8080/o/r", "http://localhost:8080/api/v3"),
    ],
)
def test_the_api_is_where_the_rule_of_the_server_says(url: str, base: str) -> None:
    assert api(url) == base


@pytest.mark.parametrize("url", ["http://github.com/o/r", "http://acme.ghe.com/o/r", "http://ghe.example.com/o/r"])
def test_http_is_refused_off_loopback_unless_allowed(url: str) -> None:
    with pytest.raises(BadEndpoint, match="must start with https://"):
        api(url)
    assert api(url, allow_http=True).startswith("http://ghe." if "example" in url else "https://api.")


def test_an_allowed_http_url_of_github_com_still_leads_to_its_https_api() -> None:
    assert api("http://github.com/o/r", allow_http=True) == "https://api.github.com"


@each_row(
    ("url", "words"),
    [
        ("", "is not a repository URL"),
        ("github.com", "is not a repository URL"),
        ("myorg/my-app", "is not a repository URL"),
        ("github.com/myorg/my-app", "is not a repository URL"),
        ("https://github.com", "owner and name"),
        ("https://github.com/", "owner and name"),
        ("https://github.com/myorg", "owner and name"),
        ("https://github.com/myorg/", "owner and name"),
        ("https://github.com//my-app", "owner and name"),
        ("https://github.com/myorg/.git", "owner and name"),
        ("git@github.com:my-app.git", "owner and name"),
        ("https://github.com/myorg/my-app/tree/main", "continues after"),
        ("https://github.com/myorg/my-app//", "continues after"),
        ("https://ghe.example.com/scm/myorg/my-app", "continues after"),
        ("https://github.com/myorg/..", "contains '..'"),
        ("https://github.com/./my-app", "contains '.'"),
        ("https://github.com/myorg/my%2Fapp", "contains '%'"),
        ("https://github.com/myorg/my\\app", "contains '\\\\'"),
        ("https://github.com/myorg/my-app?x=1", "has a query or fragment"),
        ("https://github.com/myorg/my-app#readme", "has a query or fragment"),
        ("https://github.com/my org/my-app", "contains white space"),
        ("https://github.com/myorg/my-app\x00x", "or a control character"),
        ("https:///myorg/my-app", "has no host"),
        ("https://github.com:0/myorg/my-app", "port 0"),
        ("https://github.com:port/myorg/my-app", "is not a valid URL"),
        ("https://[::1/myorg/my-app", "is not a valid URL"),
        ("ftp://github.com/myorg/my-app", "'ftp://github.com/myorg/my-app' starts with neither https://"),
        ("git://github.com/myorg/my-app", "starts with neither https://"),
        ("file:///myorg/my-app", "starts with neither https://"),
        ("git@git@github.com:myorg/my-app", "is not a repository URL"),
        ("https://github.com/myorg/" + "x" * 1000, "characters long; the maximum is 1000"),
    ],
)
def test_what_names_no_repository_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_repo_url(url)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@github.com/myorg",
        "https://user:hunter2@github.com:bad/myorg/my-app",
        "https://user:hunter2@/myorg/my-app",
        "ftp://user:hunter2@github.com/o/r",
        "https://user:hunter2@github.com/o/r?x",
        "https://user:hun/hunter2@github.com/o/r",
        "user:hunter2@github.com/o/r",
    ],
)
def test_no_refusal_repeats_a_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_repo_url(url)
    assert "hunter2" not in str(caught.value)
    assert "'***@" in str(caught.value) or "://***@" in str(caught.value)


def test_a_password_is_not_shown_with_the_parsed_url() -> None:
    assert "hunter2" not in repr(parse_repo_url("https://user:hunter2@github.com/myorg/my-app"))


@pytest.mark.parametrize("url", ["https://a..b/o/r", "https://a,b/o/r"])
def test_a_host_that_is_no_name_leads_nowhere(url: str) -> None:
    with pytest.raises(BadEndpoint, match="not a valid name"):
        api(url)


@given(NAMES, NAMES, st.sampled_from(["", ".git"]), st.sampled_from(["", "/"]))
def test_all_forms_name_the_same_repository(owner: str, repo: str, git: str, slash: str) -> None:
    end = f"{owner}/{repo}{git}{slash}"
    for start in ("https://github.com/", "ssh://git@github.com/", "git@github.com:", "https://u:p@github.com:443/"):
        parsed = parse_repo_url(start + end)
        assert (parsed.owner, parsed.repo) == (owner, repo)


@given(st.text(max_size=60) | st.from_regex(r"(https|ssh)://[^/]{1,20}/.{0,30}", fullmatch=True))
def test_no_text_whatever_does_more_than_be_refused(text: str) -> None:
    try:
        parsed = parse_repo_url(text)
        endpoint = endpoint_of(parsed, allow_http=False, verify=True)
    except (ValueError, BadEndpoint):
        return
    assert "/" not in parsed.owner + parsed.repo
    assert endpoint.base.startswith("https://") or "localhost" in endpoint.base or endpoint.host[0] in "1:"


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("url", ["https://github.com/o/r", "https://acme.ghe.com/o/r", "https://ghe.example/o/r"])
def test_whether_certificates_are_checked_goes_with_the_endpoint(url: str, verify: bool) -> None:
    assert endpoint_of(parse_repo_url(url), allow_http=False, verify=verify).verify is verify


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://github.com/myorg/my-app.git", "https://github.com/myorg/my-app.git"),
        (" https://GitHub.com:443/myorg/my-app/\n", "https://GitHub.com:443/myorg/my-app/"),
        ("https://kargo:hunter2@github.com/myorg/my-app", "https://github.com/myorg/my-app"),
        ("https://hunter2@github.com/myorg/my-app", "https://github.com/myorg/my-app"),
        ("https://kargo:hunter2%40x@[::1]:8443/myorg/my-app", "https://[::1]:8443/myorg/my-app"),
        ("https://a:hunter2@x@github.com/myorg/my-app", "https://github.com/myorg/my-app"),
        ("ssh://git@github.com:22/myorg/my-app.git", "ssh://git@github.com:22/myorg/my-app.git"),
        ("ssh://git:hunter2@github.com/myorg/my-app", "ssh://git@github.com/myorg/my-app"),
        ("git@github.com:myorg/my-app.git", "git@github.com:myorg/my-app.git"),
    ],
)
def test_what_is_kept_of_a_url_holds_no_password(url: str, kept: str) -> None:
    parsed = parse_repo_url(url)
    assert parsed.without_password == kept
    again = parse_repo_url(kept)
    assert (again.host, again.owner, again.repo) == (parsed.host, parsed.owner, parsed.repo)
