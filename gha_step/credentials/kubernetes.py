"""Secrets as Kubernetes keeps them: one `get` of one named Secret in the project's own namespace.

For that a Role with ``get`` on named Secrets is enough. Only Kargo's Git credentials, which configs since v1.9 use, are
listed: they are found by what they hold, not by name. Nothing is watched or remembered: many calls at the same moment
share one `get` or list, which began after the last of them had come.
"""

import base64
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.credentials.secrets import (
    MOST_UNLABELLED,
    LabelledSecret,
    NoSecret,
    SecretDenied,
    check_names,
    check_namespace,
)
from gha_step.kube import Denied, Forbidden, KubeApi, KubeError, NotFound
from gha_step.shared_reads import SharedReads

GIT_CREDENTIALS: Final = "kargo.akuity.io/cred-type=git"
NO_GIT_CREDENTIALS: Final = "kargo.akuity.io/cred-type!=git"
MOST_LABELLED: Final = 2_000  # Secrets of one namespace among which a repository's are looked for …
MOST_LISTED: Final = 8 << 20  # … and bytes of what they hold


class KubernetesSecrets:
    """See `gha_step.credentials.secrets.SecretReader`.

    :param api: under an identity that may ``get`` the Secrets that the projects name.
    :param shared: the namespace of credentials that all projects share.
    """

    def __init__(self, api: KubeApi, shared: str | None = None) -> None:
        self._api = api
        self._shared = shared
        self._gets: SharedReads[Mapping[str, bytes]] = SharedReads()
        self._lists: SharedReads[list[LabelledSecret]] = SharedReads()

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        check_names(project, name)
        return self._gets.read((project, name), lambda: self._get(project, name))

    def _get(self, project: str, name: str) -> Mapping[str, bytes]:
        try:
            secret = self._api.get(f"/api/v1/namespaces/{project}/secrets/{name}")
        except NotFound:
            raise NoSecret(
                f"project {project}: the Secret {name} does not exist; create it, for example with "
                f"kubectl create secret generic {name} --namespace {project} --from-literal=accessToken=TOKEN"
            ) from None
        except Denied as error:
            why = f"{_not_now(project, name)}: {error}"
            if isinstance(error, Forbidden):
                rule = f'{{apiGroups: [""], resources: [secrets], resourceNames: [{name}], verbs: [get]}}'
                why = (
                    f"project {project}: the Secret {name} may not be read: see first whether this is its name (the "
                    f"Role allows only the names in it); else {error.fix(project, rule, 'project')}"
                )
            raise error.told_as(why, CredentialsError, SecretDenied) from None
        except KubeError as error:
            raise SecretsUnavailable(f"{_not_now(project, name)}: {error}", error.retry_after or 10.0) from None
        if secret.get("kind") != "Secret":
            raise SecretsUnavailable(f"{_not_now(project, name)}: the answer is not a Secret")
        try:
            return _data(secret)
        except (AttributeError, TypeError, ValueError):
            raise SecretsUnavailable(f"{_not_now(project, name)}: its data is not in base64") from None

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        check_namespace(namespace)
        not_now = f"the Secrets of the namespace {namespace} cannot be listed now"
        try:
            yield from self._lists.read(namespace, lambda: self._git_credentials(namespace))
        except Denied as error:
            why = f"{not_now}: {error}"
            if isinstance(error, Forbidden):
                rule = '{apiGroups: [""], resources: [secrets], verbs: [list]}'
                folder = "shared-credentials" if namespace == self._shared else "git-credentials"
                why = (
                    f"the Secrets of the namespace {namespace} may not be listed, and repoURL is looked up among them: "
                    f"{error.fix(namespace, rule, folder)}"
                )
            raise error.told_as(why, CredentialsError, SecretsUnavailable) from None
        except KubeError as error:
            raise SecretsUnavailable(f"{not_now}: {error}", error.retry_after or 10.0) from None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise SecretsUnavailable(f"{not_now}: the answer is not a list of Secrets") from None

    def _git_credentials(self, namespace: str) -> list[LabelledSecret]:
        """:raises CredentialsError: there are too many to read for every step."""
        found, size = list[LabelledSecret](), 0
        for secret in self._listed(namespace, {"labelSelector": GIT_CREDENTIALS}):
            found.append(secret)
            size += sum(map(len, (*secret.data.values(), *secret.annotations.values())))
            if len(found) > MOST_LABELLED or size > MOST_LISTED:
                raise CredentialsError(
                    f"the namespace {namespace} has more than {MOST_LABELLED} Secrets, or {MOST_LISTED >> 20} MiB of "
                    f"them, with the label {GIT_CREDENTIALS}; gha-step does not read that many: remove the label from "
                    "those that are not Git credentials"
                )
        return found

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        query = {"labelSelector": NO_GIT_CREDENTIALS, "limit": str(MOST_UNLABELLED)}
        try:  # one page: what follows is never asked for
            return list(islice(self._listed(namespace, query), MOST_UNLABELLED))
        except (KubeError, AttributeError, KeyError, TypeError, ValueError):
            return []

    def _listed(self, namespace: str, query: Mapping[str, str]) -> Iterator[LabelledSecret]:
        for secret in self._api.items(f"/api/v1/namespaces/{namespace}/secrets", query):
            metadata = secret["metadata"]
            yield LabelledSecret(str(metadata["name"]), _data(secret), dict(metadata.get("annotations") or {}))


def _data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """:raises AttributeError, TypeError, ValueError: it is not as Kubernetes encodes it."""
    data = secret.get("data") or {}  # a Secret without any has none
    return {str(key): base64.b64decode(value, validate=True) for key, value in data.items()}


def _not_now(project: str, name: str) -> str:
    return f"project {project}: the Secret {name} cannot be read now"
