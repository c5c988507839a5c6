"""deploy/ on a real API server: applied as a user applies it, in namespaces of a test's own."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.deploy.manifests import DEPLOY, Manifest, rendered
from tests.ledger.clusters import install
from tests.support.cluster import Cluster, ClusterFailed

KARGO_NAMESPACES = ("kargo-system-resources", "kargo-shared-resources")


def kubectl_path() -> Path:
    """The kubectl beside the API server."""
    return Path(os.environ["KUBEBUILDER_ASSETS"], "kubectl")


def stand_in(group: str, version: str, kind: str, *, namespaced: bool) -> Manifest:
    """A CustomResourceDefinition that takes everything: of a host, or of an operator, that is not here."""
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


STAND_INS = (
    stand_in("kargo.akuity.io", "v1alpha1", "ClusterPromotionTask", namespaced=False),
    stand_in("kargo.akuity.io", "v1alpha1", "Promotion", namespaced=True),
    stand_in("monitoring.coreos.com", "v1", "ServiceMonitor", namespaced=True),
    stand_in("monitoring.coreos.com", "v1", "PodMonitor", namespaced=True),
    stand_in("monitoring.coreos.com", "v1", "PrometheusRule", namespaced=True),
)


def apply(cluster: Cluster, *objects: Manifest, namespace: str | None = None, dry_run: bool = False) -> str:
    """What kubectl says of each. :raises AssertionError: one is refused, or has a field that its kind does not know.

    :param dry_run: the API server admits and validates them, and keeps nothing: no test finds another's rights.
    """
    how = [*(["--namespace", namespace] if namespace else []), *(["--dry-run=server"] if dry_run else [])]
    text = "\n---\n".join(json.dumps(one) for one in objects)
    return cluster.kubectl("apply", "--server-side", "--validate=strict", *how, "-f", "-", stdin=text)


def prepare(cluster: Cluster) -> None:
    """What most tests find installed: the ledger's definition, and what `stand_in_for_hosts` makes."""
    install(cluster)
    stand_in_for_hosts(cluster)


def stand_in_for_hosts(cluster: Cluster) -> None:
    """What is there before a user installs: the host's kinds and namespaces."""
    apply(cluster, *STAND_INS)
    for kind in STAND_INS:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind['metadata']['name']}", "--timeout=30s")
    apply(
        cluster,
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in (*KARGO_NAMESPACES, "gha-step")
        ),
    )


def project_objects(folder: Path, side: str, namespace: str, *components: str) -> list[Manifest]:
    """A project's roles as a user's own kustomization gives them."""
    base = os.path.relpath(DEPLOY / side, folder)
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [f"{base}/project"],
        "components": [f"{base}/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(overlay))
    return rendered(folder, kubectl_path())


def rules_of(objects: Sequence[Manifest]) -> list[dict[str, Any]]:
    """The rules of all Roles and ClusterRoles."""
    return [rule for found in objects if found["kind"] in ("Role", "ClusterRole") for rule in found["rules"]]


def await_rules(
    cluster: Cluster, namespace: str, account: str, rules: Sequence[dict[str, Any]], *, granted: bool = True
) -> None:
    """Until the authorizer has learnt of every verb, or that there is none; that takes it a moment."""
    asked = [
        {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name}
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    ]
    deadline = time.monotonic() + 10
    while asked and time.monotonic() < deadline:
        asked = [attributes for attributes in asked if allowed(cluster, account, attributes) is not granted]
    if asked:
        raise ClusterFailed(f"not {'in force' if granted else 'taken away'}: {asked}")


def allowed(cluster: Cluster, account: str, attributes: dict[str, str]) -> bool:
    """What the authorizer says."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(cluster.admin.create(path, review)["status"]["allowed"])
