"""Workflow runs as GitHub's API shows them: the request for a listing, and what an answer holds. Pure.

Source: https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gha_step.contract.json_text import parse_json
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unclear
from gha_step.github.messages import Answer

PER_PAGE: Final = 100  # the most that GitHub gives
ENTERPRISE_VERSION: Final = "x-github-enterprise-version"


@dataclass(frozen=True)
class WorkflowRun:
    """What tells one run from another. ``created_at``: seconds since 1970, cut to whole seconds."""

    id: int
    url: str
    event: str
    head_branch: str
    created_at: float
    actor: str
    title: str


@dataclass(frozen=True)
class WorkflowRuns:
    """Runs of one workflow, newest first.

    By GitHub's clock: ``date``, when it answered, and ``begun``, when it was asked (its Date less the time that
    this took); both are ``None`` if the answer bore no Date.
    """

    date: float | None
    begun: float | None
    runs: tuple[WorkflowRun, ...]


def runs_page(answer: Answer, endpoint: Endpoint) -> tuple[WorkflowRun, ...]:
    """The runs on one page of a listing.

    :raises Unclear: the body is not what GitHub's API describes.
    """
    try:
        body = parse_json(answer.body)
        return tuple(_run(entry) for entry in body["workflow_runs"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear(
            f"{endpoint.host} answered 200, but not with a listing of the workflow's runs: {endpoint.not_a_github}"
        ) from None


def _run(entry: dict[str, Any]) -> WorkflowRun:
    actor = entry.get("actor") or {}
    return WorkflowRun(
        id=int(entry["id"]),
        url=str(entry["html_url"]),
        event=str(entry["event"]),
        head_branch=str(entry.get("head_branch") or ""),
        created_at=datetime.fromisoformat(entry["created_at"]).timestamp(),
        actor=str(actor.get("login") or ""),
        title=str(entry.get("display_title") or ""),
    )


def user_login(answer: Answer) -> str | None:
    """The login in an answer to ``GET /user``; ``None`` where the token has none to tell, as an App's."""
    if answer.status != 200:
        return None
    try:
        login = parse_json(answer.body)["login"]
    except (ValueError, KeyError, TypeError):
        return None
    return login if isinstance(login, str) and login else None


def enterprise_version(answer: Answer) -> tuple[int, int] | None:
    """The version of the GitHub Enterprise Server that gave this answer, e.g. (3, 19); nobody else says one."""
    numbers = answer.headers.get(ENTERPRISE_VERSION, "").split(".")[:2]
    if len(numbers) < 2 or not all(re.fullmatch("[0-9]{1,6}", number) for number in numbers):
        return None
    return int(numbers[0]), int(numbers[1])
