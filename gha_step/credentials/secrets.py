"""Reading a Secret of a project, from any source. Nothing is cached, so a rotated token works at once."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from gha_step.contract.errors import CredentialsError, SecretsUnavailable

MOST_UNLABELLED: Final = 100
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes names namespaces
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class NoSecret(CredentialsError):
    """There is no such Secret. The message ends with how to create one that holds a token for GitHub."""


class SecretDenied(SecretsUnavailable):
    """It may not be read, as it seems at the moment: a starting API server denies everything to everybody."""


@dataclass(frozen=True)
class LabelledSecret:
    """A Secret that Kargo takes for Git credentials, or would take if it had the label."""

    name: str
    data: Mapping[str, bytes] = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)


class SecretReader(Protocol):
    """Where Secrets come from."""

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        """The data of the Secret ``name`` in the project's namespace, read anew.

        :raises CredentialsError: it is not there, may not be read, or the names are none.
        :raises SecretsUnavailable: they cannot be read now.
        """

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        """The Secrets of ``namespace`` that are labelled as Git credentials of Kargo, in any order, read anew.

        A namespace that is not there has none.

        :raises CredentialsError: they may not be listed, or the name is none.
        :raises SecretsUnavailable: they cannot be read now.
        """

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        """Secrets of ``namespace`` without that label, at most `MOST_UNLABELLED`: for a hint, so it never raises."""


def text_of(data: Mapping[str, bytes], key: str, subject: str) -> str:
    """The text under a key of a Secret, '' where there is none. :raises CredentialsError: it is no text."""
    try:
        return data.get(key, b"").decode().strip()
    except UnicodeDecodeError:
        raise CredentialsError(f"{subject}: the key {key} is not text: store the bare value") from None


def check_namespace(name: str) -> None:
    """Refuse what is no name of a namespace: it could lead out of the place where Secrets live.

    :raises CredentialsError: not repeating it.
    """
    if not is_namespace_name(name):
        raise CredentialsError(
            "context.project is not the name of a namespace (lower-case letters, digits and '-', at most 63)"
        )


def is_namespace_name(name: str) -> bool:
    """Whether a namespace can have this name."""
    return _LABEL.fullmatch(name) is not None


def is_object_name(name: str) -> bool:
    """Whether a Secret, or another object of Kubernetes, can have this name."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None


def check_names(project: str, name: str) -> None:
    """Refuse names that are no Kubernetes names: they could lead out of the project's directory or namespace.

    :raises CredentialsError: naming which of the two, not repeating it.
    """
    check_namespace(project)
    if not is_object_name(name):
        raise CredentialsError(
            f"project {project}: config.credentials.secretName is not the name of a Secret "
            "(lower-case letters, digits, '-' and '.', at most 253)"
        )
