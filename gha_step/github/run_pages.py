"""Workflow runs as GitHub's API shows them: what a page of a listing holds. Pure.

Source: https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow
"""

from datetime import datetime
from typing import Any

from gha_step.contract.listing import WorkflowRun
from gha_step.github.dispatch import Workflow
from gha_step.github.errors import Unclear
from gha_step.github.messages import Answer, entries, own_link, positive_id


def runs_page(answer: Answer, workflow: Workflow) -> tuple[WorkflowRun, ...]:
    """The runs on one page of a listing of ``workflow``.

    :raises Unclear: the body is not what GitHub's API describes.
    """
    try:
        return tuple(_run(entry, workflow) for entry in entries(answer.json()["workflow_runs"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        endpoint = workflow.endpoint
        raise Unclear(
            f"{endpoint.host} answered 200, but not with a listing of the workflow's runs: {endpoint.not_a_github}"
        ) from None


def _run(entry: dict[str, Any], workflow: Workflow) -> WorkflowRun:
    actor = entry.get("actor") or {}
    run_id = positive_id(entry["id"])
    return WorkflowRun(
        id=run_id,
        url=own_link(entry["html_url"], workflow.endpoint) or workflow.run_page(run_id),
        event=_string(entry["event"]),
        head_branch=_string(entry.get("head_branch") or ""),
        created_at=datetime.fromisoformat(entry["created_at"]).timestamp(),
        actor=_string(actor.get("login") or ""),
        title=_string(entry.get("display_title") or ""),
    )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def user_login(answer: Answer) -> str | None:
    """The login in an answer to ``GET /user``; ``None`` where the token has none to tell, as an App's."""
    if answer.status != 200:
        return None
    try:
        login = answer.json()["login"]
    except (ValueError, KeyError, TypeError):
        return None
    return login if isinstance(login, str) and login else None
