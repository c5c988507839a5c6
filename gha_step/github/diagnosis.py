"""Finds out why GitHub refused a dispatch if its response does not say so, by at most one GET after the failure."""

import re
from typing import Any
from urllib.parse import urlsplit

from gha_step.contract.secret import Token
from gha_step.github.client import Client
from gha_step.github.dispatch import Workflow
from gha_step.github.errors import GitHubError, Refused
from gha_step.github.messages import Answer, shown, text
from gha_step.github.refusals import Asked, invisible


def diagnose(refusal: Refused, workflow: Workflow, token: Token, client: Client) -> str:
    """The message for the operator: the refusal's own, or a surer one."""
    if refusal.status == 404 and refusal.words:  # without them, it is no GitHub's
        path = workflow.repository_path
    elif 300 <= refusal.status < 400 and (moved := _moved_to(refusal, workflow)):
        path = moved
    else:
        return str(refusal)
    name = f"{workflow.owner}/{workflow.repo}"
    if (seen := _repository(workflow, path, token, client)) is None:
        return str(refusal)
    answer, repository = seen
    said = f"GitHub refused to dispatch {workflow} ({refusal.status}: {refusal.words!r})"
    if refusal.status != 404:
        now = repository.get("full_name") if isinstance(repository, dict) else None
        if not isinstance(now, str):
            return str(refusal)
        return f"{said}: the repository is now {shown(now)}: correct {workflow.endpoint.fields()}"
    if answer.status == 404:
        return f"{said}: {invisible(workflow.endpoint, name, token)}"
    if answer.status != 200 or not isinstance(repository, dict):
        return str(refusal)
    return f"{said}: {_visible(repository, name, workflow, token.subject)}"


def why_not_shown(refusal: Refused, workflow: Workflow, token: Token, client: Client) -> str:
    """The same for a workflow file that GitHub does not show."""
    if refusal.status != 404 or not refusal.words:
        return str(refusal)
    name, path = f"{workflow.owner}/{workflow.repo}", f".github/workflows/{workflow.file}"
    name_of = workflow.endpoint.name_of
    if (seen := _repository(workflow, workflow.repository_path, token, client)) is None:
        return str(refusal)
    said = f"GitHub does not show {path} ({refusal.status}: {refusal.words!r})"
    if seen[0].status == 404:
        return f"{said}: {invisible(workflow.endpoint, name, token)}"
    if seen[0].status != 200:
        return str(refusal)
    if refusal.words.startswith("No commit found for the ref"):
        return f"{said}: there is no branch or tag {workflow.ref}: push it or correct {name_of('ref')}"
    return (
        f"{said}: {token.subject} can see {name}, but there is no {path} on {workflow.ref}: correct "
        f"{name_of('workflowFile')}, or push the file there (a fine-grained token or an App also needs Contents: read)"
    )


def _repository(workflow: Workflow, path: str, token: Token, client: Client) -> tuple[Answer, Any] | None:
    """What GitHub says of the repository; ``None``: nothing that can be read."""
    name = f"{workflow.owner}/{workflow.repo}"
    asked = Asked(workflow.endpoint, "show", name, workflow.owner, workflow.repo)
    try:
        answer = client.get("repository", asked, path, token)
        return answer, answer.json() if answer.status == 200 else {}
    except (GitHubError, ValueError):
        return None


def _visible(repository: dict[str, Any], name: str, workflow: Workflow, token: str) -> str:
    permissions = repository.get("permissions")
    branch = text(repository.get("default_branch"))
    if isinstance(permissions, dict) and permissions.get("push") is False:
        return (
            f"{token} can read {name} but not write to it: it needs Actions: write (classic: scope repo, and write "
            "access of its user)"
        )
    return (
        f"{token} can see {name}, but its default branch {branch} has no .github/workflows/{workflow.file}: a "
        "workflow can be dispatched only once its file is there"
    )


def _moved_to(refusal: Refused, workflow: Workflow) -> str | None:
    """The path of the repository that a redirect leads to, if it stays on the same server."""
    try:
        parts = urlsplit(refusal.location or "")
    except ValueError:
        return None
    found = re.match(r"(?:/api/v3)?(/repositories/[0-9]+|/repos/[\w.-]+/[\w.-]+)/", parts.path, re.ASCII)
    return found[1] if found and parts.netloc == workflow.endpoint.authority else None
