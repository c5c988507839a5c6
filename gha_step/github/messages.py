"""A request to GitHub, its response, and what a response may contain: impossible values are refused. Pure.

Nothing that is read here contains the token, however encoded, or the signed query of a redirect.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gha_step.contract.json_text import parse_json
from gha_step.contract.secret import Token
from gha_step.github.endpoint import Endpoint

API_2022: Final = "2022-11-28"
API_2026: Final = "2026-03-10"
USER_AGENT: Final = "gha-step"
VERSION_HEADER: Final = "X-GitHub-Api-Version"
VERSION_SELECTED: Final = "x-github-api-version-selected"
ENTERPRISE_VERSION: Final = "x-github-enterprise-version"
LONGEST_WORDS: Final = 500  # characters of GitHub's own message
LONGEST_ERROR: Final = 8_000  # … of it that are looked at
LONGEST_WITH_SECRETS: Final = 1 << 17  # … of an answer that may repeat one: each string in it is looked at for itself
LONGEST_TEXT: Final = 200  # characters of a name that somebody else chose
LONGEST_LINK: Final = 2_000
MOST_ENTRIES: Final = 100  # on a page: the most that GitHub gives, however many are asked for
_NEVER: Final = 1e11  # seconds since 1970; a date of GitHub's is neither before 1970 nor after the year 5000
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Request(NamedTuple):
    """A request, complete but for the connection that it goes over. ``target`` starts with a slash."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Answer(NamedTuple):
    """A whole answer; header names are lower case. ``secrets``: what nothing that is read in it shows.

    ``signed``: the query of a redirect, which opens what it leads to.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: tuple[Token, ...] = ()
    signed: Token | None = None

    def hiding(self, token: Token) -> "Answer":
        """The answer as if it never repeated the token, and as if a redirect led to no signed place."""
        target, mark, query = self.headers.get("location", "").partition("?")
        signed = Token(query, "the address that GitHub has signed") if query else None
        secrets = (*self.secrets, token, *([signed] if signed is not None and len(query) >= 8 else []))
        shown = dict(self.headers) | ({"location": target} if mark else {})
        whole = "\n".join(shown.values())  # looked at once: hardly any answer repeats a secret
        if any(secret.is_in(whole) for secret in secrets):
            shown = {name: _without(secrets, value) for name, value in shown.items()}
        # `json` finds every encoded form; other readers of the bytes find no plain one either.
        plain = token.reveal().encode()
        body = self.body.replace(plain, b"***") if plain else self.body
        return self._replace(headers=shown, body=body, secrets=secrets, signed=signed)

    def hide(self, text: str) -> str:
        """``text``, which is read in the body by other means than `json`, without the secrets."""
        return _without(self.secrets, text)

    def json(self, *, unique: bool = False) -> Any:
        """The body, every string in it without the secrets and without half of a surrogate pair.

        :param unique: refuse an object that holds a key twice.
        :raises ValueError: it is no JSON.
        """
        value = parse_json(self.body, unique=unique)
        text = self.body.decode()
        shown = tuple(secret for secret in self.secrets if secret.needs_escapes or secret.is_in(text))
        if shown and len(text) > LONGEST_WITH_SECRETS:
            raise ValueError("it is long, and may repeat a secret")
        if shown or re.search(r"\\u[dD][89a-fA-F]", text):
            try:
                return _cleaned(value, shown)
            except RecursionError:  # it takes more frames than parsing
                raise ValueError("nested too deeply") from None
        return value


def _cleaned(value: Any, secrets: tuple[Token, ...]) -> Any:
    if isinstance(value, str):
        whole = value if value.isascii() else _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
        return _without(secrets, whole) if secrets else whole
    if isinstance(value, list):
        return [_cleaned(one, secrets) for one in value]
    if isinstance(value, dict):
        return {_cleaned(name, secrets): _cleaned(one, secrets) for name, one in value.items()}
    return value


def _without(secrets: tuple[Token, ...], text: str) -> str:
    for secret in secrets:
        text = secret.hide(text)
    return text


class Dialect(NamedTuple):
    """How a server is asked. ``version``: the API version that is named; `None`: none is.

    ``asks_details``: whether a dispatch may ask for the run's details by a key. Since 2026-03-10 they always come.
    """

    version: str | None = API_2022
    key_known: bool = True

    @property
    def asks_details(self) -> bool:
        return self.key_known and self.version != API_2026


def headers(token: Token, dialect: Dialect) -> dict[str, str]:
    """The headers of every request to GitHub's API."""
    given = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token.reveal()}",
        "User-Agent": USER_AGENT,
    }
    return given if dialect.version is None else given | {VERSION_HEADER: dialect.version}


