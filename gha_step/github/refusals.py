"""Why GitHub refuses a request, for how long, and what to do about it. Pure.

An answer repeats what users write: refs, names and values of inputs, names of owners, repositories and files. So it is
read by what no user can write: status, headers and documentation_url first, then GitHub's own sentences, from their
first word on, with the user's texts taken out.

Sources: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api, facts/github-dispatch.md
("Errors worth a message of their own"), and public reports of each wording.
"""

import re
from typing import Final, Literal, NamedTuple

from gha_step.contract.secret import Token
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import RateLimited, Refused, TooLarge, Unclear
from gha_step.github.messages import Answer, ErrorBody, date, error_body, number, own_link, retry_after, time_of_day

LONGEST_READ: Final = 4_000  # characters in which a sentence is looked for: it may take the square of them
PASSING: Final = frozenset({304, 408, 409, 423, 425})  # refusals of the moment


class Asked(NamedTuple):
    """What a request was for. "GitHub refused to ``verb`` ``subject``" is a sentence.

    ``owner``, ``repo``, ``file`` and ``ref`` as the user wrote them; ``theirs``: the user's other texts in the request.
    ``needs``: of the ``permission``.
    """

    endpoint: Endpoint
    verb: str
    subject: str
    owner: str
    repo: str
    needs: Literal["read", "write"] = "read"
    permission: Literal["Actions", "Contents"] = "Actions"
    file: str = ""
    ref: str = ""
    theirs: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()  # of the config, which name the subject besides the repository's

    def says(self, words: str, sentence: str, *, core: str | None = None) -> bool:
        """Whether GitHub itself says this, at the beginning of ``words``, and not a text of the user.

        :param core: what of it a text of the user must hold to be mistaken for it; ``None``: its beginning.
        """
        pattern = re.compile(sentence, re.IGNORECASE | re.DOTALL)
        for text in (self.owner, self.repo, self.file, self.ref, *self.theirs):
            if core is None:
                mistakable = pattern.match(text[:LONGEST_READ])
            else:
                mistakable = re.search(re.escape(core), text, re.IGNORECASE)
            if mistakable:
                for repeated in (text, text[: mistakable.end()]):  # all of it, or cut off
                    words = re.sub(re.escape(repeated), "", words, flags=re.IGNORECASE)
        return pattern.match(words[:LONGEST_READ]) is not None


def said(answer: Answer, body: ErrorBody) -> str:
    """The answer in brackets: status, GitHub's words, and GitHub's link where it leads to more than a reference."""
    words = f"{answer.status}: {body.words!r}" if body.words else str(answer.status)
    link = body.documentation
    helps = re.fullmatch(r"https://docs\.github\.com/[!-~]{1,500}", link) and not re.search(
        r"\.com/(\S+/)?rest\b", link
    )
    return f"{words}, see {link}" if helps else words


def read_refusal(answer: Answer, asked: Asked, token: Token) -> RateLimited | Refused | Unclear:
    """What any answer but a success says to a request that may be made again.

    `Unclear` for what may pass, `TooLarge` where a smaller page may do; ``retry_after``: what the answer asks for.
    """
    body = error_body(answer)
    if limited := rate_limit(answer, body, asked):
        return limited
    if 300 <= answer.status < 500 and answer.status not in PASSING:
        return refused(answer, body, asked, token)
    kind = TooLarge if answer.status == 502 else Unclear
    unclear = kind(
        f"{asked.endpoint.host} answered {said(answer, body)} to the request to {asked.verb} {asked.subject}"
    )
    unclear.retry_after = retry_after(answer)
    return unclear


# ---------------------------------------------------------------- rate limits

_LIMITED: Final = (
    r"API rate limit exceeded|You have exceeded a secondary rate limit|You have triggered an abuse detection"
)


