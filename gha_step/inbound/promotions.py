"""Kargo's Promotions: the UID of one by its name, and whether and how one has ended.

Nothing else is read, and nothing is cached. Source: Kargo's API, ``status.phase`` of a Promotion.
"""

from typing import Any, Final

from gha_step.contract.errors import StepError, Unavailable
from gha_step.kube import Denied, Forbidden, Invalid, KubeApi, KubeError, NotFound, NotServed
from gha_step.ledger.duties import PHASES, Phase

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
            promotion = self._api.get(promotion_path(project, name), metadata_only=True)
        except NotFound:
            raise NoPromotion(f"the project {project} has no Promotion {name}") from None
        except Denied as error:
            raise error.told_as(_why(error, project, name), NoPromotion, Unavailable) from None
        except Invalid as error:
            raise NoPromotion(f"project {project}: the Promotion {name} cannot be read: {error}") from None
        except KubeError as error:
            raise _unavailable(project, name, error) from None
        return _uid(promotion, project, name)

    def end(self, project: str, name: str, uid: str) -> Phase | None:
        """How the Promotion of exactly this UID has ended; ``None``: it goes on.

        `deleted` only where the API server itself says that there is none of this name, or that another one has it now.

        :raises Unavailable: that is not known now, for whatever reason, also where it may not be read.
        """
        try:
            promotion = self._api.get(promotion_path(project, name))
        except NotFound:
            return "deleted"
        except Denied as error:
            raise Unavailable(_why(error, project, name, "cancel-on-abort")) from None
        except KubeError as error:
            raise _unavailable(project, name, error) from None
        if _uid(promotion, project, name) != uid:
            return "deleted"
        status = promotion.get("status")
        phase = status.get("phase") if isinstance(status, dict) else None
        return next((end for end in PHASES if end == phase and end != "deleted"), None)


def promotion_path(project: str, name: str) -> str:
    """Where the API server has a Promotion; both are names as Kubernetes has them."""
    return f"{API}/namespaces/{project}/promotions/{name}"


def _uid(promotion: dict[str, Any], project: str, name: str) -> str:
    metadata = promotion.get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, dict) else None
    if not isinstance(uid, str) or not uid:
        raise Unavailable(f"project {project}: the Promotion {name} cannot be read now: the answer is none")
    return uid


def _unavailable(project: str, name: str, error: KubeError) -> Unavailable:
    return Unavailable(
        f"project {project}: the Promotion {name} cannot be read now: {error}", error.retry_after or 10.0
    )


def _why(error: Denied, project: str, name: str, component: str = "project") -> str:
    if isinstance(error, Forbidden):
        rule = "{apiGroups: [kargo.akuity.io], resources: [promotions], verbs: [get]}"
        return f"project {project}: the Promotion {name} may not be read: {error.fix(project, rule, component)}"
    if isinstance(error, NotServed):
        return (
            "the API server knows no Promotions of kargo.akuity.io/v1alpha1: is Kargo installed in the cluster that "
            f"gha-step runs in? ({error})"
        )
    return f"project {project}: the Promotion {name} cannot be read: {error}"
