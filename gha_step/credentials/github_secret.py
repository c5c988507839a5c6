"""The Secret of a v1.8 config: ``accessToken``, and for GitHub Enterprise ``baseURL`` and ``uploadURL``.

Source: Kargo's public step reference (facts: kargo-host, "Contract of the steps").
"""

from functools import lru_cache
from typing import Final, NamedTuple

from gha_step.contract.errors import CredentialsError
from gha_step.contract.secret import Token
from gha_step.credentials.secrets import SecretReader, text_of
from gha_step.credentials.token_shape import unfit

ACCESS_TOKEN: Final = "accessToken"  # noqa: S105  the name of a key
BASE_URL: Final = "baseURL"
UPLOAD_URL: Final = "uploadURL"
_SMALL: Final = 4_096  # bytes: a larger one is not remembered


class GitHubSecret(NamedTuple):
    """What such a Secret holds. ``base_url`` and ``upload_url`` are as written, or ``None``."""

    token: Token
    base_url: str | None
    upload_url: str | None


def read_github_secret(secrets: SecretReader, project: str, name: str) -> GitHubSecret:
    """The Secret ``name`` of the project, read anew.

    :raises CredentialsError: it is missing or unfit; the message names project, Secret and key.
    :raises SecretsUnavailable: they cannot be read now.
    """
    data = secrets.read(project, name)
    small = sum(map(len, data.values())) + sum(map(len, data)) <= _SMALL
    return (_made if small else _made.__wrapped__)(project, name, tuple(data.items()))


@lru_cache(256)  # of its bytes: a changed Secret has others, and a token is looked at once
def _made(project: str, name: str, content: tuple[tuple[str, bytes], ...]) -> GitHubSecret:
    data, subject = dict(content), f"project {project}: the Secret {name}"
    token = text_of(data, ACCESS_TOKEN, subject)
    if not token:
        near = next((key for key in data if key.lower().replace("-", "").replace("_", "") in _MISNAMED), None)
        hint = f" (it has {near!r}, which is not read)" if near and ACCESS_TOKEN not in data else ""
        state = "empty" if ACCESS_TOKEN in data else "missing"
        raise CredentialsError(f"{subject}: the key {ACCESS_TOKEN} is {state}{hint}: put a GitHub token there")
    if (why := unfit(token)) is not None:
        raise CredentialsError(f"{subject}: the key {ACCESS_TOKEN} {why}")
    return GitHubSecret(
        Token(token, f"the token of the Secret {name}"),
        text_of(data, BASE_URL, subject) or None,
        text_of(data, UPLOAD_URL, subject) or None,
    )


_MISNAMED: Final = frozenset({"accesstoken", "token", "githubtoken", "password", "pat"})
