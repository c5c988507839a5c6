"""Which Secret counts for a repository, as Kargo itself decides it; pure, over Secrets in a dictionary."""

import sys
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.errors import CredentialsError, SecretsUnavailable, StepError
from gha_step.contract.repo_url import parse_repo_url
from gha_step.contract.secret import Token
from gha_step.credentials.git import GitHubApp, Password, git_credentials, normalised
from gha_step.credentials.secrets import LabelledSecret
from tests.support.app_keys import rsa_key
from tests.support.rows import each_row

SHARED = "kargo-shared-resources"
URL = "https://github.com/myorg/my-app"
Data = Mapping[str, str]


class Secrets:
    """Labelled Secrets by namespace and name, told in the wrong order; and what was asked.

    ``bare``: those of the project without a label. ``denied``: namespaces that may not be listed.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Mapping[str, Data]],
        bare: Mapping[str, Data] | None = None,
        denied: Mapping[str, StepError] | None = None,
    ) -> None:
        self.namespaces = namespaces
        self.bare = bare or {}
        self.denied = denied or {}
        self.asked: list[str] = []

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        raise AssertionError("no Secret is read by its name")

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        self.asked.append(namespace)
        if namespace in self.denied:
            raise self.denied[namespace]
        for name, data in sorted(self.namespaces.get(namespace, {}).items(), reverse=True):
            annotations = {key: value for key, value in data.items() if "/" in key}
            yield LabelledSecret(
                name, {key: value.encode() for key, value in data.items() if "/" not in key}, annotations
            )

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        self.asked.append(f"{namespace} without a label")
        return [
            LabelledSecret(name, {key: value.encode() for key, value in data.items()})
            for name, data in sorted(self.bare.items(), reverse=True)
        ]


def login(url: str = URL, password: str = "t", **more: str) -> Data:
    return {"repoURL": url, "username": "x", "password": password, **more}


def pattern(text: str, password: str = "t") -> Data:
    return login(text, password, repoURLIsRegex="true")


def chosen(own: Mapping[str, Data], shared: Mapping[str, Data] | None = None, url: str = URL) -> str:
    """The token that counts."""
    found = git_credentials(Secrets({"demo": own, SHARED: shared or {}}), "demo", SHARED, parse_repo_url(url))
    assert isinstance(found, Password)
    return found.token.reveal()


def refusal(own: Mapping[str, Data], shared: Mapping[str, Data] | None = None, url: str = URL) -> str:
    with pytest.raises(CredentialsError) as caught:
        git_credentials(Secrets({"demo": own, SHARED: shared or {}}), "demo", SHARED, parse_repo_url(url))
    assert str(caught.value).startswith("project demo: ")
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- normalisation

# Kargo's own table: pkg/urls/git_test.go, and the facts.
NORMAL = {
    "https://not a url": "https://not a url",
    "https://github.com/example/repo?foo=bar": "https://github.com/example/repo?foo=bar",
    "ssh://github.com/example/repo?foo=bar": "ssh://github.com/example/repo?foo=bar",
    "not even remotely a url": "not even remotely a url",
    "https://github.com /example/repo": "https://github.com /example/repo",
    "https://github.com/example%20repo": "https://github.com/example%20repo",
    "https://github.com": "https://github.com",
    "https://github.com/": "https://github.com",
    "https://foo:bar@github.com/": "https://github.com",
    "https://github.com/example/repo": "https://github.com/example/repo",
    "https://github.com/example/repo/": "https://github.com/example/repo",
    "https://github.com/example/repo.git": "https://github.com/example/repo",
    "https://github.com/example/repo.git/": "https://github.com/example/repo",
    "https://github.com/example/repo//": "https://github.com/example/repo/",
    "https://github.com/example/repo/.git": "https://github.com/example/repo/",
    "https://GitHub.com/Example/Repo": "https://github.com/example/repo",
    "https://foo:bar@localhost:8443/example/repo.git/": "https://localhost:8443/example/repo",
    "http://foo@localhost/example/repo": "http://localhost/example/repo",
    "ssh://git.example.com/": "ssh://git.example.com",
    "ssh://git@localhost:2222/example/repo.git/": "ssh://git@localhost:2222/example/repo",
    "ssh://github.com/example/repo": "ssh://github.com/example/repo",
    "git.example.com": "ssh://git.example.com",
    "git@git.example.com": "ssh://git@git.example.com",
    "github.com:example/repo.git/": "ssh://github.com/example/repo",
    "git@github.com:example/repo": "ssh://git@github.com/example/repo",
    " \ufeffhttps://github.com/example/repo": "https://github.com/example/repo",
    " \t\nhttps://github.com/example/repo\t\n ": "https://github.com/example/repo",
    "\u200bhttps://github.com/example/repo\u00a0": "https://github.com/example/repo",
    "": "",
    "  ": "  ",
    "https://[::1/x": "https://[::1/x",
    "https://h:port/x": "https://h:port/x",
}


@each_row(("url", "normal"), NORMAL.items())
def test_a_url_has_the_normal_form_that_kargo_gives_it(url: str, normal: str) -> None:
    assert normalised(url) == normal


SEGMENT = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,12}", fullmatch=True)


@given(SEGMENT, SEGMENT, st.sampled_from(["https://h.example/", "ssh://git@h.example/", "git@h.example:"]))
def test_suffixes_case_and_white_space_never_change_what_a_url_names(owner: str, repo: str, start: str) -> None:
    plain = normalised(f"{start}{owner}/{repo}")
    for end in ("/", ".git", ".git/"):
        assert normalised(f" {start}{owner}/{repo}{end}\n") == plain
    assert normalised(f"{start}{owner}/{repo}".upper().replace("HTTPS", "https").replace("SSH", "ssh")) == plain
    assert normalised(f"{start}{owner}x/{repo}") != plain


@given(st.text(max_size=40))
def test_normalising_never_fails(text: str) -> None:
    normalised(text)


@given(SEGMENT, SEGMENT, st.sampled_from(["https://u:p@h.example:8443/", "ssh://git@h/", "git@h:"]))
def test_a_normal_form_is_its_own(owner: str, repo: str, start: str) -> None:
    once = normalised(f"{start}{owner}/{repo}")
    assert normalised(once) == once


# ---------------------------------------------------------------- which Secret


@pytest.mark.parametrize(
    "own",
    [
        URL,
        f"{URL}.git",
        f"{URL}/",
        "https://GITHUB.com/MyOrg/My-App.git/",
        "https://someone:else@github.com/myorg/my-app",
        f"  {URL}\n",
    ],
)
def test_another_spelling_of_the_same_url_matches(own: str) -> None:
    assert chosen({"a": login(own)}) == "t"
    assert chosen({"a": login(URL)}, url=own) == "t"


@pytest.mark.parametrize(
    "own",
    [
        "https://github.com/myorg/my-app2",
        "https://github.com/myorg",
        "https://github.com/myorg/",
        "https://github.com:443/myorg/my-app",
        "https://www.github.com/myorg/my-app",
        "ssh://git@github.com/myorg/my-app",
        "git@github.com:myorg/my-app.git",
        "https://github.com/myorg/.*",
        "",
    ],
)
def test_another_url_does_not(own: str) -> None:
    assert "there are no Git credentials" in refusal({"a": login(own)})


def test_the_three_ssh_forms_are_one_but_another_than_https() -> None:
    for own in ("git@github.com:myorg/my-app.git", "ssh://git@github.com/myorg/my-app"):
        for url in ("git@github.com:myorg/my-app", "ssh://git@github.com/myorg/my-app.git"):
            assert chosen({"a": login(own)}, url=url) == "t"
        assert "an ssh URL and an https URL are different" in refusal({"a": login(URL)}, url=own)


def test_the_first_name_counts() -> None:
    secrets = {"b": login(password="b"), "a": login(password="a"), "c": login(password="c")}
    assert chosen(secrets) == "a"


def test_urls_and_expressions_are_one_sequence() -> None:
    everything = pattern("github", "expression")
    assert chosen({"a": everything, "b": login(password="url")}) == "expression"
    assert chosen({"a": login(password="url"), "b": everything}) == "url"
    assert chosen({"a": login("https://github.com/o/other"), "b": everything}) == "expression"


def test_the_project_comes_before_the_shared_namespace() -> None:
    assert chosen({"z": login(password="own")}, {"a": login(password="shared")}) == "own"
    assert chosen({"z": login("https://x/y/z")}, {"a": login(password="shared")}) == "shared"
    assert chosen({"z": pattern(".*", "own")}, {"a": login(password="shared")}) == "own"


def test_the_shared_namespace_is_asked_only_when_needed_and_once() -> None:
    secrets = Secrets({"demo": {"a": login()}})
    git_credentials(secrets, "demo", SHARED, parse_repo_url(URL))
    assert secrets.asked == ["demo"]
    for shared in (SHARED, "", None):
        secrets = Secrets({})
        with pytest.raises(CredentialsError):
            git_credentials(secrets, SHARED, shared, parse_repo_url(URL))
        assert secrets.asked == [SHARED, f"{SHARED} without a label"]


@pytest.mark.parametrize(
    "text",
    [
        "^https://github\\.com/myorg/.*$",
        "myorg",
        "my-app$",  # only the normal form ends so
        "my-app\\.git/$",  # only the raw one
        "MyOrg",
        "(?i)MYORG",
        "github.com/(myorg|other)/",
        "",
    ],
)
def test_an_expression_is_unanchored_and_tried_on_the_raw_and_the_normal_url(text: str) -> None:
    assert chosen({"a": pattern(text)}, url="https://github.com/MyOrg/my-app.git/") == "t"


@pytest.mark.parametrize("text", ["^github", "myorg/$", "gitlab", "MYORG", "^$"])
def test_an_expression_that_matches_neither_is_passed_over(text: str) -> None:
    assert chosen({"a": pattern(text, "no"), "b": login(password="yes")}) == "yes"


@pytest.mark.parametrize("text", ["(", "(?=github)", "a**", "[z-a]", "((a{500}){500}){500}"])
def test_a_bad_expression_is_skipped_and_named_if_nothing_else_matches(text: str) -> None:
    assert chosen({"a": pattern(text, "no"), "b": login(password="yes")}) == "yes"
    assert "demo/broken" in refusal({"broken": pattern(text, "hunter2")})


def test_an_expression_is_not_skipped_where_none_can_be_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)  # as on a Python for which it is not built
    told = refusal({"a": pattern("hunter2"), "b": login()})
    assert "the Secret a: its repoURL is an expression" in told
    assert "google-re2" in told
    assert chosen({"b": login(password="yes")}) == "yes"


@pytest.mark.parametrize(
    ("flag", "regex"), [("true", True), ("true\n", True), ("True", False), ("1", False), ("", False)]
)
def test_only_true_makes_an_expression(flag: str, regex: bool) -> None:
    secret = {**login("github"), "repoURLIsRegex": flag}
    if regex:
        assert chosen({"a": secret}) == "t"
    else:
        assert "there are no Git credentials" in refusal({"a": secret})


def test_after_a_match_there_is_no_way_back() -> None:
    useless = {"repoURL": URL}
    assert "the Secret a: it matches myorg/my-app" in refusal({"a": useless, "b": login()}, {"c": login()})


def test_without_any_match_the_message_names_repository_and_both_places() -> None:
    said = refusal({"a": login("https://github.com/o/r", "hunter2")}, url="https://u:hunter2@github.com/myorg/my-app")
    assert "myorg/my-app on github.com" in said
    assert "which does not match config.repoURL, and the namespace kargo-shared-resources has none that" in said
    assert "kargo.akuity.io/cred-type: git" in said


def test_a_secret_of_the_shared_namespace_is_named_with_it() -> None:
    assert "project demo: the Secret a in the namespace kargo-shared-resources: " in refusal(
        {}, {"a": {"repoURL": URL}}
    )


# ---------------------------------------------------------------- what it holds


def test_a_password_is_the_token_without_white_space_around_it() -> None:
    assert chosen({"a": login(password=" ghp_x\n")}) == "ghp_x"


@each_row(
    ("data", "said"),
    [
        ({"username": "x"}, "the key password is missing"),
        ({"password": "hunter2"}, "the key username is missing"),
        ({"username": "", "password": "hunter2"}, "the key username is empty"),
        ({"username": "x", "password": " "}, "the key password is empty"),
        ({"username": "x", "password": "hunter2 hunter2"}, "contains white space"),
        ({"username": "x", "password": "hunter2ü"}, "the key password contains"),
        ({}, "has no credentials"),
        ({"sshPrivateKey": "hunter2"}, "has only an SSH key"),
        ({"sshPrivateKey": "hunter2", "username": "x"}, "has only an SSH key"),
        ({"sshPrivateKey": ""}, "has no credentials"),
        ({"githubAppID": "1"}, "githubAppInstallationID and githubAppPrivateKey are missing or empty"),
        ({"githubAppPrivateKey": "hunter2"}, "githubAppClientID and githubAppInstallationID are missing or empty"),
        ({"githubAppID": "1", "githubAppInstallationID": "1"}, "githubAppPrivateKey is missing or empty"),
    ],
)
def test_unfit_credentials_are_named_with_what_they_lack(data: Data, said: str) -> None:
    message = refusal({"a": {"repoURL": URL, **data}})
    assert "the Secret a" in message
    assert said in message


def app(**changes: str) -> Data:
    whole = {
        "repoURL": URL,
        "githubAppClientID": "Iv23example",
        "githubAppID": "4711",
        "githubAppInstallationID": "815",
        "githubAppPrivateKey": rsa_key().private,
    }
    return {key: value for key, value in (whole | changes).items() if value != "-"}


def of_app(data: Data) -> GitHubApp:
    found = git_credentials(Secrets({"demo": {"a": data}}), "demo", SHARED, parse_repo_url(URL))
    assert isinstance(found, GitHubApp)
    return found


def test_the_client_id_is_preferred_to_the_apps_id() -> None:
    assert of_app(app()).issuer == "Iv23example"
    assert of_app(app(githubAppClientID="-")).issuer == "4711"
    assert of_app(app(githubAppClientID=" \n")).issuer == "4711"
    assert of_app(app(githubAppID="-")).installation == 815


def test_a_key_may_be_pem_or_base64_of_it_wrapped_or_not() -> None:
    import base64

    pem = rsa_key().private
    plain = base64.b64encode(pem.encode()).decode()
    wrapped = base64.encodebytes(pem.encode()).decode()
    for written in (pem, pem.replace("\n", "\r\n"), f"\n{pem}\n", plain, wrapped, plain + "\n"):
        assert of_app(app(githubAppPrivateKey=written)).private_key.reveal().split() == pem.split()


def test_a_password_comes_before_an_app_and_an_app_before_an_ssh_key() -> None:
    assert chosen({"a": {**app(), "username": "x", "password": "t"}}) == "t"
    assert of_app({**app(), "sshPrivateKey": "x"}).installation == 815


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"githubAppInstallationID": "https://github.com/x/815"}, "the key githubAppInstallationID is not a number"),
        ({"githubAppInstallationID": "-1"}, "the key githubAppInstallationID is not a number"),
        ({"githubAppInstallationID": "٣"}, "the key githubAppInstallationID is not a number"),
        ({"githubAppInstallationID": "9" * 30}, "the key githubAppInstallationID is not a number"),
        ({"githubAppClientID": "my app"}, "the key githubAppClientID is not the client ID"),
        ({"githubAppClientID": "x" * 200}, "the key githubAppClientID is not the client ID"),
        ({"githubAppClientID": "-", "githubAppID": "Iv23"}, "the key githubAppID is not the ID"),
        ({"githubAppPrivateKey": "hunter2"}, "the key githubAppPrivateKey is neither PEM"),
        ({"githubAppPrivateKey": "aHVudGVyMg=="}, "the key githubAppPrivateKey is neither PEM"),
        ({"githubAppPrivateKey": "hunter2-----BEGIN"}, "the key githubAppPrivateKey is neither PEM"),
    ],
)
def test_what_is_wrong_with_an_app_is_told_by_its_key(changes: dict[str, str], said: str) -> None:
    assert said in refusal({"a": app(**changes)})


def test_nothing_secret_is_shown_of_credentials() -> None:
    found = of_app(app())
    assert "BEGIN" not in repr(found)
    password = Password("x", Token("hunter2"))
    assert "hunter2" not in repr(password)
    assert "hunter2" not in repr(LabelledSecret("a", {"password": b"hunter2"}))


SCOPES = "kargo.akuity.io/github-token-scopes"


@pytest.mark.parametrize("scopes", ['{"demo": ["my-app"]}', '{"demo": ["x", "MY-APP"], "other": []}', ""])
def test_an_app_may_be_limited_to_repositories_of_a_project(scopes: str) -> None:
    assert of_app({**app(), SCOPES: scopes}).installation == 815


@pytest.mark.parametrize(
    "scopes", ['{"demo": ["other"]}', '{"other": ["my-app"]}', "{}", '{"demo": "my-app"}', '{"demo": [1]}']
)
def test_beyond_these_limits_there_is_no_token(scopes: str) -> None:
    said = refusal({"a": {**app(), SCOPES: scopes}})
    assert f"its annotation {SCOPES} does not allow this project a token for my-app" in said


@pytest.mark.parametrize("scopes", ["no JSON", "[]", "null", '"my-app"'])
def test_limits_that_cannot_be_read_let_nobody_through(scopes: str) -> None:
    assert "no project may use it" in refusal({"a": {**app(), SCOPES: scopes}})


# ---------------------------------------------------------------- what the label is missing on

NOT_LISTED = f"the Secrets of the namespace {SHARED} may not be listed: give us a Role"
OTHER = login("https://github.com/myorg/other")
LABELLING = "kubectl label secret bare --namespace demo --overwrite kargo.akuity.io/cred-type=git"


@each_row(
    ("labelled", "count"),
    [
        ({}, "no Secret with the label kargo.akuity.io/cred-type: git"),
        ({"a": OTHER}, "1 Secret with the label kargo.akuity.io/cred-type: git, which does not match config"),
        ({"a": OTHER, "b": pattern("other$")}, "2 Secrets with the label kargo.akuity.io/cred-type: git, none"),
    ],
)
@each_row("bare", [{}, {"bare": login(password="hunter2")}, {"bare": pattern("myorg/my-app$")}])
@each_row("trouble", [None, CredentialsError(NOT_LISTED), SecretsUnavailable(NOT_LISTED, 5.0)])
def test_how_many_have_the_label_and_which_lacks_it_is_said_before_any_right_is_advised(
    labelled: Mapping[str, Data], count: str, bare: Mapping[str, Data], trouble: StepError | None
) -> None:
    denied = {} if trouble is None else {SHARED: trouble}
    secrets = Secrets({"demo": labelled}, {"a": OTHER, "broken": pattern("("), **bare}, denied)
    with pytest.raises(CredentialsError if trouble is None else type(trouble)) as caught:
        git_credentials(secrets, "demo", SHARED, parse_repo_url(URL))
    said = str(caught.value)
    assert said.startswith("project demo: there are no Git credentials for myorg/my-app on github.com: its namespace")
    assert count in said
    assert (LABELLING in said) is bool(bare)
    assert "hunter2" not in said
    if trouble is not None:
        assert said.endswith(NOT_LISTED)
        assert caught.value.retry_after == trouble.retry_after
    else:
        assert ("create one with" in said) is not bool(bare)


def test_who_finds_credentials_is_not_asked_to_list_others() -> None:
    secrets = Secrets({"demo": {"a": OTHER}, SHARED: {"b": login()}})
    git_credentials(secrets, "demo", SHARED, parse_repo_url(URL))
    assert secrets.asked == ["demo", SHARED]
