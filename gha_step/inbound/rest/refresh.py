"""Kargo's Refresh of a Promotion: each new value of an annotation makes Kargo look at it at once.

Source: facts/stock-kargo.md ("Faster than the 10 s floor"): besides `patch` it needs the verb `promote` on the Stage.
"""

from datetime import UTC, datetime
from typing import Final

from gha_step.contract.errors import StepError, Unavailable
from gha_step.inbound.promotions import promotion_path
from gha_step.kube import Conflict, Denied, Forbidden, KubeApi, KubeError, NotFound

REFRESH: Final = "kargo.akuity.io/refresh"
_RIGHTS: Final = (
    "{apiGroups: [kargo.akuity.io], resources: [promotions], verbs: [get, patch]} and {apiGroups: [kargo.akuity.io], "
    "resources: [stages], verbs: [promote]}"
)


class NotAllowed(StepError):
    """This process lastingly may not refresh Promotions of the project; the message says what to do."""


def press(api: KubeApi, project: str, promotion: str, unless: object = None) -> object:
    """Have Kargo look at a Promotion, if it is Running.

    :param api: under an identity that may ``get`` and ``patch`` Promotions, and ``promote`` their Stages.
    :param unless: an earlier answer: nothing is done where the Promotion has come to another step since.
    :returns: where the Promotion stands; ``None``: nothing was done, for nothing waits.
    :raises NotAllowed: it may not be refreshed.
    :raises Unavailable: not now.
    """
    path = promotion_path(project, promotion)
    try:
        found = api.get(path)
        status, metadata = found.get("status"), found.get("metadata")
        if not isinstance(status, dict) or not isinstance(metadata, dict) or status.get("phase") != "Running":
            return None
        standing = (metadata.get("uid"), status.get("currentStep"))
        if unless not in (None, standing):
            return None
        # With the UID: a Promotion that has taken its place meanwhile is another one.
        value = datetime.now(UTC).isoformat()
        api.merge(path, {"metadata": {"uid": standing[0], "annotations": {REFRESH: value}}})
    except (Conflict, NotFound):
        return None
    except KubeError as error:
        words = f"project {project}: the Promotion {promotion} cannot be refreshed: {error}"
        if isinstance(error, Forbidden):
            fix = error.fix(project, _RIGHTS, "refresh")
            words = f"project {project}: the Promotion {promotion} may not be refreshed: {fix}"
        if isinstance(error, Denied):
            raise error.told_as(words, NotAllowed, Unavailable) from None
        raise Unavailable(words) from None
    return standing
