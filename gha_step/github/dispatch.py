"""The dispatch as GitHub's API has it: the request to send, and what an answer proves. Pure.

Source: facts/github-dispatch.md ("The endpoint", "Errors worth a message of their own") and the answer table of
ledger.md. What is not clearly one thing counts as unclear: a refusal misread as success costs a failed step,
a success misread as refusal costs a second deployment.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from gha_step.contract.json_text import compact_json
from gha_step.contract.secret import Token
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unclear, Unsupported
from gha_step.github.messages import (
    VERSION_HEADER,
    Answer,
    Dialect,
    Request,
    date,
    error_body,
    headers,
    own_link,
    positive_id,
)
from gha_step.github.refusals import Asked, rate_limit, refused, refuses_key, refuses_version, said

RUN_DETAILS: Final = "return_run_details"

_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 406, 407, 410, 413, 415, 421, 422, 451})


@lru_cache(256)
def _segment(name: str) -> str:
    return quote(name, safe="")


class Workflow(NamedTuple):
    """The subject of every message: which workflow, where, on which ref.

    ``owner``, ``repo``, ``file`` and ``ref`` as the user wrote them.
    """

    endpoint: Endpoint
    owner: str
    repo: str
    file: str
    ref: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.repo} workflow {self.file} on ref {self.ref}"

    @property
    def repository_path(self) -> str:
        """Path of the repository below the API base, escaped."""
        return f"/repos/{_segment(self.owner)}/{_segment(self.repo)}"

    @property
    def path(self) -> str:
        """Path below the API base, escaped."""
        return f"{self.repository_path}/actions/workflows/{_segment(self.file)}"

    def run_page(self, run_id: int) -> str:
        """A run's page, where GitHub gives no link to it that leads there."""
        return f"{self.endpoint.web}/{_segment(self.owner)}/{_segment(self.repo)}/actions/runs/{run_id}"


class StartedRun(NamedTuple):
    """GitHub's 200: the run that this dispatch started."""

    run_id: int
    url: str


class AcceptedWithoutRun(NamedTuple):
    """GitHub's 204: a run will exist; its ID is not told. ``date``: GitHub's clock, seconds since 1970."""

    date: float | None


def dispatch_request(workflow: Workflow, inputs: Mapping[str, str], token: Token, dialect: Dialect) -> Request:
    """The one POST."""
    body: dict[str, Any] = {"ref": workflow.ref}
    if inputs:
        body["inputs"] = inputs
    if dialect.asks_details:
        body[RUN_DETAILS] = True
    content = compact_json(body).encode()
    return Request(
        method="POST",
        target=f"{workflow.endpoint.path}{workflow.path}/dispatches",
        headers=[
            ("Host", workflow.endpoint.authority),
            *headers(token, dialect).items(),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ],
        body=content,
    )


def decipher_dispatch(
    answer: Answer,
    workflow: Workflow,
    inputs: Mapping[str, str],
    token: Token,
    dialect: Dialect,
    secrets: tuple[Token, ...] = (),
) -> StartedRun | AcceptedWithoutRun:
    """What the answer to a dispatch proves.

    :param inputs: as they were sent; so was everything in ``dialect``.
    :param secrets: those of them that no message shows: GitHub quotes a value that an input does not take.
    :raises RateLimited: nothing was dispatched; GitHub says when to come again.
    :raises Unsupported: nothing was dispatched; the server does not know one of our two extras.
    :raises Refused: nothing was dispatched, for good.
    :raises Unclear: a run may have been started.
    """
    answer = answer.hiding(token)
    status = answer.status
    if status == 204:
        return AcceptedWithoutRun(date(answer))
    if status == 200:
        return _started(answer, workflow)
    answer = answer._replace(secrets=(*answer.secrets, *secrets))
    asked = asked_to_dispatch(workflow, inputs)
    body = error_body(answer)
    if limited := rate_limit(answer, body, asked):
        raise limited
    if dialect.asks_details and refuses_key(answer, body, asked, RUN_DETAILS):
        raise Unsupported(f"{workflow.endpoint.host} does not know {RUN_DETAILS}", RUN_DETAILS)
    if dialect.version is not None and refuses_version(answer, asked, body):
        raise Unsupported(f"{workflow.endpoint.host} does not know API version {dialect.version}", VERSION_HEADER)
    if status in _REFUSED or 300 <= status < 400:
        raise refused(answer, body, asked, token)
    raise Unclear(f"GitHub answered {said(answer, body)}, which does not say whether a run was started")


def asked_to_dispatch(workflow: Workflow, inputs: Mapping[str, str]) -> Asked:
    """What the POST is for, with all texts of the user that an answer may repeat."""
    return Asked(
        workflow.endpoint,
        "dispatch",
        str(workflow),
        workflow.owner,
        workflow.repo,
        needs="write",
        file=workflow.file,
        ref=workflow.ref,
        theirs=(*inputs, *inputs.values()),
    )


def _started(answer: Answer, workflow: Workflow) -> StartedRun:
    try:
        body = answer.json(unique=True)  # two IDs are none
        run_id = positive_id(body["workflow_run_id"])
    except (ValueError, KeyError, TypeError):
        raise Unclear("GitHub answered 200, but its body has no run ID") from None
    return StartedRun(run_id, own_link(body.get("html_url"), workflow.endpoint) or workflow.run_page(run_id))
