"""Secrets as Kubernetes keeps them: one `get` of one named Secret in the project's own namespace.

It neither lists nor watches nor remembers, so that a Role with ``get`` on named Secrets is enough.
"""

import base64
from collections.abc import Mapping

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.credentials.secrets import check_names
from gha_step.kube import Forbidden, KubeApi, KubeError, NotFound


class KubernetesSecrets:
    """See `gha_step.credentials.secrets.SecretReader`.

    :param api: under an identity that may ``get`` the Secrets that the projects name.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        check_names(project, name)
        try:
            secret = self._api.get(f"/api/v1/namespaces/{project}/secrets/{name}")
        except NotFound:
            raise CredentialsError(
                f"project {project}: the Secret {name} does not exist: create it, for example by "
                f"kubectl create secret generic {name} --namespace {project} --from-literal=accessToken=TOKEN"
            ) from None
        except Forbidden as error:
            whom = error.subject or "the ServiceAccount of this process"
            raise CredentialsError(
                f"project {project}: the Secret {name} may not be read: give {whom} a Role in the namespace "
                f'{project} with the rule {{apiGroups: [""], resources: [secrets], resourceNames: [{name}], '
                f"verbs: [get]}} ({error.words or error})"
            ) from None
        except KubeError as error:
            raise SecretsUnavailable(f"{_not_now(project, name)}: {error}", error.retry_after or 10.0) from None
        if secret.get("kind") != "Secret":
            raise SecretsUnavailable(f"{_not_now(project, name)}: the answer is not a Secret")
        try:
            data = secret.get("data") or {}  # a Secret without any has none
            return {str(key): base64.b64decode(value, validate=True) for key, value in data.items()}
        except (AttributeError, TypeError, ValueError):
            raise SecretsUnavailable(f"{_not_now(project, name)}: its data is not in base64") from None


def _not_now(project: str, name: str) -> str:
    return f"project {project}: the Secret {name} cannot be read now"
