"""Which repository a step is about, and whose token it uses: the part of the config that all step kinds share.

Source: Kargo's public step reference, v1.8 (facts: kargo-host, "Contract of the steps").
"""

from pydantic import Field

from gha_step.contract.values import ConfigModel, PathSegment, Text


class Credentials(ConfigModel):
    """Where the token comes from."""

    secret_name: Text = Field(
        alias="secretName",
        description="Name of a Secret in the project's namespace with the keys `accessToken` and, for GitHub "
        "Enterprise, `baseURL` and optionally `uploadURL`.",
    )


class RepositoryConfig(ConfigModel):
    """The repository of a step."""

    credentials: Credentials = Field(alias="credentials", description="Where the token comes from.")
    owner: PathSegment = Field(alias="owner", description="Owner of the repository: a user or organisation.")
    repo: PathSegment = Field(alias="repo", description="Name of the repository.")
