"""GitHub as Port's runs need it: the repository and a token for it, its default branch, the cancelling of a run.

Credentials come from one Secret of the project (a token, or an App's keys), or from Kargo's Git credentials.
Source: port.md, "Inputs" and GHA_STEP_PORTIO_GITHUB_SECRET.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from gha_step.contract.errors import CredentialsError, StepError, TokenUnavailable
from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.credentials.github_secret import ACCESS_TOKEN, BASE_URL
from gha_step.credentials.secrets import SecretReader
from gha_step.github.app import Installation
from gha_step.github.app_tokens import AppTokens
from gha_step.github.client import Client
from gha_step.github.endpoint import Endpoint, resolve_endpoint
from gha_step.github.errors import BadEndpoint, BadPrivateKey, GitHubError, RateLimited, Refused, Unclear, Unreachable
from gha_step.github.messages import text
from gha_step.github.rate_limits import DISPATCHES
from gha_step.github.refusals import Asked, read_refusal
from gha_step.github.runs import RunReference
from gha_step.inbound.port.flights import Flights
from gha_step.ledger.record import Record
from gha_step.runtime import Clock, Workers
from gha_step.steps.access import Repositories, Repository
from gha_step.steps.repository import RepositoryConfig
from gha_step.steps.run_control import RunControl

GIT: Final = "git"
INSTALLED_FOR: Final = 3600.0  # seconds for which an owner's installation is believed
BRANCH_FOR: Final = 10.0  # seconds for which a default branch is believed without asking again
BRANCH_WITHIN: Final = 30.0  # seconds to wait for somebody else's request
_Branch: TypeAlias = tuple[Endpoint, str, Token]


class GitHubOfPort:
    """See the module.

    :param secret: the name of the Secret, or `GIT`.
    :param workers: to wait with for what another thread asks; none is started.
    """

    def __init__(
        self,
        *,
        project: str,
        secret: str,
        secrets: SecretReader,
        access: Repositories,
        app_tokens: AppTokens,
        client: Client,
        clock: Clock,
        workers: Workers,
        allow_http: bool,
    ) -> None:
        self._project = project
        self._secret = secret
        self._secrets = secrets
        self._access = access
        self._app_tokens = app_tokens
        self._client = client
        self._rate_limits = client.rate_limits
        self._clock = clock
        self._allow_http = allow_http
        self._lock = threading.Lock()
        self._installed: Memory[tuple[Endpoint, str, str], tuple[int, float]] = Memory(5_000)
        self._branches: Memory[_Branch, tuple[str, str, float]] = Memory(5_000)
        self._flights: Flights[_Branch, str] = Flights(workers)

    # ---------------------------------------------------------------- credentials

    def repository(self, owner: str, repo: str) -> Repository:
        """The repository and a token for it.

        :raises StepError: with ``retry_after`` where it may be had later.
        """
        if self._secret == GIT:
            url = {"repoURL": f"https://github.com/{owner}/{repo}"}
            return self._access.repository(self._project, RepositoryConfig.parse(url))
        data = self._secrets.read(self._project, self._secret)
        if ACCESS_TOKEN not in data and any(name.startswith("githubApp") for name in data):
            return self._of_app(data, owner, repo)
        named = {"credentials": {"secretName": self._secret}, "owner": owner, "repo": repo}
        return self._access.repository(self._project, RepositoryConfig.parse(named))

    def repository_of(self, record: Record) -> Repository:
        """The repository of a recorded dispatch. Raises as `repository`, and where that is another server."""
        owner, _, repo = record.target.repo.partition("/")
        found = self.repository(owner, repo)
        if found.endpoint.base != record.target.api_base:
            raise CredentialsError(
                f"project {self._project}: the Secret {self._secret} leads to {found.endpoint.base}, but this run was "
                f"dispatched on {record.target.api_base}: let it lead there until the run has ended"
            )
        return found

    def _of_app(self, data: Mapping[str, bytes], owner: str, repo: str) -> Repository:
        from gha_step.credentials.git import read_app  # 15 ms, and only those pay who use it

        subject = f"project {self._project}: the Secret {self._secret}"
        try:
            endpoint = resolve_endpoint(data.get(BASE_URL, b"").decode(), allow_http=self._allow_http)
        except (BadEndpoint, UnicodeDecodeError) as error:
            raise CredentialsError(f"{subject}: the key {BASE_URL} {error}") from None
        found = read_app(data, subject, installed=False)
        app = Installation(endpoint, found.issuer, found.installation, found.private_key, owner, repo)

        def of_app(fetch: Callable[[Installation], Token]) -> Token:
            try:
                return self._with_installation(app, fetch)
            except BadPrivateKey as error:
                raise CredentialsError(f"{subject}: the key {found.private_key_key} {error}") from None
            except RateLimited as error:
                raise TokenUnavailable(str(error), min(error.retry_after, 60.0), error.wait) from None
            except (Unreachable, Unclear) as error:
                raise TokenUnavailable(str(error), error.retry_after or 5.0) from None
            except GitHubError as error:
                raise CredentialsError(f"{subject}: {error}") from None

        token = of_app(self._app_tokens.token)
        return Repository(
            endpoint,
            owner,
            repo,
            token,
            renew=lambda refused: of_app(lambda one: self._app_tokens.renewed(one, refused)),
        )

    def _with_installation(self, app: Installation, fetch: Callable[[Installation], Token]) -> Token:
        """A token of the repository's own installation; the Secret's ID is a first guess."""
        key, now = (app.endpoint, app.issuer, app.owner.lower()), self._clock.monotonic()
        with self._lock:
            number, until = self._installed.get(key, (0, 0.0))
        known = number if now < until else app.number
        if known:
            try:
                token = fetch(app._replace(number=known))
            except Refused:
                pass  # the App has been installed anew since
            else:
                if now >= until:
                    self._keep_installation(key, known)
                return token
        number = self._app_tokens.installation(app)
        self._keep_installation(key, number)  # also where its token is on its way for longer than this waits
        return fetch(app._replace(number=number))

    def _keep_installation(self, key: tuple[Endpoint, str, str], number: int) -> None:
        with self._lock:
            self._installed[key] = (number, self._clock.monotonic() + INSTALLED_FOR)

    # ---------------------------------------------------------------- what is asked

    def wait(self, repository: Repository) -> float:
        """Seconds for which GitHub lets nothing be dispatched with this token; 0: it does."""
        hold = self._rate_limits.hold(repository.endpoint, repository.token, DISPATCHES)
        return max(0.0, hold.until - self._clock.monotonic())

    def default_branch(self, repository: Repository) -> str:
        """The repository's default branch: one request, conditional once it was asked for.

        :raises GitHubError: it cannot be told.
        """
        key = (repository.endpoint, f"{repository.owner}/{repository.name}".lower(), repository.token)
        try:
            return self._flights.share(key, lambda: self._default_branch(key, repository), BRANCH_WITHIN)
        except TimeoutError:
            raise Unreachable(f"{repository.endpoint.host} is being asked for the default branch of {key[1]}") from None

    def _default_branch(self, key: _Branch, repository: Repository) -> str:
        now = self._clock.monotonic()
        with self._lock:
            branch, etag, until = self._branches.get(key, ("", None, 0.0))
        if branch and now < until:
            return branch
        name = f"{repository.owner}/{repository.name}"
        asked = Asked(repository.endpoint, "show", name, repository.owner, repository.name)
        path = RunReference(repository.endpoint, repository.owner, repository.name, 1).repository_path
        answer = self._client.get("repository", asked, path, repository.token, etag=etag or None)
        if answer.status != 304 or not branch:
            if answer.status != 200:
                raise read_refusal(answer, asked, repository.token)
            try:
                branch, etag = text(answer.json()["default_branch"]), answer.headers.get("etag", "")
            except (ValueError, KeyError, TypeError):
                branch = ""
            if not branch:
                raise Unclear(f"{repository.endpoint.host} answered 200, but not with the default branch of {name}")
        with self._lock:
            fit = etag if etag and etag.isascii() and etag.isprintable() else ""
            self._branches[key] = (branch, fit, now + BRANCH_FOR)
        return branch

    def cancel(self, record: Record, *, force: bool) -> None:
        """Ask for a recorded run to be cancelled, unless it has ended. :raises StepError: it is refused, or not now."""
        assert record.run is not None
        RunControl(self._client, self.repository_of(record), record.run.id).cancel(force=force)


def passing(error: StepError) -> bool:
    """Whether trying again may help, of what `GitHubOfPort.repository` and `default_branch` raise."""
    return isinstance(error, Unreachable | RateLimited | Unclear) or error.retry_after is not None
