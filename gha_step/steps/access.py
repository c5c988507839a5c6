"""From a step's config to the repository on its server and the token for it, which is read again for every call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gha_step.contract.errors import ConfigError, CredentialsError
from gha_step.contract.secret import Token
from gha_step.credentials.github_secret import BASE_URL, UPLOAD_URL, read_github_secret
from gha_step.credentials.secrets import SecretReader
from gha_step.github.app import Installation
from gha_step.github.app_tokens import AppTokens
from gha_step.github.endpoint import Endpoint, endpoint_of, resolve_endpoint
from gha_step.github.errors import BadEndpoint, BadPrivateKey, GitHubError
from gha_step.steps.repository import REPO_URL, RepositoryByUrl, RepositoryConfig
from gha_step.telemetry import log

if TYPE_CHECKING:
    from gha_step.credentials.git import GitHubApp

MOST_SAID: Final = 1000  # lines in the log about other APIs than are written


@dataclass(frozen=True)
class Repository:
    """A repository on a server, with the token to use there. ``owner`` and ``name`` as the user wrote them.

    ``renew``: given a token that GitHub has refused with 401, another one, where that may help: for installation tokens
    of a GitHub App, which come from our own memory. It raises as `Access.repository`.
    """

    endpoint: Endpoint
    owner: str
    name: str
    token: Token
    renew: Callable[[Token], Token] | None = field(default=None, repr=False, compare=False)


class Repositories(Protocol):
    """From a config to the repository and the token for it."""

    def repository(self, project: str, config: RepositoryConfig) -> Repository:
        """The repository of a step in ``project``.

        :raises ConfigError: ``repoURL`` leads to no server that may be asked.
        :raises CredentialsError: the credentials are missing or unfit.
        :raises Unavailable: they cannot be read now.
        """


class GivenToken(NamedTuple):
    """One token for every repository, for a caller who brings it along. See `Repositories`.

    :param endpoint: the server of configs that do not name one by ``repoURL``.
    :param allow_http: whether plain http is allowed off loopback.
    :param names: as of `Endpoint`.
    """

    token: Token
    endpoint: Endpoint
    allow_http: bool
    names: Mapping[str, str]

    def repository(self, project: str, config: RepositoryConfig) -> Repository:
        del project
        named = config.repository
        if not isinstance(named, RepositoryByUrl):
            return Repository(replace(self.endpoint, names=self.names), named.owner, named.repo, self.token)
        endpoint = _endpoint_by_url(named, self.allow_http)
        endpoint = replace(endpoint, names=self.names, named_by=self.names.get(REPO_URL, endpoint.named_by))
        return Repository(endpoint, named.url.owner, named.url.repo, self.token)


class Access:
    """Finds the credentials for what a config names, in the project's Secrets. See `Repositories`.

    :param allow_http: whether plain http is allowed off loopback.
    :param shared_namespace: where Kargo's shared Git credentials are; ``None``: there are none.
    """

    def __init__(
        self, secrets: SecretReader, *, allow_http: bool, shared_namespace: str | None, app_tokens: AppTokens
    ) -> None:
        self._secrets = secrets
        self._allow_http = allow_http
        self._shared_namespace = shared_namespace
        self._app_tokens = app_tokens
        self._said: set[str] = set()

    def repository(self, project: str, config: RepositoryConfig) -> Repository:
        named = config.repository
        if isinstance(named, RepositoryByUrl):
            return self._by_url(project, named)
        name = named.secret_name
        secret = read_github_secret(self._secrets, project, name)
        endpoint = self._endpoint(project, name, BASE_URL, secret.base_url)
        if secret.upload_url is not None:
            self._endpoint(project, name, UPLOAD_URL, secret.upload_url)
        return Repository(endpoint, named.owner, named.repo, secret.token)

    def _endpoint(self, project: str, name: str, field: str, url: str | None) -> Endpoint:
        missing = "" if url else " (missing: github.com)"
        named_by = f"the key {field} of the Secret {name} in project {project}{missing}"
        try:
            endpoint = _endpoint_named_by(named_by, url, self._allow_http)
        except BadEndpoint as error:
            raise CredentialsError(f"project {project}: the Secret {name}: the key {field} {error}") from None
        if field == BASE_URL:
            self._say_once(named_by, endpoint, url or "")
        return endpoint

    def _say_once(self, named_by: str, endpoint: Endpoint, url: str) -> None:
        """Log that another API is asked than is written."""
        as_written = not endpoint.host.endswith(".ghe.com") or "//api." in url.lower()
        if not as_written and named_by not in self._said and len(self._said) < MOST_SAID:
            self._said.add(named_by)
            log.info("%s is %s; its API is %s, which is asked", named_by, endpoint.web, endpoint.base)

    def _by_url(self, project: str, named: RepositoryByUrl) -> Repository:
        from gha_step.credentials.git import Password, git_credentials  # 15 ms, and only those pay who use it

        url = named.url
        endpoint = _endpoint_by_url(named, self._allow_http)
        found = git_credentials(self._secrets, project, self._shared_namespace, url)
        if isinstance(found, Password):
            return Repository(endpoint, url.owner, url.repo, found.token)
        app = Installation(endpoint, found.issuer, found.installation, found.private_key, url.owner, url.repo)
        token = self._of_app(found, lambda: self._app_tokens.token(app))
        return Repository(
            endpoint,
            url.owner,
            url.repo,
            token,
            renew=lambda refused: self._of_app(found, lambda: self._app_tokens.renewed(app, refused)),
        )

    def _of_app(self, found: "GitHubApp", fetch: Callable[[], Token]) -> Token:
        try:
            return fetch()
        except BadPrivateKey as error:
            raise CredentialsError(f"{found.subject}: the key {found.private_key_key} {error}") from None
        except GitHubError as error:
            raise CredentialsError(f"{found.subject}: {error}") from None


@lru_cache(256)  # of texts alone, as `resolve_endpoint`
def _endpoint_named_by(named_by: str, url: str | None, allow_http: bool) -> Endpoint:
    return replace(resolve_endpoint(url, allow_http=allow_http), named_by=named_by)


def _endpoint_by_url(named: RepositoryByUrl, allow_http: bool) -> Endpoint:
    try:
        endpoint = endpoint_of(named.url, allow_http=allow_http, verify=not named.skip_verify)
    except BadEndpoint as error:
        raise ConfigError(f"config.{REPO_URL}: {error}") from None
    return replace(endpoint, named_by=f"config.{REPO_URL}", by_repo_url=True)