def rate_limit(answer: Answer, body: ErrorBody, asked: Asked) -> RateLimited | None:
    """The rate limit that the answer speaks of, if it does.

    Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    spent = answer.headers.get("x-ratelimit-remaining") == "0"
    documented = re.search(r"rate-limit", body.documentation) is not None
    if answer.status != 429 and not (
        answer.status == 403
        and (spent or "retry-after" in answer.headers or documented or asked.says(body.message, _LIMITED))
    ):
        return None
    wait, now = retry_after(answer), date(answer)
    reset = number(answer.headers.get("x-ratelimit-reset"))
    if wait is None and spent and reset is not None and now is not None:
        wait = max(reset - now, 0.0)
    message = f"{asked.subject}: rate limited by {asked.endpoint.host} ({said(answer, body)})"
    if wait is not None:
        message += (
            f"; no requests until {time_of_day(now + wait)}" if now is not None else f"; no requests for {wait:.0f} s"
        )
    return RateLimited(message, wait)


# ---------------------------------------------------------------- what a server does not know

_NO_KEY: Final = (  # a line for each problem; of the whole body, not of a key that a user named in it
    r"(?:Invalid request\.\s+)?(?:For \'[^\n]*\n+|No more than [^\n]*\n+)*(?:For \'links/[0-9]+/schema\', )?"
    r'"{key}" is not a permitted key\b'
)
_VERSION_CORE: Final = 'The version you specified in the "X-GitHub-API-Version" request header'
_NO_VERSION: Final = rf"(?:Bad Request:?\s*)?{_VERSION_CORE}"


def refuses_key(answer: Answer, body: ErrorBody, asked: Asked, key: str) -> bool:
    """Whether the server says that it does not know our own ``key`` of the request's body."""
    return answer.status in (400, 422) and asked.says(
        body.message, _NO_KEY.format(key=key), core=f'"{key}" is not a permitted key'
    )


def refuses_version(answer: Answer, asked: Asked, body: ErrorBody | None = None) -> bool:
    """Whether the server says that it does not know the API version that was named.

    GitHub says so in ``errors``, which is a list everywhere else.
    """
    if answer.status != 400:
        return False
    body = body or error_body(answer)
    return any(asked.says(words, _NO_VERSION, core=_VERSION_CORE) for words in (body.errors, body.message))


# ---------------------------------------------------------------- refusals


def refused(answer: Answer, body: ErrorBody, asked: Asked, token: Token) -> Refused:
    """The refusal, with what to do about it."""
    message = (
        f"GitHub refused to {asked.verb} {asked.subject} ({said(answer, body)}): {_advice(answer, body, asked, token)}"
    )
    return Refused(token.hide(message), answer.status, body.words, answer.headers.get("location"))


_SSO: Final = "authorise {token} for the organization's single sign-on{link}"
_POLICY: Final = r"(?:The )?\W?[^'\"`\n]{1,200}\W? (?:(?:organization|enterprise) )?forbids access via "
_PARSE: Final = r"(?:Invalid Argument - )?failed to parse workflow: "
_CAUSES: Final = (
    (
        r"Although you appear to have the correct authorization credentials, .* IP allow list|"
        r"The repository owner has an IP allow list",
        "the organization or enterprise of {owner} has an IP allow list: add the address that gha-step's requests come "
        "from to that list",
    ),
    (
        _POLICY + r".*token's lifetime is greater than",
        "{token} is valid for longer than the policy of {owner} allows: give it an earlier expiration date on its "
        "page, or make a new one",
    ),
    (
        _POLICY + r"a personal access tokens? \(classic\)",
        "the policy of {owner} allows no classic tokens: use a fine-grained one or a GitHub App instead of {token}",
    ),
    (
        _POLICY + r"a (?:personal access tokens? with fine-grained permissions|fine-grained personal access token)",
        "the policy of {owner} allows no fine-grained tokens: use a GitHub App instead of {token}",
    ),
    (
        r"Actions has been disabled for this repository",
        "enable Actions for {owner}/{repo} under Settings, Actions, General; its organization's policy may forbid it",
    ),
    (
        r"Actions has been disabled for this user",
        "GitHub has disabled Actions for the account of {token}: use another account, or ask GitHub Support",
    ),
    (
        _PARSE + r".*you may only define up to [0-9]+",
        "{file} on {ref} declares more inputs than this server allows: declare fewer, or join some",
    ),
    (_PARSE, "{file} on {ref} is not a valid workflow: correct it there"),
    (
        r"No ref found for",
        "there is no branch or tag {ref}: GitHub accepts no commit SHA; push it or correct {ref_field}",
    ),
    (
        r"Invalid request\.\s(?:.*\s)?No more than [0-9]+ properties are allowed",
        "this server takes fewer inputs: leave some out, or join them",
    ),
    (r"Unexpected inputs provided", "declare them under on.workflow_dispatch.inputs of {file}, or leave them out"),
    (r"Required input .* not provided", "the workflow requires it: add it to {inputs}"),
    (
        r"Provided value ",
        "use one of the workflow's choices; to take its default leave the input out (null), do not send ''",
    ),
    (
        r"Workflow does not have 'workflow_dispatch' trigger",
        "add `workflow_dispatch:` under `on:` in {file}, on the default branch and on {ref}",
    ),
    (
        r"Cannot trigger a 'workflow_dispatch' on a disabled workflow",
        "enable the workflow in the repository's Actions tab",
    ),
    (r"Repository was archived", "unarchive the repository {owner}/{repo}, or use another one"),
    (
        r"Resource not accessible by integration",
        "give the GitHub App the permission {permission}: {needs} on this repository",
    ),
    (
        r"Resource not accessible by personal access token",
        "give {token} the permission {permission}: {needs_of_token} on this repository",
    ),
    (r"Resource protected by organization SAML enforcement", _SSO),
)


