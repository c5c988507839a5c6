"""deploy/ on a real API server: applied as a user applies it, in namespaces of a test's own."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tests.deploy.manifests import DEPLOY, Manifest, rendered
from tests.ledger.clusters import install
from tests.support.cluster import Cluster

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
    cluster.told(*(kind["metadata"]["name"] for kind in STAND_INS))
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


def grant(cluster: Cluster, *objects: Manifest) -> None:
    """Apply them, and wait until the authorizer has learnt of every right that one of their bindings gives."""
    apply(cluster, *objects)
    _await_rights(cluster, objects, granted=True)


def revoke(cluster: Cluster, *objects: Manifest) -> None:
    """Delete them, and wait until the authorizer has learnt that these rights are no more."""
    cluster.kubectl("delete", "-f", "-", stdin="\n---\n".join(json.dumps(one) for one in objects))
    _await_rights(cluster, objects, granted=False)


def _await_rights(cluster: Cluster, objects: Sequence[Manifest], *, granted: bool) -> None:
    roles = {(found["kind"], found["metadata"]["name"]): found["rules"] for found in objects if "rules" in found}
    for binding in objects:
        if "roleRef" in binding:
            rules = roles.get((binding["roleRef"]["kind"], binding["roleRef"]["name"]), [])
            namespace = binding["metadata"].get("namespace", "")
            for subject in binding["subjects"]:
                account = subject["kind"] == "ServiceAccount"
                user = f"system:serviceaccount:{subject['namespace']}:{subject['name']}" if account else subject["name"]
                cluster.await_rules(namespace, user, rules, granted=granted)
