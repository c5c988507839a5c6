"""The dispatch as GitHub's API has it: the request to send, and what an answer proves. Pure.

Source: facts/github-dispatch.md ("The endpoint", "Errors worth a message of their own") and the answer table of
ledger.md. What is not clearly one thing counts as unclear: a refusal misread as success costs a failed step,
a success misread as refusal costs a second deployment.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import quote

from gha_step.contract.json_text import compact_json, parse_json
from gha_step.contract.secret import Token
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import RateLimited, Refused, Unclear, Unsupported
from gha_step.github.messages import VERSION_HEADER, Answer, Request, date, github_words, headers

RUN_DETAILS: Final = "return_run_details"

_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 406, 407, 410, 413, 415, 421, 422, 451})


@dataclass(frozen=True)
class Workflow:
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
    def path(self) -> str:
        """Path below the API base, escaped."""
        owner, repo, file = (quote(part, safe="") for part in (self.owner, self.repo, self.file))
        return f"/repos/{owner}/{repo}/actions/workflows/{file}"

    @property
    def page(self) -> str:
        """The workflow's page, for people. GitHub's answers to a dispatch hold no link to it."""
        owner, repo, file = (quote(part, safe="") for part in (self.owner, self.repo, self.file))
        return f"{self.endpoint.web}/{owner}/{repo}/actions/workflows/{file}"


@dataclass(frozen=True)
class StartedRun:
    """GitHub's 200: the run that this dispatch started."""

    run_id: int
    url: str


@dataclass(frozen=True)
class AcceptedWithoutRun:
    """GitHub's 204: a run will exist; its ID is not told. ``date``: GitHub's clock, seconds since 1970."""

    date: float | None


def dispatch_request(
    workflow: Workflow, inputs: dict[str, str], token: Token, *, without: frozenset[str] = frozenset()
) -> Request:
    """The one POST. ``without`` names what the server is known to refuse: the run details, the API version."""
    body: dict[str, Any] = {"ref": workflow.ref}
    if inputs:
        body["inputs"] = inputs
    if RUN_DETAILS not in without:
        body[RUN_DETAILS] = True
    content = compact_json(body).encode()
    return Request(
        method="POST",
        target=f"{workflow.endpoint.path}{workflow.path}/dispatches",
        headers=[
            ("Host", workflow.endpoint.authority),
            *headers(token, without=without).items(),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ],
        body=content,
    )


def decipher_dispatch(
    answer: Answer, workflow: Workflow, token: Token, *, without: frozenset[str] = frozenset()
) -> StartedRun | AcceptedWithoutRun:
    """What the answer to a dispatch proves.

    :raises RateLimited: nothing was dispatched; GitHub says when to come again.
    :raises Unsupported: nothing was dispatched; the server does not know one of our two extras.
    :raises Refused: nothing was dispatched, for good.
    :raises Unclear: a run may have been started.
    """
    status = answer.status
    if status == 204:
        return AcceptedWithoutRun(date(answer))
    if status == 200:
        return _started(answer, workflow, token)
    words = github_words(answer, token)
    if limited := rate_limit(answer, words, workflow):
        raise limited
    if (feature := _unsupported(status, words)) and feature not in without:
        raise Unsupported(f"{workflow.endpoint.host} does not know {feature}", feature)
    if status in _REFUSED or 300 <= status < 400:
        raise refused(answer, words, workflow, token)
    raise Unclear(f"GitHub answered {status}{_said(words)}, which does not tell whether a run was started")


def _started(answer: Answer, workflow: Workflow, token: Token) -> StartedRun:
    try:
        body = parse_json(answer.body)
    except ValueError as error:
        raise Unclear(f"GitHub answered 200, but its body cannot be read ({error})") from None
    run_id = body.get("workflow_run_id") if isinstance(body, dict) else None
    if not isinstance(run_id, int) or isinstance(run_id, bool) or not 0 < run_id < 2**63:
        raise Unclear("GitHub answered 200, but named no run")
    url = body.get("html_url")
    if not _is_link(url) or token.hide(url) != url:
        url = f"{workflow.endpoint.web}/{quote(workflow.owner)}/{quote(workflow.repo)}/actions/runs/{run_id}"
    return StartedRun(run_id, url)


def _is_link(url: object) -> TypeGuard[str]:
    return isinstance(url, str) and re.fullmatch(r"https?://[!-~]+", url) is not None


