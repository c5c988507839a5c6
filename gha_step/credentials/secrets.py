"""Reading a Secret of a project, wherever Secrets live. Nothing is kept: a rotated token works at once."""

import re
from collections.abc import Mapping
from typing import Final, Protocol

from gha_step.contract.errors import CredentialsError

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes names namespaces
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class SecretReader(Protocol):
    """Where Secrets come from."""

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        """The data of the Secret ``name`` in the project's namespace, read anew.

        :raises CredentialsError: it is not there, may not be read, or the names are none.
        :raises SecretsUnavailable: this cannot be told now.
        """


def check_names(project: str, name: str) -> None:
    """Refuse names that are no Kubernetes names: they could lead out of the project's directory or namespace.

    :raises CredentialsError: naming which of the two, not repeating it.
    """
    if not _LABEL.fullmatch(project):
        raise CredentialsError(
            "context.project is not the name of a namespace (lower-case letters, digits and '-', at most 63)"
        )
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise CredentialsError(
            f"project {project}: config.credentials.secretName is not the name of a Secret "
            "(lower-case letters, digits, '-' and '.', at most 253)"
        )
