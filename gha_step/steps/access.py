"""From a step's config to the repository on its server and the token for it, read anew for every call."""

from dataclasses import dataclass

from gha_step.contract.errors import CredentialsError
from gha_step.contract.repository import RepositoryConfig
from gha_step.contract.secret import Token
from gha_step.credentials.github_secret import BASE_URL, UPLOAD_URL, read_github_secret
from gha_step.credentials.secrets import SecretReader
from gha_step.github.endpoint import Endpoint, resolve_endpoint
from gha_step.github.errors import BadEndpoint


@dataclass(frozen=True)
class Repository:
    """A repository on a server, with the token to use there. ``owner`` and ``name`` as the user wrote them."""

    endpoint: Endpoint
    owner: str
    name: str
    token: Token


class Access:
    """Finds the credentials that a config names.

    :param allow_http: whether plain http is allowed off loopback.
    """

    def __init__(self, secrets: SecretReader, *, allow_http: bool) -> None:
        self._secrets = secrets
        self._allow_http = allow_http

    def repository(self, project: str, config: RepositoryConfig) -> Repository:
        """The repository of a step in ``project``.

        :raises CredentialsError: the credentials are missing or unfit.
        :raises SecretsUnavailable: this cannot be told now.
        """
        name = config.credentials.secret_name
        secret = read_github_secret(self._secrets, project, name)
        endpoint = self._endpoint(project, name, BASE_URL, secret.base_url)
        if secret.upload_url is not None:
            self._endpoint(project, name, UPLOAD_URL, secret.upload_url)
        return Repository(endpoint, config.owner, config.repo, secret.token)

    def _endpoint(self, project: str, name: str, field: str, url: str | None) -> Endpoint:
        try:
            return resolve_endpoint(url, allow_http=self._allow_http)
        except BadEndpoint as error:
            raise CredentialsError(f"project {project}: the Secret {name}: the key {field} {error}") from None