def rate_limit(answer: Answer, words: str, workflow: Workflow) -> RateLimited | None:
    """The rate limit that the answer speaks of, if it does.

    Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    spent = answer.headers.get("x-ratelimit-remaining") == "0"
    after = _number(answer.headers.get("retry-after"))
    named = re.search(r"rate limit|abuse detection", words, re.IGNORECASE)
    if answer.status != 429 and not (answer.status == 403 and (spent or after is not None or named)):
        return None
    wait = after
    reset, now = _number(answer.headers.get("x-ratelimit-reset")), date(answer)
    if wait is None and spent and reset is not None and now is not None:
        wait = max(reset - now, 0.0)
    until = "" if wait is None else f" It asks to wait {wait:.0f} s."
    return RateLimited(
        f"{workflow.endpoint.host} has rate-limited the dispatch of {workflow}{_said(words)}.{until}", wait
    )


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,12}", text) else None


_VERSION_REFUSED: Final = re.compile(r"x-github-api-version|api version .*not supported|unsupported api version", re.I)


def _unsupported(status: int, words: str) -> str | None:
    if status not in (400, 422):
        return None
    if RUN_DETAILS in words and "not a permitted key" in words:
        return RUN_DETAILS
    return VERSION_HEADER if status == 400 and _VERSION_REFUSED.search(words) else None


def _said(words: str) -> str:
    return f": {words!r}" if words else ""


def refused(answer: Answer, words: str, workflow: Workflow, token: Token) -> Refused:
    """The refusal, with what to do about it. ``words``: as of `github_words`."""
    said = f"GitHub refused to dispatch {workflow} ({answer.status}{_said(words)})"
    advice = token.hide(_advice(answer, words, workflow, token.subject))
    return Refused(f"{said}: {advice}", answer.status, words, answer.headers.get("location"))


_ADVICE: Final = (
    (r"no ref found", "there is no branch or tag {ref}: GitHub takes no commit SHA; push it or correct ref"),
    (
        r"no more than [0-9]+|too many|maximum number of inputs",
        "this server takes fewer inputs: leave some out, or join them",
    ),
    (r"unexpected inputs", "declare them under on.workflow_dispatch.inputs of {file}, or leave them out"),
    (r"required input .* not provided", "the workflow requires it: add it to inputs"),
    (
        r"not in the list of allowed values|provided value",
        "use one of the workflow's choices; to take its default leave the input out (null), do not send ''",
    ),
    (
        r"does not have.*workflow_dispatch",
        "add `workflow_dispatch:` under `on:` in {file}, on the default branch and on {ref}",
    ),
    (r"disabled workflow", "enable the workflow in the repository's Actions tab"),
    (r"archived", "unarchive the repository {owner}/{repo}, or dispatch another one"),
    (
        r"resource not accessible by integration",
        "give the GitHub App the permission Actions: write on this repository",
    ),
    (
        r"resource not accessible by personal access token",
        "give {token} the permission Actions: read and write on this repository",
    ),
    (r"saml|sso", "authorise {token} for the organisation's single sign-on"),
)


def invisible(endpoint: Endpoint, name: str, token: Token) -> str:
    """Why GitHub says of the repository ``name`` that there is none, and what to do."""
    return (
        f"{token.subject} cannot see {name} at all: correct {endpoint.fields()}, or let it see the repository "
        "(fine-grained: add it under Repository access; classic: scope repo; App: install it there)"
    )


# GitHub says why in JSON. A login page, a firewall or a website answers so without, whatever the token is.
NOT_GITHUBS: Final = frozenset({400, 401, 403, 404, 405, 406, 410, 422})
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)


def _advice(answer: Answer, words: str, workflow: Workflow, token: str) -> str:
    sso = re.search(r"url=(https://\S+)", answer.headers.get("x-github-sso", ""))
    if sso:
        return f"authorise {token} for the organisation's single sign-on: {sso[1]}"
    if re.search(r"no ref found", words, re.IGNORECASE) and _COMMIT.fullmatch(workflow.ref):
        return "ref is a commit SHA, and GitHub dispatches on a branch or tag only: name one that points there"
    for pattern, advice in _ADVICE:
        if re.search(pattern, words, re.IGNORECASE):
            names = {"ref": workflow.ref, "file": workflow.file, "owner": workflow.owner, "repo": workflow.repo}
            return advice.format(token=token, **names)
    if not words and answer.status in NOT_GITHUBS:
        return workflow.endpoint.not_a_github
    match answer.status:
        case 401:
            return f"{token} is wrong, expired or revoked: renew it"
        case 403:
            return f"{token} may not start workflows here: it needs Actions: write (classic: scope repo)"
        case 404:
            return (
                f"either {workflow.owner}/{workflow.repo} does not exist or {token} cannot see it, or the "
                f"default branch has no .github/workflows/{workflow.file}"
            )
        case 407:
            return "the proxy that HTTPS_PROXY names asks for a login"
        case status if 300 <= status < 400:
            return (
                f"the repository was renamed or moved, or {workflow.endpoint.base} is not its API: correct "
                f"{workflow.endpoint.fields(address=True)} (a dispatch follows no redirect)"
            )
        case _:
            return "correct the step's config"
