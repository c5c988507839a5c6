"""Who may do what, and the limits, headers and conditions that hold for every request."""

import json
from collections.abc import Callable

import pytest

from gha_step.emulator import API_2022, GitHub, Response, Token
from tests.support.clock import START

from .asking import FLOW, REPO, ask, dispatch, message


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        (Token("t", kind="fine-grained", actions="read"), 403, "Resource not accessible by personal access token"),
        (Token("t", kind="fine-grained", actions="none"), 403, "Resource not accessible by personal access token"),
        (Token("t", kind="installation", actions="read"), 403, "Resource not accessible by integration"),
        (Token("t", kind="fine-grained", repositories=frozenset({"myorg/other"})), 404, "Not Found"),
        (Token("t", kind="installation", repositories=frozenset()), 404, "Not Found"),
        (Token("t", actions="read"), 403, "Must have admin rights to Repository."),
        (Token("t", actions="none"), 404, "Not Found"),
        (Token("t", scopes=("workflow",)), 404, "Not Found"),
        (Token("t", expires_at=START), 401, "Bad credentials"),
        (Token("t", expires_at=START - 1), 401, "Bad credentials"),
        (Token("other"), 401, "Bad credentials"),
    ],
)
def test_a_token_that_may_not_dispatch_is_told_so(github: GitHub, token: Token, status: int, words: str) -> None:
    github.add_token(token)
    response = dispatch(github, token="t")
    assert (response.status, message(response)) == (status, words)
    assert json.loads(response.body)["status"] == str(status)
    assert github.runs == []


@pytest.mark.parametrize("kind", ["fine-grained", "installation"])
def test_a_missing_permission_is_named_in_a_header(github: GitHub, kind: str) -> None:
    weak = Token(
        "t", kind="installation" if kind == "installation" else "fine-grained", actions="read", contents="none"
    )
    github.add_token(weak)
    assert dispatch(github, token="t").header("X-Accepted-GitHub-Permissions") == "actions=write"
    contents = ask(github, f"{REPO}/contents/.github/workflows/deploy.yml", token="t")
    assert (contents.status, contents.header("X-Accepted-GitHub-Permissions")) == (403, "contents=read")
    assert ask(github, f"{FLOW}/runs", token="t").status == 200


def test_reading_the_repository_tells_a_missing_scope_from_an_invisible_repository(github: GitHub) -> None:
    github.add_token(Token("scopeless", scopes=()))
    assert dispatch(github, token="scopeless").status == 404
    assert ask(github, REPO, token="scopeless").status == 404
    github.repository("myorg/my-app").private = False
    refused = dispatch(github, token="scopeless")
    assert (refused.status, refused.header("X-OAuth-Scopes")) == (404, "")
    assert refused.header("X-Accepted-OAuth-Scopes") == "repo"
    assert ask(github, REPO, token="scopeless").status == 200


def test_without_a_token_only_public_repositories_are_read(github: GitHub) -> None:
    assert ask(github, REPO, token=None).status == 404
    github.repository("myorg/my-app").private = False
    assert ask(github, REPO, token=None).status == 200
    refused = dispatch(github, token=None)
    assert (refused.status, message(refused)) == (401, "Requires authentication")
    assert ask(github, "/user", token=None).status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "token"])
def test_both_schemes_of_authorization_are_taken(github: GitHub, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} emulator-token"}
    assert ask(github, "/user", token=None, headers=headers).status == 200


@pytest.mark.parametrize("value", ["emulator-token", "Basic emulator-token", "Bearer", "Bearer emulator-toke", ""])
def test_anything_else_is_bad_credentials(github: GitHub, value: str) -> None:
    response = ask(github, REPO, token=None, headers={"Authorization": value})
    assert (response.status, message(response)) == (401, "Bad credentials")


