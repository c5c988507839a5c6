"""The UID of a Promotion that a caller knows by name: the ledger's record belongs to it. Nothing else of it is read."""

from typing import Final

from gha_step.contract.errors import StepError, Unavailable
from gha_step.kube import Denied, Forbidden, Invalid, KubeApi, KubeError, NotFound, NotServed

API: Final = "/apis/kargo.akuity.io/v1alpha1"


class NoPromotion(StepError):
    """There is no such Promotion, or it may not be read: asking again will not help."""


class Promotions:
    """Promotions of one cluster. No UID is remembered: a Promotion may be replaced by one of its name at any time.

    :param api: under an identity that may ``get`` the Promotions of the projects that are served.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    def uid(self, project: str, name: str) -> str:
        """The UID of the Promotion ``name``; both are names as Kubernetes has them.

        :raises NoPromotion: there is none, or we lastingly may not see it; the message says what to do.
        :raises Unavailable: it cannot be read now.
        """
        try:
            promotion = self._api.get(f"{API}/namespaces/{project}/promotions/{name}")
        except NotFound:
            raise NoPromotion(f"the project {project} has no Promotion {name}") from None
        except Denied as error:
            raise error.told_as(_why(error, project, name), NoPromotion, Unavailable) from None
        except Invalid as error:
            raise NoPromotion(f"project {project}: the Promotion {name} cannot be read: {error}") from None
        except KubeError as error:
            raise Unavailable(
                f"project {project}: the Promotion {name} cannot be read now: {error}", error.retry_after or 10.0
            ) from None
        metadata = promotion.get("metadata")
        uid = metadata.get("uid") if isinstance(metadata, dict) else None
        if not isinstance(uid, str) or not uid:
            raise Unavailable(f"project {project}: the Promotion {name} cannot be read now: the answer is none")
        return uid


def _why(error: Denied, project: str, name: str) -> str:
    if isinstance(error, Forbidden):
        rule = "{apiGroups: [kargo.akuity.io], resources: [promotions], verbs: [get]}"
        return f"project {project}: the Promotion {name} may not be read: {error.fix(project, rule, 'project')}"
    if isinstance(error, NotServed):
        return (
            "the API server knows no Promotions of kargo.akuity.io/v1alpha1: is Kargo installed in the cluster that "
            f"gha-step runs in? ({error})"
        )
    return f"project {project}: the Promotion {name} cannot be read: {error}"