def known_cause(answer: Answer, body: ErrorBody, asked: Asked, token: Token) -> str | None:
    """What to do, where structure or GitHub's own sentence tells the cause."""
    link = re.search(r"url=(\S+)", answer.headers.get("x-github-sso", ""))
    page = own_link(link[1].rstrip(";,"), asked.endpoint) if link else None
    advice = None
    if answer.status == 403 and (link or "saml-single-sign-on" in body.documentation):
        advice = _SSO
    elif asked.says(body.message, "No ref found for") and _COMMIT.fullmatch(asked.ref):
        name = asked.endpoint.name_of("ref")
        return f"{name} is a commit SHA, and GitHub dispatches on a branch or tag only: name one that points there"
    else:
        advice = next((advice for sentence, advice in _CAUSES if asked.says(body.message, sentence)), None)
    if advice is None:
        return None
    return advice.format(
        token=token.subject,
        owner=asked.owner,
        repo=asked.repo,
        file=asked.file,
        ref=asked.ref,
        ref_field=asked.endpoint.name_of("ref"),
        inputs=asked.endpoint.name_of("inputs"),
        link=f": {page}" if page else "",
        permission=asked.permission,
        needs=asked.needs,
        needs_of_token="read and write" if asked.needs == "write" else "read",
    )


_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_OF_GITHUB: Final = frozenset({400, 401, 403, 404, 405, 406, 410, 422})  # GitHub says why, in JSON


def _advice(answer: Answer, body: ErrorBody, asked: Asked, token: Token) -> str:
    if (cause := known_cause(answer, body, asked, token)) is not None:
        return cause
    if answer.status in _OF_GITHUB and not body.message:
        return asked.endpoint.not_a_github
    name, subject = f"{asked.owner}/{asked.repo}", token.subject
    match answer.status:
        case 401:
            return f"{subject} is wrong, expired or revoked: renew it"
        case 403:
            reading = "read files" if asked.permission == "Contents" else "read runs"
            doing = "start workflows" if asked.needs == "write" else reading
            return f"{subject} may not {doing} here: it needs {asked.permission}: {asked.needs} (classic: scope repo)"
        case 404 if asked.file:
            return (
                f"either {name} does not exist or {subject} cannot see it, or the default branch has no "
                f".github/workflows/{asked.file}"
            )
        case 404:
            return f"correct {asked.endpoint.fields(*asked.fields)}, or let {subject} see the repository"
        case 410 if not asked.file:
            return f"GitHub no longer has it: correct {asked.endpoint.fields(*asked.fields)}"
        case 451:
            return f"GitHub has blocked {name} for legal reasons: its page says more"
        case 407:
            return "the proxy that HTTPS_PROXY names asks for a login"
        case status if 300 <= status < 400:
            followed = " (a dispatch follows no redirect)" if asked.needs == "write" else ""
            return (
                f"the repository was renamed or moved, or {asked.endpoint.base} is not its API: correct "
                f"{asked.endpoint.fields(address=True)}{followed}"
            )
        case _:
            config = asked.endpoint.name_of("the step's config")
            return f"correct {config}"


def invisible(endpoint: Endpoint, name: str, token: Token) -> str:
    """Why GitHub says of the repository ``name`` that there is none, and what to do."""
    return (
        f"{token.subject} cannot see {name} at all: correct {endpoint.fields()}, or let it see the repository "
        "(fine-grained: add it under Repository access; classic: scope repo; App: install it there)"
    )


# ---------------------------------------------------------------- a token that is too new

# GitHub's servers learn of an installation token one by one: the answer table of ledger.md. A personal token's refusal
# is final at once.
FRESH: Final = 10.0  # seconds after its making for which a refusal may pass
PAUSES: Final = (1.0, 2.0, 4.0)  # seconds before the next tries; then always the last of them
_NOT_YET: Final = "Resource not accessible by integration"


def may_pass(status: int, words: str, asked: Asked, token: Token, asked_at: float) -> bool:
    """Whether the same request may succeed in a moment.

    :param words: GitHub's own; the answer speaks of no rate limit.
    :param asked: whose texts they may repeat.
    :param asked_at: when the request was sent, monotonic, as ``token.made_at``.
    """
    if token.made_at is None or asked_at - token.made_at >= FRESH:
        return False
    return status == 401 or (status == 403 and asked.says(words, _NOT_YET))


def pause(tries: int) -> float:
    """Seconds to wait after so many refusals, from 1 on."""
    return PAUSES[min(tries, len(PAUSES)) - 1]
