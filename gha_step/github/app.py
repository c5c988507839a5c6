"""A GitHub App's way to a token: the JWT that proves the App, the request, and what its answer means. Pure.

It knows nothing of Secrets. Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
and facts, kargo-host, "Kargo Git credentials" ("App token").
"""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from gha_step.contract.secret import Token
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import BadPrivateKey, GitHubError, Refused, Unclear
from gha_step.github.messages import Answer, ErrorBody, date, error_body, positive_id
from gha_step.github.refusals import PASSING, Asked, known_cause, rate_limit, said

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

KEYS: Final = 64  # of Apps that are kept as they were read
ISSUED_BEFORE: Final = 60  # seconds: GitHub's clock may be behind
EXPIRES_AFTER: Final = 540  # seconds; GitHub takes at most 600, by its own clock
MARGIN: Final = 300.0  # seconds before its end at which a token counts as used up: a step may look for its run so long


class Installation(NamedTuple):
    """An App where it is installed, and the one repository that a token is wanted for.

    ``issuer``: the App's client ID or ID. ``private_key``: PEM. ``owner`` and ``repo`` as the user wrote them.
    """

    endpoint: Endpoint
    issuer: str
    number: int
    private_key: Token
    owner: str
    repo: str

    def __str__(self) -> str:
        return f"the installation {self.number} of the GitHub App {self.issuer} for {self.owner}/{self.repo}"

    @property
    def path(self) -> str:
        """Path of the request below the API base."""
        return f"/app/installations/{self.number}/access_tokens"

    @property
    def asked(self) -> Asked:
        """The request for a token, for messages."""
        return Asked(self.endpoint, "give a token to", str(self), self.owner, self.repo)

    @property
    def body(self) -> dict[str, Any]:
        """Body of the request: the token is to be good for this repository only."""
        return {"repositories": [self.repo]}


class InstallationToken(NamedTuple):
    """A token and for how many seconds from its answer on it may be used."""

    token: Token
    usable_for: float


def app_jwt(app: Installation, now: float) -> Token:
    """What proves the App to GitHub for some minutes.

    :param now: GitHub's clock as far as it is known, seconds since 1970.
    :raises BadPrivateKey: it cannot be signed.
    """
    # 60 ms, and only those pay who have an App.
    import jwt

    claims = {"iat": int(now) - ISSUED_BEFORE, "exp": int(now) + EXPIRES_AFTER, "iss": app.issuer}
    return Token(jwt.encode(claims, _signing_key(app.private_key), algorithm="RS256"))


@lru_cache(maxsize=KEYS)
def _signing_key(private_key: Token) -> "RSAPrivateKey":
    """Kept, because to check the primes of a key takes 50 ms, and an App has a token for each of its repositories."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key.reveal().encode(), password=None)
    except TypeError:
        raise BadPrivateKey("is encrypted with a passphrase: store it without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadPrivateKey("is not a private key in PEM, or not all of it: store the .pem file as it is") from None
    if not isinstance(key, RSAPrivateKey):
        raise BadPrivateKey("is not an RSA key, as those of GitHub Apps are: store the .pem file that GitHub gave")
    return key


def installation_token(answer: Answer, app: Installation, now: float) -> InstallationToken:
    """The token in GitHub's answer.

    :param now: seconds since 1970, for an answer that does not tell its own date.
    :raises RateLimited: GitHub says when to come again.
    :raises Refused: there is none, for good.
    :raises Unclear: it is not known; asking again does no harm.
    """
    if answer.status == 201:
        return _granted(answer, app, now)
    raise _refusal(answer, app, app.asked, f"refuses a token for {app}", f"a token for {app}")


def _granted(answer: Answer, app: Installation, now: float) -> InstallationToken:
    try:
        body = answer.json()
        token, ends = body["token"], datetime.fromisoformat(body["expires_at"])
        if not isinstance(token, str) or not token or any(not 33 <= ord(c) <= 126 for c in token):
            raise ValueError
        told = date(answer)
        left = ends.timestamp() - (now if told is None else told)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise Unclear(f"{app.endpoint.host} answered 201, but not with a token for {app}") from None
    if left <= 0:
        raise Unclear(f"{app.endpoint.host} answered with a token for {app} that has expired already")
    return InstallationToken(Token(token, f"the token of the GitHub App {app.issuer}"), left - min(MARGIN, left / 2))


def installation_request(app: Installation) -> tuple[Asked, str]:
    """What asks for the App's installation for the repository, whatever number ``app`` has; and its path."""
    name = f"{app.owner}/{app.repo}"
    asked = Asked(
        app.endpoint, "show", f"the installation of the GitHub App {app.issuer} for {name}", app.owner, app.repo
    )
    return asked, f"/repos/{quote(app.owner, safe='')}/{quote(app.repo, safe='')}/installation"


def installation_number(answer: Answer, app: Installation) -> int:
    """The installation's number in GitHub's answer. Raises as `installation_token`."""
    if answer.status == 200:
        try:
            return positive_id(answer.json()["id"])
        except (ValueError, KeyError, TypeError):
            raise Unclear(f"{app.endpoint.host} answered 200, but not with an installation") from None
    asked, _ = installation_request(app)
    name = f"{app.owner}/{app.repo}"
    if answer.status == 404:
        raise Refused(
            f"the GitHub App {app.issuer} is not installed for {name} on {app.endpoint.host}: install it there, "
            "and let it see the repository",
            404,
            error_body(answer).words,
        )
    raise _refusal(answer, app, asked, f"does not show {asked.subject}", f"the installation for {name}")


def _refusal(answer: Answer, app: Installation, asked: Asked, does: str, subject: str) -> GitHubError:
    """The error for any answer but the one that was asked for: the server ``does`` not give ``subject``."""
    body, host = error_body(answer), app.endpoint.host
    if limited := rate_limit(answer, body, asked):
        return limited
    if 300 <= answer.status < 500 and answer.status not in PASSING:
        message = f"{host} {does} ({said(answer, body)}): {_advice(answer, body, app)}"
        return Refused(message, answer.status, body.words, answer.headers.get("location"))
    return Unclear(f"{host} answered {said(answer, body)} to the request for {subject}")


def clock_error(answer: Answer, assumed: float) -> float | None:
    """By how many seconds GitHub's clock is ahead of ``assumed``, where that may be why it refused a JWT."""
    told = date(answer)
    if answer.status != 401 or told is None or abs(told - assumed) < ISSUED_BEFORE / 2:
        return None
    return told - assumed


def _advice(answer: Answer, body: ErrorBody, app: Installation) -> str:
    if app.asked.says(body.message, "This installation has been suspended"):
        return "the installation is suspended: lift that on its page"
    own = Token("", f"the GitHub App {app.issuer}")
    if (cause := known_cause(answer, body, app.asked, own)) is not None:
        return cause
    match answer.status:
        case 401:
            return (
                "the private key does not belong to this App, or was deleted: create one on the App's settings page; "
                "or the App's ID belongs to another App"
            )
        case 403:
            return "let the App have a token: see the installation's page"
        case 404:
            return (
                f"there is no such App, or no such installation of it, on {app.endpoint.host}: correct the App's ID "
                "or the installation's, which is at the end of its page's URL"
            )
        case 422:
            return f"the installation cannot see {app.owner}/{app.repo}: add the repository on the installation's page"
        case status if 300 <= status < 400:
            return f"{app.endpoint.base} is not the API of this server, or it has moved: correct the address"
        case _:
            return "correct the credentials"
