"""Which repository a step is about, and whose token it uses: the part of the config that all step kinds share.

It has two forms: v1.8 names a Secret, owner and repo; since v1.9 ``repoURL`` names the repository, and the token comes
from Kargo's Git credentials for it. Source: Kargo's public step reference (facts: kargo-host, "Contract of the
steps").
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gha_step.contract.repo_url import RepoUrl, parse_repo_url
from gha_step.contract.values import ConfigModel, Switch, Text, as_segment, as_text, refusal

BY_SECRET: Final = ("credentials", "owner", "repo")
REPO_URL: Final = "repoURL"
SKIP_VERIFY: Final = "insecureSkipTLSVerify"


def _no_null(value: object) -> object:
    if value is None:
        raise refusal("must be an object, but is null")
    return value


def _repo_url(value: object) -> RepoUrl:
    try:
        return parse_repo_url(as_text(value))
    except PydanticCustomError:
        raise
    except ValueError as error:
        raise refusal(str(error)) from None


class Credentials(ConfigModel):
    """Where the token comes from."""

    secret_name: Text = Field(
        alias="secretName",
        description="Name of a Secret in the project's namespace with the keys `accessToken` and, for GitHub "
        "Enterprise, `baseURL` and optionally `uploadURL`.",
    )


class RepositoryBySecret(NamedTuple):
    """The form of v1.8."""

    secret_name: str
    owner: str
    repo: str


class RepositoryByUrl(NamedTuple):
    """The form since v1.9. ``skip_verify``: the server's certificate is not checked."""

    url: RepoUrl
    skip_verify: bool


class RepositoryConfig(ConfigModel):
    """The repository of a step."""

    elsewhere: ClassVar[Mapping[str, str]] = {"retry": "belongs beside config, not in it"}

    repo_url: Annotated[RepoUrl | None, BeforeValidator(_repo_url, json_schema_input_type=str)] = Field(
        default=None,
        alias=REPO_URL,
        description="The repository's URL as for `git clone`: `https://…`, `ssh://…` or `git@host:owner/repo`, on "
        "github.com, `*.ghe.com` or any GitHub Enterprise Server. The token comes from Kargo's Git credentials for it.",
    )
    insecure_skip_tls_verify: Switch = Field(
        default=False,
        alias=SKIP_VERIFY,
        description="Do not check the server's certificate. Anyone on the network path can then read the token.",
    )
    credentials: Annotated[Credentials | None, BeforeValidator(_no_null, json_schema_input_type=Credentials)] = Field(
        default=None, alias="credentials", description="Where the token comes from."
    )
    owner: Annotated[str | None, BeforeValidator(as_segment, json_schema_input_type=str)] = Field(
        default=None,
        alias="owner",
        description="Owner of the repository: a user or organisation.",
    )
    repo: Annotated[str | None, BeforeValidator(as_segment, json_schema_input_type=str)] = Field(
        default=None, alias="repo", description="Name of the repository."
    )

    @property
    def repository(self) -> RepositoryBySecret | RepositoryByUrl:
        """The repository in the form in which it was written."""
        if self.repo_url is not None:
            return RepositoryByUrl(self.repo_url, self.insecure_skip_tls_verify)
        # Nothing else gets through `parse`.
        assert self.credentials is not None
        assert self.owner is not None
        assert self.repo is not None
        return RepositoryBySecret(self.credentials.secret_name, self.owner, self.repo)

    @property
    def full_name(self) -> str:
        """``owner/repo``, as written."""
        match self.repository:
            case RepositoryByUrl(url):
                return url.full_name
            case RepositoryBySecret(owner=owner, repo=repo):
                return f"{owner}/{repo}"

    @classmethod
    def mismatches(cls, config: Mapping[str, Any]) -> list[str]:
        given = [name for name in BY_SECRET if name in config]
        if REPO_URL in config:
            if not given:
                return []
            return [
                f"config.{REPO_URL}: cannot be combined with {_listed(given)}; write {REPO_URL} alone (v1.9 and "
                f"later), or {_listed(BY_SECRET)} without it (v1.8)"
            ]
        if not given:
            return [
                f"config.{REPO_URL}: is required, with Git credentials for it in Kargo (v1.9 and later); or "
                f"{_listed(BY_SECRET)} (v1.8)"
            ]
        problems = [f"config.{name}: is required" for name in BY_SECRET if name not in config]
        if SKIP_VERIFY in config:
            problems.append(
                f"config.{SKIP_VERIFY}: only works with {REPO_URL} (v1.9 and later), not with {_listed(given)}"
            )
        return problems


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
