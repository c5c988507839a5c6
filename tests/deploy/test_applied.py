"""deploy/ on a real API server: everything is taken, strictly, and pods of it are admitted where they have to be."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gha_step.settings import Settings
from tests.deploy.clusters import apply, kubectl_path, prepare
from tests.deploy.manifests import DEPLOY, Manifest, documents, files, manifest, pod_settings, rendered
from tests.deploy.step_plugin import container, objections
from tests.support.cluster import Cluster

pytestmark = pytest.mark.cluster

BASES = sorted(
    path.parent
    for path in files()
    if path.name == "kustomization.yaml" and documents(path)[0]["kind"] == "Kustomization"
)
COMPONENTS = [
    ("step-plugin", "step-plugin/kargo-user-1000"),
    ("step-plugin", "step-plugin/pod-monitor"),
    ("step-plugin/project", "step-plugin/git-credentials"),
    ("step-plugin/project", "step-plugin/cancel-on-abort"),
    ("service/project", "service/git-credentials"),
    ("service/project", "service/refresh"),
    ("service", "service/service-monitor"),
    ("service", "service/webhook"),
    ("service", "service/cancel-on-abort"),
    ("service", "service/alarms"),
    ("service", "service/dashboard"),
    ("cancel-on-abort/project", "cancel-on-abort/git-credentials"),
    ("port", "port/kafka"),
    ("port", "port/webhook"),
    ("port", "port/git-credentials"),
    ("port", "port/service-monitor"),
    ("port", "port/alarms"),
]


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    prepare(cluster)
    return cluster


def kind_and_name(found: Manifest) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


def taken(cluster: Cluster, objects: list[Manifest]) -> str:
    """What kubectl says of each. Only Namespaces stay: the rights that deploy/ gives are no other test's to find."""
    namespace = cluster.namespace()
    said = ""
    for found in objects:
        if found["kind"] == "Namespace":
            apply(cluster, found)
        if found["metadata"].get("namespace") == "my-project":  # a project of the test's own in place of the example's
            found["metadata"]["namespace"] = namespace
        # A project's roles name no namespace; a user's kustomization gives it.
        where = None if "namespace" in found["metadata"] else namespace
        said += apply(cluster, found, namespace=where, dry_run=True)
    return said


@pytest.mark.parametrize("folder", BASES, ids=lambda folder: str(folder.relative_to(DEPLOY)))
def test_the_api_server_takes_what_a_kustomization_renders(prepared: Cluster, folder: Path) -> None:
    objects = rendered(folder, kubectl_path())
    assert taken(prepared, objects).count("serverside-applied") == len(objects)


@pytest.mark.parametrize(("base", "component"), COMPONENTS, ids=lambda name: name.replace("/", "-"))
def test_the_api_server_takes_every_component(prepared: Cluster, tmp_path: Path, base: str, component: str) -> None:
    here = os.path.relpath(DEPLOY, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{here}/{base}]\ncomponents: [{here}/{component}]\n")
    objects = rendered(tmp_path, kubectl_path())
    alone = {kind_and_name(found) for found in rendered(DEPLOY / base, kubectl_path())}
    assert {kind_and_name(found) for found in objects} >= alone
    assert taken(prepared, objects).count("serverside-applied") == len(objects)


def test_every_component_is_tried() -> None:
    components = {
        str(path.parent.relative_to(DEPLOY))
        for path in files()
        if path.name == "kustomization.yaml" and documents(path)[0]["kind"] == "Component"
    }
    assert components == {component for _, component in COMPONENTS}


def test_the_example_registers_the_users_image_in_the_hosts_own_form(prepared: Cluster) -> None:
    objects = rendered(DEPLOY / "examples" / "step-plugin", kubectl_path())
    (registered,) = [found for found in objects if found["kind"] == "ConfigMap"]
    assert objections(registered) == []
    ours = container(manifest("step-plugin/configmap.yaml"))
    assert container(registered) == ours | {"image": f"registry.example.com/{ours['image']}"}
    assert registered["metadata"]["namespace"] == "kargo-system-resources"


@pytest.mark.parametrize("side", ["step-plugin", "service"])
def test_a_copy_of_an_example_renders_where_the_documentation_puts_it(
    prepared: Cluster, tmp_path: Path, side: str
) -> None:
    assert "to a folder of yours beside it, in `deploy/examples`" in (DEPLOY.parent / "docs" / "install.md").read_text()
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    mine = shutil.copytree(DEPLOY / "examples" / side, tmp_path / "deploy" / "examples" / "mine")
    assert rendered(mine, kubectl_path()) == rendered(DEPLOY / "examples" / side, kubectl_path())


def admitted(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> None:
    """:raises Forbidden: Pod Security refuses it."""
    pod = {"metadata": {"name": "tried"}, "spec": spec}
    cluster.admin.create(f"/api/v1/namespaces/{namespace}/pods", pod, {"dryRun": "All", "fieldValidation": "Strict"})


@pytest.mark.parametrize("side", ["service", "port", "cancel-on-abort"])
def test_pods_are_admitted_to_their_own_restricted_namespace(prepared: Cluster, side: str) -> None:
    apply(prepared, manifest(f"{side}/namespace.yaml"))
    namespace = manifest(f"{side}/namespace.yaml")["metadata"]["name"]
    admitted(prepared, namespace, manifest(f"{side}/deployment.yaml")["spec"]["template"]["spec"])


def test_the_cron_job_s_pods_are_admitted_as_well(prepared: Cluster) -> None:
    apply(prepared, manifest("port/namespace.yaml"))
    job = manifest("port/prune/cronjob.yaml")["spec"]["jobTemplate"]["spec"]
    admitted(prepared, "gha-step-port", job["template"]["spec"])


def test_each_component_for_port_changes_the_settings_that_it_is_for(prepared: Cluster, tmp_path: Path) -> None:
    here = os.path.relpath(DEPLOY / "port", tmp_path)
    names = ("kafka", "webhook", "git-credentials", "service-monitor", "alarms")
    components = ", ".join(f"{here}/{name}" for name in names)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{here}]\ncomponents: [{components}]\n")
    objects = rendered(tmp_path, kubectl_path())
    (deployment,) = [found for found in objects if found["kind"] == "Deployment"]
    settings = pod_settings(deployment["spec"]["template"]["spec"]["containers"][0])
    assert settings["GHA_STEP_PORTIO"] == "claims,kafka"
    assert settings["GHA_STEP_PORTIO_GITHUB_SECRET"] == "git"
    assert settings["GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE"] == "/var/run/github-webhook/secret"
    Settings.parse(settings)
    (rules,) = [found for found in objects if found["kind"] == "PrometheusRule"]
    assert rules["metadata"]["namespace"] == "gha-step-port"


def test_the_service_s_webhook_has_the_settings_that_refresh_promotions(prepared: Cluster, tmp_path: Path) -> None:
    here = os.path.relpath(DEPLOY / "service", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{here}]\ncomponents: [{here}/webhook]\n")
    objects = rendered(tmp_path, kubectl_path())
    (deployment,) = [found for found in objects if found["kind"] == "Deployment"]
    settings = Settings.parse(pod_settings(deployment["spec"]["template"]["spec"]["containers"][0]))
    assert settings.kargo_refresh
    assert settings.github_webhook_secret_file == "/var/run/github-webhook/secret"


def test_the_sidecar_is_admitted_to_a_restricted_namespace(prepared: Cluster) -> None:
    namespace = prepared.namespace()
    prepared.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    admitted(prepared, namespace, {"containers": [container(manifest("step-plugin/configmap.yaml"))]})