def test_an_emulator_may_begin_empty() -> None:
    github = GitHub(example=False)
    assert ask(github, REPO).status == 401
    github.add_token("emulator-token")
    assert ask(github, REPO).status == 404


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("POST", 307)])
def test_a_renamed_repository_redirects_to_its_id(github: GitHub, method: str, status: int) -> None:
    github.rename_repository("myorg/my-app", "myorg/new-app")
    target = f"{FLOW}/runs?per_page=5" if method == "GET" else f"{FLOW}/dispatches"
    response = ask(github, f"/api/v3{target}", method=method)
    assert response.status == status
    location = response.header("Location") or ""
    assert location == f"https://api.github.com/api/v3/repositories/1000{target.removeprefix(REPO)}"
    assert json.loads(response.body)["url"] == location
    assert github.runs == []
    assert ask(github, f"/repositories/1000{f'{FLOW}/runs'.removeprefix(REPO)}").status == 200
    assert dispatch(github, target="/repos/myorg/new-app/actions/workflows/deploy.yml/dispatches").status == 204


def test_a_renamed_repository_stays_hidden_from_who_may_not_see_it(github: GitHub) -> None:
    github.rename_repository("myorg/my-app", "myorg/new-app")
    assert ask(github, REPO, token=None).status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/nowhere",
        "/repos/myorg",
        "/repos/myorg/nowhere",
        f"{REPO}/actions/runs/1",
        f"{REPO}/actions/runs/x",
        f"{REPO}/actions/runs/²",
        "/repositories/7",
        f"{REPO}/contents/README.md",
        f"{FLOW}x",
        "//user",
        "/api/v3",
    ],
)
def test_what_does_not_exist_is_not_found(github: GitHub, target: str) -> None:
    response = ask(github, target)
    assert (response.status, message(response)) == (404, "Not Found")


def test_a_run_of_another_repository_is_not_found(github: GitHub) -> None:
    github.add_repository("myorg/other")
    dispatch(github)
    assert ask(github, "/repos/myorg/other/actions/runs/17000000001").status == 404


def test_an_installation_is_no_user(github: GitHub) -> None:
    github.add_token(Token("t", login="my-app[bot]", kind="installation"))
    assert ask(github, "/user", token="t").status == 403
    assert dispatch(github, token="t").status == 204
    run = json.loads(ask(github, f"{REPO}/actions/runs/17000000001", token="t").body)
    assert (run["actor"]["login"], run["actor"]["type"]) == ("my-app[bot]", "Bot")


def test_documentation_urls_name_the_server_generation() -> None:
    def url(generation: str) -> object:
        return json.loads(dispatch(GitHub(generation), ref="x").body)["documentation_url"]

    anchor = "/actions/workflows#create-a-workflow-dispatch-event"
    assert url("github.com") == f"https://docs.github.com/rest{anchor}"
    assert url("ghes-3.19") == f"https://docs.github.com/enterprise-server@3.19/rest{anchor}"


def test_an_enterprise_server_limits_nobody_by_default() -> None:
    github = GitHub("ghes-3.20")
    response = ask(github, REPO)
    assert (response.header("X-RateLimit-Limit"), response.header("X-GitHub-Enterprise-Version")) == (None, "3.20.0")
    assert message(ask(github, "/rate_limit")) == "Rate limiting is not enabled."


@pytest.mark.parametrize(
    "asked",
    [dispatch, lambda github: ask(github, REPO), lambda github: ask(github, "/x"), lambda g: dispatch(g, ref="x")],
)
def test_every_answer_carries_githubs_headers(github: GitHub, asked: Callable[[GitHub], Response]) -> None:
    response = asked(github)
    for name in ("Date", "X-GitHub-Request-Id", "X-GitHub-Media-Type", "X-RateLimit-Reset", "X-OAuth-Scopes"):
        assert response.header(name), name
    assert response.header("X-GitHub-Api-Version-Selected") == API_2022


def test_the_contents_of_a_workflow_file_are_those_of_the_ref(github: GitHub) -> None:
    repository = github.repository("myorg/my-app")
    repository.add_branch("dev")
    repository.workflows[0].set_text("on: [", ref="dev")
    target = f"{REPO}/contents/.github/workflows/deploy.yml"
    assert json.loads(ask(github, f"{target}?ref=dev").body)["content"] == "b246IFs=\n"
    assert message(ask(github, f"{target}?ref=gone")) == "No commit found for the ref gone"
    repository.workflows[0].set_text(None, ref="dev")
    assert ask(github, f"{target}?ref=refs/heads/dev").status == 404
