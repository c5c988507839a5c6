"""deploy/admission on a real API server: role `edit`, and any right on records, do not let people write ours."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from gha_step.kube import Forbidden, KubeApi
from gha_step.ledger.kubernetes import GATES, RECORDS, KubernetesStore
from gha_step.ledger.record import Record, State
from tests.deploy.clusters import apply, kubectl_path, prepare
from tests.deploy.manifests import DEPLOY, rendered
from tests.ledger.clusters import LEDGER_RULES
from tests.ledger.records import OURS, TARGET
from tests.ledger.store_contract import fresh
from tests.support.clock import eventually
from tests.support.cluster import Cluster

pytestmark = pytest.mark.cluster

SELECTED: Final = {"gha-step-test": "admission"}  # the other tests of this cluster write under any name
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Place:
    """A project under the policy."""

    cluster: Cluster
    namespace: str
    person: KubeApi  # with what Kubernetes' role `edit` gives, and every right on records

    def record(self, **changes: Any) -> Record:
        return fresh(key_parts=(self.namespace, "uid-1", "dispatch"), **changes)

    def service_account(self, namespace: str, name: str) -> KubernetesStore:
        token = self.cluster.service_account(namespace, name)
        self.cluster.allow(self.namespace, LEDGER_RULES, account=f"{namespace}:{name}", name=f"{namespace}-{name}")
        return KubernetesStore(self.cluster.api(token), frozenset({self.namespace}))


def lease(name: str) -> dict[str, Any]:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}}


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    prepare(cluster)
    namespace = cluster.namespace("admission")
    cluster.kubectl("label", "namespace", namespace, *(f"{name}={value}" for name, value in SELECTED.items()))
    for found in rendered(DEPLOY / "admission", kubectl_path()):
        if found["kind"] == "ValidatingAdmissionPolicyBinding":
            found["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": SELECTED}}
        apply(cluster, found)
    token = cluster.service_account(namespace, "person")
    person = {"kind": "ServiceAccount", "namespace": namespace, "name": "person"}
    edit = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:aggregate-to-edit"}
    body = {"metadata": {"name": "edit"}, "roleRef": edit, "subjects": [person]}
    cluster.admin.create(f"{RBAC}/namespaces/{namespace}/rolebindings", body)
    everything = {"apiGroups": [RECORDS.group], "resources": ["*"], "verbs": ["*"]}
    cluster.allow(namespace, [everything | {"resources": [RECORDS.plural]}], account=f"{namespace}:person")
    made = Place(cluster, namespace, cluster.api(token))
    _await_policy(made)
    yield made
    cluster.kubectl("delete", "-k", str(DEPLOY / "admission"))
    _await_policy(made, in_force=False)  # else the next test takes this one's for its own


def _await_policy(place: Place, *, in_force: bool = True) -> None:
    """It comes into force a moment after it was applied, and goes a moment after it was deleted."""

    def is_there() -> bool | None:
        try:
            place.person.create(GATES.path(place.namespace), lease("gha-step-probe"), {"dryRun": "All"})
        except Forbidden as error:
            return True if "gha-step-writers" in str(error) else None  # role `edit` has not come into force either
        return False

    eventually(lambda: is_there() is in_force)


def test_a_person_with_role_edit_and_every_right_on_records_writes_none(place: Place) -> None:
    ours = place.service_account("gha-step", "gha-step")
    stored = ours.write(place.record())
    path = RECORDS.path(place.namespace)
    found = place.person.get(f"{path}/{stored.key}")
    forged = copy.deepcopy(found)
    forged["progress"]["state"] = State.REJECTED
    relabelled = copy.deepcopy(found)
    relabelled["metadata"]["labels"] = {}
    disowned = copy.deepcopy(found)
    disowned["metadata"]["ownerReferences"] = []
    for body in (forged, relabelled, disowned):
        with pytest.raises(Forbidden, match="only gha-step's own ServiceAccounts write WorkflowDispatches"):
            place.person.replace(f"{path}/{stored.key}", body)
    made = {name: found[name] for name in ("apiVersion", "kind", "schemaVersion", "step", "request", "progress")}
    other = made | {"metadata": {"name": "a" * 64}, "step": made["step"] | {"key": "a" * 64}}
    with pytest.raises(Forbidden, match="only gha-step's own ServiceAccounts"):
        place.person.create(path, other)
    assert ours.read(place.namespace, stored.key) == stored


def test_a_person_with_role_edit_writes_leases_but_not_the_gates(place: Place) -> None:
    ours = place.service_account("gha-step", "gha-step")
    gate = ours.write_lease(ours.read_lease(place.namespace, TARGET).entered("a" * 64))
    path = GATES.path(place.namespace)
    (name,) = [
        item["metadata"]["name"] for item in place.cluster.admin.items(path) if "gha-step" in item["metadata"]["name"]
    ]
    held = place.person.get(f"{path}/{name}")
    held["spec"]["holderIdentity"] = "b" * 64
    with pytest.raises(Forbidden, match=r"Leases named gha-step-\*"):
        place.person.replace(f"{path}/{name}", held)
    for refused in (lease("gha-step-mine"), {**lease(""), "metadata": {"generateName": "gha-step-"}}):
        with pytest.raises(Forbidden, match=r"Leases named gha-step-\*"):
            place.person.create(path, refused)
    place.person.create(path, lease("my-own"))
    assert ours.read_lease(place.namespace, TARGET) == gate


@pytest.mark.parametrize("host", ["service", "sidecar"])
def test_either_host_writes_records_and_gates(place: Place, host: str) -> None:
    home, account = ("gha-step", "gha-step") if host == "service" else (place.namespace, "default")
    ours = place.service_account(home, account)
    stored = ours.write(place.record())
    sending = {"state": State.SENDING, "nonce": "n", "owner": OURS, "sending_at": 1.0}
    assert ours.write(stored.model_copy(update=sending)).state is State.SENDING
    gate = ours.write_lease(ours.read_lease(place.namespace, TARGET).entered("a" * 64))
    assert ours.write_lease(gate.entered("b" * 64)).holder == "b" * 64


def test_the_sidecars_account_of_another_project_writes_nothing_here(place: Place) -> None:
    stranger = place.service_account(place.cluster.namespace("elsewhere"), "default")
    with pytest.raises(Exception, match="only gha-step's own ServiceAccounts"):
        stranger.write(place.record())


def test_kubernetes_own_controllers_still_take_a_record_away(place: Place) -> None:
    """As a namespace is deleted: what deletes is not asked, and finalizers may be taken out."""
    ours = place.service_account("gha-step", "gha-step")
    stored = ours.write(place.record())
    path = f"{RECORDS.path(place.namespace)}/{stored.key}"
    collector = place.cluster.service_account("kube-system", "generic-garbage-collector")
    everything = {"apiGroups": [RECORDS.group], "resources": [RECORDS.plural], "verbs": ["*"]}
    place.cluster.allow(place.namespace, [everything], account="kube-system:generic-garbage-collector", name="gc")
    api = place.cluster.api(collector)
    body = api.get(path)
    body["metadata"]["ownerReferences"] = []
    api.replace(path, body)
    place.cluster.kubectl("delete", RECORDS.plural, stored.key, "--namespace", place.namespace, "--wait=false")
    assert ours.read(place.namespace, stored.key) is None
