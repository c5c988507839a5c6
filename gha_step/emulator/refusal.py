"""GitHub's refusals in GitHub's words. The sources are facts/github-dispatch.md and, where it has no wording,
messages that users of GitHub reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .wire import Json

SSO_DOCUMENTATION = "https://docs.github.com/articles/authenticating-to-a-github-organization-with-saml-single-sign-on/"
RATE_DOCUMENTATION = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api"


@dataclass(frozen=True)
class Refusal(Exception):
    """Raised by an operation, answered as GitHub's error body."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    documentation_url: str | None = None  # None: the operation's own
    more: Mapping[str, Json] = field(default_factory=dict)


def not_found() -> Refusal:
    """Missing, or to be hidden from this token: GitHub does not tell which."""
    return Refusal(404, "Not Found")


def unprocessable(message: str) -> Refusal:
    """The request is well formed and cannot be done."""
    return Refusal(422, message)


def invalid(detail: str, status: int = 422) -> Refusal:
    """The body does not fit the operation's schema."""
    return Refusal(status, f"Invalid request.\n\n{detail}")


def bad_credentials(documentation: str) -> Refusal:
    """The token is unknown, revoked or expired."""
    return Refusal(401, "Bad credentials", documentation_url=documentation)


def bad_jwt(message: str = "A JSON web token could not be decoded") -> Refusal:
    """The App's JWT proves nothing."""
    return Refusal(401, message)


def requires_authentication() -> Refusal:
    """No token was sent where one is needed."""
    return Refusal(401, "Requires authentication")


def not_accessible(kind: str, permission: str) -> Refusal:
    """The token sees the repository but lacks the permission `permission`, such as `actions=write`."""
    bearer = "integration" if kind == "installation" else "personal access token"
    return Refusal(403, f"Resource not accessible by {bearer}", headers={"X-Accepted-GitHub-Permissions": permission})


def no_admin_rights() -> Refusal:
    """The user of a classic token may not write to the repository."""
    return Refusal(403, "Must have admin rights to Repository.")


def archived() -> Refusal:
    """The repository is read-only."""
    return Refusal(403, "Repository was archived so is read-only.")


def sso_required(owner: str, site: str) -> Refusal:
    """The organisation asks for SAML single sign-on, which this token was not authorised for."""
    url = f"{site}/orgs/{owner}/sso?authorization_request=AAAAAAAAEMULATOR"
    return Refusal(
        403,
        "Resource protected by organization SAML enforcement. You must grant your Personal Access token access "
        "to this organization.",
        headers={"X-GitHub-SSO": f"required; url={url}"},
        documentation_url=SSO_DOCUMENTATION,
    )


def unknown_version(sent: str, supported: tuple[str, ...]) -> Refusal:
    """X-GitHub-Api-Version names none that this server has."""
    newest, *older = (f'"{version}"' for version in reversed(supported))
    versions = " and ".join([f"{newest} (most recent)", *older])
    why = (
        f'The version you specified in the "X-GitHub-API-Version" request header, "{sent}", is not a supported '
        f"version. The following versions are currently supported: {versions}."
    )
    return Refusal(400, "Bad Request", more={"errors": why})


def rate_limited(who: str, status: int, headers: Mapping[str, str]) -> Refusal:
    """The primary limit is used up."""
    return Refusal(
        status,
        f"API rate limit exceeded for {who}. If you reach out to GitHub Support for help, please include the "
        "request ID and timestamp.",
        headers=headers,
        documentation_url=RATE_DOCUMENTATION,
    )


def secondarily_limited(status: int, headers: Mapping[str, str]) -> Refusal:
    """A secondary limit: too much at once."""
    return Refusal(
        status,
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you "
        "reach out to GitHub Support for help, please include the request ID and timestamp.",
        headers=headers,
        documentation_url=f"{RATE_DOCUMENTATION}#about-secondary-rate-limits",
    )


def moved(status: int, location: str) -> Refusal:
    """The repository has another name now; `location` addresses it by its ID."""
    words = {301: "Moved Permanently", 307: "Temporary Redirect", 308: "Permanent Redirect"}
    return Refusal(
        status,
        words[status],
        headers={"Location": location},
        more={"url": location},
        documentation_url="https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects",
    )
