"""A request to GitHub and an answer of it, as values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from gha_step.contract.json_text import parse_json
from gha_step.contract.secret import Token


@dataclass(frozen=True)
class Request:
    """A request, complete but for the connection that it goes over. ``target`` starts with a slash."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A whole answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def without(self, token: Token) -> "Answer":
        """The answer as if it never repeated the token, as a wrong ``baseURL``'s may: its words end up in messages."""
        headers = {name: token.hide(value) for name, value in self.headers.items()}
        return Answer(self.status, headers, token.hide(self.body.decode("latin-1")).encode("latin-1"))


API_VERSION: Final = "2022-11-28"


USER_AGENT: Final = "gha-step"


VERSION_HEADER: Final = "X-GitHub-Api-Version"


def headers(token: Token, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """The headers of every request to GitHub's API; ``without``: what this server does not know."""
    given = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token.reveal()}",
        "User-Agent": USER_AGENT,
        VERSION_HEADER: API_VERSION,
    }
    return {name: value for name, value in given.items() if name not in without}


def github_words(answer: Answer, token: Token | None = None) -> str:
    """GitHub's own message in an error body, on one line and not longer than a line may be; or ''.

    :param token: what it must not repeat, whoever it is that answers; ``None`` where that is seen to already.
    """
    try:
        body = parse_json(answer.body)
    except ValueError:
        return ""
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, str):
        return ""
    shown = message if token is None else token.hide(message)
    return re.sub("[\ud800-\udfff]", "\ufffd", " ".join(shown.split())[:500])  # half a surrogate pair is no text


def date(answer: Answer) -> float | None:
    """GitHub's clock when it answered, in seconds since 1970."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return None
