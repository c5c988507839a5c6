"""What a listing of runs holds, and what a server's version says of it."""

import base64
import json
from typing import Any, Final

import pytest

from gha_step.contract.listing import WorkflowRun
from gha_step.contract.secret import Token
from gha_step.github.errors import Unclear
from gha_step.github.messages import LONGEST_WITH_SECRETS, MOST_ENTRIES, Answer, enterprise_version
from gha_step.github.run_pages import runs_page, user_login
from tests.github.answers import answer, workflow
from tests.support.rows import each_row

HERE: Final = workflow()
TOKEN: Final = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
ENTRY: dict[str, Any] = {
    "id": 17,
    "html_url": "https://github.com/myorg/my-app/actions/runs/17",
    "event": "workflow_dispatch",
    "head_branch": "main",
    "created_at": "2023-11-14T22:13:20Z",
    "actor": {"login": "kargo-bot"},
    "display_title": "Deploy",
}


def test_a_run_keeps_what_tells_it_from_others() -> None:
    page = runs_page(answer(200, {"total_count": 1, "workflow_runs": [ENTRY | {"new_tomorrow": 1}]}), HERE)
    assert page == (WorkflowRun(17, ENTRY["html_url"], "workflow_dispatch", "main", 1.7e9, "kargo-bot", "Deploy"),)


@pytest.mark.parametrize("url", [None, "javascript:alert(1)", "https://evil.example/x", "http://github.com/x"])
def test_a_link_elsewhere_is_replaced_by_the_runs_own_page(url: str | None) -> None:
    (run,) = runs_page(answer(200, {"workflow_runs": [ENTRY | {"html_url": url}]}), HERE)
    assert run.url == ENTRY["html_url"]


def test_half_of_a_surrogate_pair_in_a_title_is_replaced() -> None:
    body = json.dumps({"workflow_runs": [ENTRY | {"display_title": "Deploy X"}]}).replace("X", "\\ud83d")
    (run,) = runs_page(answer(200, body.encode()), HERE)
    assert run.title == "Deploy \ufffd"


@pytest.mark.parametrize("repeated", [TOKEN.replace("_", "\\u005f"), base64.b64encode(TOKEN.encode()).decode()])
def test_a_long_answer_that_repeats_the_token_is_not_taken_apart_string_by_string(repeated: str) -> None:
    text = json.dumps({"workflow_runs": [ENTRY] * 300} | {"x": "X"}).replace("X", repeated)
    assert len(text) < LONGEST_WITH_SECRETS
    assert Answer(200, {}, text.encode()).hiding(Token(TOKEN)).json()["x"] == "***"
    longer = Answer(200, {}, text.encode() + b" " * LONGEST_WITH_SECRETS).hiding(Token(TOKEN))
    with pytest.raises(ValueError, match="may repeat a secret"):
        longer.json()
    with pytest.raises(Unclear):
        runs_page(longer, HERE)


def test_for_half_of_a_surrogate_pair_no_string_is_searched_for_the_token() -> None:
    class Searched(Token):
        times = 0

        def is_in(self, text: str) -> bool:
            self.times += 1
            return super().is_in(text)

    token = Searched(TOKEN)
    body = b'["\\ud83d", ' + b'"a", ' * 1000 + b"1]"
    assert Answer(200, {}, body).hiding(token).json()[:2] == ["\ufffd", "a"]
    assert token.times < 5


@pytest.mark.parametrize("name", ["head_branch", "actor", "display_title"])
def test_what_github_may_leave_null_is_empty(name: str) -> None:
    (run,) = runs_page(answer(200, {"workflow_runs": [ENTRY | {name: None}]}), HERE)
    assert "" in (run.head_branch, run.actor, run.title)


@each_row(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        None,
        [],
        {},
        {"workflow_runs": None},
        {"workflow_runs": 5},
        {"workflow_runs": {"a": 1}},
        {"workflow_runs": [None]},
        {"workflow_runs": ["x"]},
        {"workflow_runs": [{}]},
        {"workflow_runs": [ENTRY | {"id": None}]},
        {"workflow_runs": [ENTRY | {"id": "x"}]},
        {"workflow_runs": [ENTRY] * (MOST_ENTRIES + 1)},
        {"workflow_runs": [ENTRY | {"id": "17"}]},
        {"workflow_runs": [ENTRY | {"id": -1}]},
        {"workflow_runs": [ENTRY | {"id": 0}]},
        {"workflow_runs": [ENTRY | {"id": True}]},
        {"workflow_runs": [ENTRY | {"id": 4242.9}]},
        {"workflow_runs": [ENTRY | {"id": 17.0}]},
        {"workflow_runs": [ENTRY | {"id": 2**63}]},
        {"workflow_runs": [ENTRY | {"event": {"a": 1}}]},
        {"workflow_runs": [ENTRY | {"display_title": 5}]},
        {"workflow_runs": [ENTRY | {"created_at": None}]},
        {"workflow_runs": [ENTRY | {"created_at": "yesterday"}]},
        {"workflow_runs": [ENTRY | {"created_at": "0001-01-01T00:00:00"}]},
        {"workflow_runs": [ENTRY | {"actor": "bob"}]},
    ],
)
def test_what_is_no_listing_is_unclear(body: Any) -> None:
    with pytest.raises(Unclear, match="Correct the base URL"):
        runs_page(answer(200, body), HERE)


@each_row(
    ("version", "told"),
    [
        ("3.19.0", (3, 19)),
        ("3.20.11", (3, 20)),
        ("3.21", (3, 21)),
        ("4.0.0", (4, 0)),
        ("", None),
        ("3", None),
        ("x.y.z", None),
        ("3.x", None),
        ("-3.19", None),
        ("\u00b3.19.0", None),
        ("3.\u00b9.0", None),
        (" 3.19", None),
    ],
)
def test_only_an_enterprise_server_says_its_version(version: str, told: tuple[int, int] | None) -> None:
    assert enterprise_version({"x-github-enterprise-version": version}) == told


def test_github_com_says_no_version() -> None:
    assert enterprise_version({}) is None


def test_an_absurdly_long_version_is_none() -> None:
    assert enterprise_version({"x-github-enterprise-version": "3." + "9" * 5000}) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [(403, {"login": "x"}), (200, b""), (200, []), (200, {}), (200, {"login": None}), (200, {"login": ""}), (200, "x")],
)
def test_a_token_without_a_login_has_none(status: int, body: Any) -> None:
    assert user_login(answer(status, body)) is None


def test_a_users_login_is_read() -> None:
    assert user_login(answer(200, {"login": "kargo-bot", "id": 1})) == "kargo-bot"
