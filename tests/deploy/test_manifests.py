"""The files as written: plain kustomize, one object each, and a service that fits what the program expects."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import gha_step
from gha_step.settings import Settings
from tests.deploy.manifests import DEPLOY, PORT, Manifest, documents, files, manifest, objects, pod_settings
from tests.support.rows import each_row

FOLDERS = sorted({path.parent for path in files()})
PRUNING = DEPLOY / "port/prune/role.yaml"
OTHERS = (PRUNING, DEPLOY / "service/refresh/role.yaml")  # which tests of their own are about
OBJECTS = list(objects())
ROLES = sorted(path for path, found in OBJECTS if found["kind"] == "Role" and path not in OTHERS)
LABELS = {"app.kubernetes.io/name": "gha-step"}
PRUNE: Manifest = manifest("port/prune/cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]


def short(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def at(found: Any, path: str) -> Any:
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else found[name]
    return found


@each_row("path", list(files()), ids=short)
def test_a_file_holds_one_object(path: Path) -> None:
    assert len(documents(path)) == 1


@each_row("folder", FOLDERS, ids=short)
def test_a_kustomization_names_every_file_beside_it_and_nothing_that_is_not_there(folder: Path) -> None:
    (found,) = documents(folder / "kustomization.yaml")
    patches = [entry["path"] for entry in found.get("patches", []) if "path" in entry]
    named = {
        (folder / name).resolve() for name in [*found.get("resources", []), *found.get("components", []), *patches]
    }
    assert all(path.exists() for path in named)
    beside = {path for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"}
    assert {path for path in named if path.parent == folder} - {path for path in named if path.is_dir()} == beside


@each_row(("path", "found"), OBJECTS, ids=lambda value: short(value) if isinstance(value, Path) else "")
def test_a_file_is_named_after_what_it_holds(path: Path, found: Manifest) -> None:
    assert path.stem in (found["kind"].lower(), found["metadata"]["name"])


def test_all_hosts_fit_into_one_cluster() -> None:
    """Roles of one name in a project would take each other's place, and with it one host's rights."""
    named = [
        (found["kind"], found["metadata"]["name"])
        for side in ("step-plugin", "service", "port", "cancel-on-abort")
        for path, found in OBJECTS
        if DEPLOY / side in path.parents and not path.is_relative_to(DEPLOY / "step-plugin/kargo-user-1000")
        if path.parent.name != "shared-credentials"
    ]
    assert len(named) == len(set(named)), named


def test_all_images_are_of_this_version() -> None:
    wanted = f"gha-step:{gha_step.__version__}"
    for path in ("service", "port"):
        assert at(manifest(f"{path}/deployment.yaml"), "spec.template.spec.containers.0.image") == wanted
        assert manifest(f"examples/{path}/kustomization.yaml")["images"][0]["newTag"] == gha_step.__version__
    assert at(PRUNE, "spec.containers.0.image") == wanted
    assert at(manifest("cancel-on-abort/deployment.yaml"), "spec.template.spec.containers.0.image") == wanted
    for path in ("step-plugin/configmap.yaml", "step-plugin/kargo-user-1000/configmap.yaml"):
        assert f'image: "{wanted}"' in manifest(path)["data"]["sidecar.container"]
    assert f"/{wanted}" in json.dumps(manifest("examples/step-plugin/kustomization.yaml"))


# ---------------------------------------------------------------- the ledger's definition


def test_only_its_own_kustomization_holds_the_ledgers_definition() -> None:
    """It is deleted with whatever holds it, and all records with it."""
    holders = [
        path
        for path in files()
        if path.name == "kustomization.yaml"
        and any((path.parent / name).resolve() == DEPLOY / "crd" for name in documents(path)[0].get("resources", ()))
    ]
    assert holders == []
    assert [short(path) for path, found in OBJECTS if found["kind"] == "CustomResourceDefinition"] == [
        "crd/workflowdispatches.gha-step.dev.yaml"
    ]


def test_the_ledgers_definition_is_pruned_by_no_gitops_tool() -> None:
    annotations = manifest("crd/workflowdispatches.gha-step.dev.yaml")["metadata"]["annotations"]
    assert set(annotations["argocd.argoproj.io/sync-options"].split(",")) >= {"Prune=false", "Delete=false"}
    assert annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"


def test_who_may_view_a_namespace_may_read_its_dispatches_and_change_none() -> None:
    role = manifest("crd/clusterrole.yaml")
    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert role["rules"] == [
        {"apiGroups": ["gha-step.dev"], "resources": ["workflowdispatches"], "verbs": ["get", "list", "watch"]}
    ]


# ---------------------------------------------------------------- the service


def test_the_service_starts_with_these_settings_and_is_probed_where_it_listens() -> None:
    container = at(manifest("service/deployment.yaml"), "spec.template.spec.containers.0")
    settings = Settings.parse(pod_settings(container))
    assert settings.project_api
    assert settings.token_file == "off", "step.execute, whose bearer proves no project, is not served"
    assert settings.ledger == settings.secrets == "kubernetes"
    assert settings.http_listen is not None
    assert container["ports"] == [{"name": "http", "containerPort": settings.http_listen.port}]
    assert (settings.http_listen.port, container["readinessProbe"]["httpGet"]) == (
        PORT,
        {"path": "/readyz", "port": "http"},
    )
    (pod_uid,) = [entry for entry in container["env"] if entry["name"] == "GHA_STEP_POD_UID"]
    assert pod_uid["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.uid"}}


@pytest.mark.parametrize("side", ["service", "port", "cancel-on-abort"])
def test_a_deployment_is_awaited_as_long_as_it_drains(side: str) -> None:
    pod = at(manifest(f"{side}/deployment.yaml"), "spec.template.spec")
    drains = 25 + 5  # a POST on the wire, and what is left to answer
    assert pod["terminationGracePeriodSeconds"] > drains


@pytest.mark.parametrize("side", ["service", "port"])
def test_no_replica_goes_before_another_is_ready_and_one_always_stays(side: str) -> None:
    deployment = manifest(f"{side}/deployment.yaml")
    assert at(deployment, "spec.replicas") == 2
    assert at(deployment, "spec.strategy.rollingUpdate.maxUnavailable") == 0
    assert at(manifest(f"{side}/poddisruptionbudget.yaml"), "spec.maxUnavailable") == 1


@each_row("side", ["service", "port"])
@each_row(
    ("path", "selector"),
    [
        ("deployment", "spec.selector.matchLabels"),
        ("deployment", "spec.template.metadata.labels"),
        ("deployment", "spec.template.spec.topologySpreadConstraints.0.labelSelector.matchLabels"),
        ("service", "spec.selector"),
        ("poddisruptionbudget", "spec.selector.matchLabels"),
        ("networkpolicy", "spec.podSelector.matchLabels"),
        ("service-monitor/networkpolicy", "spec.podSelector.matchLabels"),
        ("service-monitor/servicemonitor", "spec.selector.matchLabels"),
        ("service", "metadata.labels"),
    ],
)
def test_every_selector_finds_its_deployment(side: str, path: str, selector: str) -> None:
    (label, value), *_ = LABELS.items()
    found = at(manifest(f"{side}/{path}.yaml"), selector)
    assert found == ({label: value} if side == "service" else {label: f"{value}-port"})


def test_who_cancels_on_abort_serves_no_steps_and_is_found_by_its_selectors() -> None:
    container = at(manifest("cancel-on-abort/deployment.yaml"), "spec.template.spec.containers.0")
    settings = Settings.parse(pod_settings(container))
    assert (settings.cancel_on_abort, settings.token_file, settings.project_api) == ("all", "off", False)
    assert (settings.ledger, settings.secrets, settings.portio) == ("kubernetes", "kubernetes", frozenset())
    label = {"app.kubernetes.io/name": "gha-step-follower"}
    deployment = manifest("cancel-on-abort/deployment.yaml")
    assert at(deployment, "spec.selector.matchLabels") == at(deployment, "spec.template.metadata.labels") == label
    assert at(manifest("cancel-on-abort/networkpolicy.yaml"), "spec.podSelector.matchLabels") == label


def test_the_sidecars_port_is_the_one_that_is_scraped() -> None:
    (scraped,) = at(manifest("step-plugin/pod-monitor/podmonitor.yaml"), "spec.podMetricsEndpoints")
    sidecar = yaml.safe_load(manifest("step-plugin/configmap.yaml")["data"]["sidecar.container"])
    assert scraped["port"] in [port["name"] for port in sidecar["ports"]]


def test_the_tasks_call_the_service_by_its_name() -> None:
    service = manifest("service/service.yaml")
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    wanted = f"http://{name}.{namespace}.svc:{at(service, 'spec.ports.0.port')}"
    for path in sorted((DEPLOY / "tasks").rglob("gha-*.yaml")):
        (task,) = documents(path)
        assert {"name": "serviceURL", "value": wanted} in task["spec"]["vars"]


# ---------------------------------------------------------------- roles


@each_row("path", ROLES, ids=short)
def test_a_role_deletes_nothing_writes_no_configmaps_and_has_no_wildcard(path: Path) -> None:
    (role,) = documents(path)
    for rule in role["rules"]:
        assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
        assert not {"*", "delete", "deletecollection", "patch", "watch"} & set(rule["verbs"])
        assert not {"*", "configmaps", "pods", "roles"} & set(rule["resources"])
        assert "*" not in rule["apiGroups"]


def test_only_the_component_that_refreshes_may_patch_and_only_promotions() -> None:
    assert manifest("service/refresh/role.yaml")["rules"] == [
        {"apiGroups": ["kargo.akuity.io"], "resources": ["promotions"], "verbs": ["patch"]},
        {"apiGroups": ["kargo.akuity.io"], "resources": ["stages"], "verbs": ["promote"]},
    ]


def test_only_the_cron_job_that_prunes_may_delete_and_it_may_do_nothing_else() -> None:
    """A server that may delete its records could dispatch twice."""
    assert manifest("port/prune/role.yaml")["rules"] == [
        {"apiGroups": ["gha-step.dev"], "resources": ["workflowdispatches"], "verbs": ["list", "delete"]}
    ]
    (subject,) = manifest("port/prune/rolebinding.yaml")["subjects"]
    assert subject["name"] == manifest("port/prune/serviceaccount.yaml")["metadata"]["name"]
    assert at(PRUNE, "spec.serviceAccountName") == subject["name"]
    assert subject["name"] != at(manifest("port/deployment.yaml"), "spec.template.spec.serviceAccountName")
    assert at(PRUNE, "metadata.labels") == at(manifest("port/prune/networkpolicy.yaml"), "spec.podSelector.matchLabels")
    container = at(PRUNE, "spec.containers.0")
    assert (container["args"], pod_settings(container)) == (
        ["ledger", "prune", "--port"],
        {"GHA_STEP_LEDGER": "kubernetes"},
    )


@pytest.mark.parametrize("side", ["step-plugin", "service"])
def test_without_the_component_for_git_credentials_only_named_secrets_are_read(side: str) -> None:
    rules = [rule for rule in manifest(f"{side}/project/role.yaml")["rules"] if "secrets" in rule["resources"]]
    assert [(rule["verbs"], bool(rule["resourceNames"])) for rule in rules] == [(["get"], True)]
    assert manifest(f"{side}/git-credentials/role.yaml")["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}
    ]


def test_the_sidecars_namespace_is_left_to_kustomize_and_the_services_is_fixed() -> None:
    (sidecar,) = manifest("step-plugin/project/rolebinding.yaml")["subjects"]
    (service,) = manifest("service/project/rolebinding.yaml")["subjects"]
    assert sidecar == {"kind": "ServiceAccount", "name": "default"}
    account = manifest("service/serviceaccount.yaml")["metadata"]
    assert service == {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    assert at(manifest("service/deployment.yaml"), "spec.template.spec.serviceAccountName") == account["name"]


# ---------------------------------------------------------------- Port


def test_port_s_deployment_starts_with_these_settings_and_reads_the_two_secrets_that_its_role_names() -> None:
    container = at(manifest("port/deployment.yaml"), "spec.template.spec.containers.0")
    settings = Settings.parse(pod_settings(container))
    assert settings.portio == {"claims"}
    assert (settings.token_file, settings.project_api) == ("off", False)
    assert settings.ledger == settings.secrets == "kubernetes"
    (secrets,) = [rule for rule in manifest("port/role.yaml")["rules"] if "secrets" in rule["resources"]]
    assert secrets["verbs"] == ["get"]
    assert secrets["resourceNames"] == [settings.portio_secret, settings.portio_github_secret]
    assert settings.shared_namespace == ""
    (pod_uid,) = [entry for entry in container["env"] if entry["name"] == "GHA_STEP_POD_UID"]
    assert pod_uid["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.uid"}}


def test_the_brokers_port_is_open_with_the_component_for_kafka_only() -> None:
    def ports(path: str) -> set[int]:
        return {
            port["port"]
            for rule in manifest(f"port/{path}networkpolicy.yaml")["spec"]["egress"]
            for port in rule.get("ports", ())
        }

    assert ports("") == {53, 443, 6443}
    assert ports("kafka/") == {9196}


def test_nobody_calls_port_s_deployment_but_by_a_component() -> None:
    policy = manifest("port/networkpolicy.yaml")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    for component in ("webhook", "service-monitor"):
        (rule,) = manifest(f"port/{component}/networkpolicy.yaml")["spec"]["ingress"]
        assert rule["ports"] == [{"port": "http"}]
        assert rule["from"][0]["namespaceSelector"]["matchLabels"]


def test_gha_step_s_account_for_port_is_one_of_the_writers_that_are_admitted() -> None:
    account = manifest("port/serviceaccount.yaml")["metadata"]
    policy = json.dumps(manifest("admission/validatingadmissionpolicy.yaml"))
    assert f"system:serviceaccount:{account['namespace']}:{account['name']}'" in policy


def test_a_key_that_stands_twice_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(yaml.YAMLError, match="stands twice"):
        documents(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(f"docs/{name}.md" for name in ("http", "install", "scaling", "hosts", "operating", "port")),
    ],
)
def test_the_documentation_names_no_file_of_deploy_that_is_not_there(page: str) -> None:
    text = (DEPLOY.parent / page).read_text()
    copies = re.findall(r"\bcp -r deploy/\S+ (deploy/\S+)", text)  # the reader's own
    for name in re.findall(r"(?<!/actions/)\bdeploy/[-a-z0-9./]*[a-z0-9]", text):
        assert name in copies or (DEPLOY.parent / name).exists(), name