class ErrorBody(NamedTuple):
    """GitHub's JSON of an error. ``message``: as it came; ``errors``: where GitHub says more in one string.

    Texts of the user may be repeated in both, never in ``documentation``.
    """

    message: str = ""
    errors: str = ""
    documentation: str = ""

    @property
    def words(self) -> str:
        """The message on one line and not longer than a line may be; a link in it is never cut off."""
        line = shown(self.message, LONGEST_WORDS)
        lost = [link for link in re.findall(r"https://[!-~]{1,500}", self.message) if link not in line]
        return " ".join([line, *lost[:1]])


def error_body(answer: Answer) -> ErrorBody:
    """What GitHub says of an error; all is empty where the answer is none of GitHub's."""
    try:
        body = answer.json()
    except ValueError:
        return ErrorBody()
    given = body if isinstance(body, dict) else {}
    texts = (given.get(name) for name in ("message", "errors", "documentation_url"))
    return ErrorBody(*(text[:LONGEST_ERROR] if isinstance(text, str) else "" for text in texts))


def date(answer: Answer) -> float | None:
    """GitHub's clock when it answered, in seconds since 1970."""
    return _moment(answer.headers.get("date", ""))


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def when(value: object) -> float | None:
    """A moment in a body, in seconds since 1970."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    seconds = moment.timestamp() if moment.tzinfo is not None else -1.0
    return seconds if 0 <= seconds < _NEVER else None


def enterprise_version(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """The version of the GitHub Enterprise Server that gave an answer, e.g. (3, 19); nobody else says one."""
    numbers = headers.get(ENTERPRISE_VERSION, "").split(".")[:2]
    if len(numbers) < 2 or not all(re.fullmatch("[0-9]{1,6}", one) for one in numbers):
        return None
    return int(numbers[0]), int(numbers[1])


def number(text: str | None) -> float | None:
    """A header's number of seconds."""
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,12}", text) else None


def retry_after(answer: Answer) -> float | None:
    """For how many seconds an answer asks to wait: its number, or its date, as proxies write it, by its own Date."""
    given = answer.headers.get("retry-after", "")
    until, now = _moment(given), date(answer)
    return number(given) if until is None or now is None else max(until - now, 0.0)


def time_of_day(seconds: float) -> str:
    """A moment, in seconds since 1970, for people."""
    return datetime.fromtimestamp(min(seconds, _NEVER), UTC).strftime("%H:%M:%SZ")


def positive_id(value: object) -> int:
    """An ID of GitHub's. :raises ValueError: it cannot be one."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise ValueError("not an ID")
    return value


def entries(value: object, most: int = MOST_ENTRIES) -> list[Any]:
    """A list in a body, whose entries the caller is about to keep. :raises ValueError: it is none, or a longer one."""
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("not a list, or too long")
    return value


def own_link(value: object, endpoint: Endpoint) -> str | None:
    """A link for people, if it leads to a page of this very server."""
    if not isinstance(value, str) or not re.fullmatch(rf"https?://[!-~]{{1,{LONGEST_LINK}}}", value):
        return None
    here = urlsplit(endpoint.web)
    try:
        there = urlsplit(value)
    except ValueError:
        return None
    same = (there.scheme, there.netloc.lower()) == (here.scheme, here.netloc) and not re.search(r"[\\*<>\"`]", value)
    return value if same else None


def text(value: object) -> str:
    """A name in an answer, as `shown`; '' where it is none."""
    return shown(value) if isinstance(value, str) else ""


def shown(text: str, longest: int = LONGEST_TEXT) -> str:
    """``text`` as a message may hold it: one line, printable, not too long.

    What GitHub sends may hold half of a surrogate pair, with which no answer could be written.
    """
    text = text[: 20 * longest]  # white space may go, but not for ever
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"
