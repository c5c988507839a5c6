"""The registration is one that the host takes: an invalid one errors every Promotion in its reach."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from gha_step.contract.duration import parse_duration
from gha_step.settings import Settings
from gha_step.steps.cancel import config as cancel_workflow
from gha_step.steps.dispatch import config as dispatch_workflow
from gha_step.steps.wait import config as wait_for_workflow
from tests.deploy.manifests import PORT, Manifest, manifest, pod_settings
from tests.deploy.step_plugin import container, objections, steps
from tests.support.rows import each_row

BASE = "step-plugin/configmap.yaml"
USER_1000 = "step-plugin/kargo-user-1000/configmap.yaml"


def merged(patch: Manifest) -> Manifest:
    """The ConfigMap with a strategic merge patch's data."""
    whole = copy.deepcopy(manifest(BASE))
    whole["data"] |= patch["data"]
    return whole


@pytest.mark.parametrize("whole", [manifest(BASE), merged(manifest(USER_1000))], ids=["base", "kargo-user-1000"])
def test_the_host_takes_it(whole: Manifest) -> None:
    assert objections(whole) == []


Spoil = Callable[[dict[str, Any]], None]


def in_container(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(configmap: dict[str, Any]) -> None:
        sidecar = container(configmap)
        change(sidecar)
        configmap["data"]["sidecar.container"] = yaml.safe_dump(sidecar)

    return spoil


def in_steps(change: Callable[[list[dict[str, Any]]], object]) -> Spoil:
    def spoil(configmap: dict[str, Any]) -> None:
        registered = steps(configmap)
        change(registered)
        configmap["data"]["steps.yaml"] = yaml.safe_dump(registered)

    return spoil


def in_data(key: str, value: object) -> Spoil:
    return lambda configmap: configmap["data"].update({key: value})


SPOILED: dict[str, tuple[Spoil, str]] = {
    "name without the suffix": (lambda c: c["metadata"].update(name="gha-step"), "metadata.name"),
    "label missing": (lambda c: c["metadata"].pop("labels"), "metadata.labels"),
    "a key missing": (lambda c: c["data"].pop("steps.yaml"), "steps.yaml is missing"),
    "a key more": (in_data("sidecar.image", "x"), "sidecar.image is unknown"),
    "a value no text": (in_data("sidecar.automountServiceAccountToken", True), "is no text"),
    "automount neither": (in_data("sidecar.automountServiceAccountToken", "yes"), "neither true nor false"),
    "no port": (in_container(lambda s: s.pop("ports")), "at least one port"),
    "an empty list of ports": (in_container(lambda s: s.update(ports=[])), "at least one port"),
    "a port as text": (in_container(lambda s: s["ports"][0].update(containerPort="9790")), "not of type int"),
    "no requests": (in_container(lambda s: s["resources"].pop("requests")), "resources.requests"),
    "no limits": (in_container(lambda s: s["resources"].pop("limits")), "resources.limits"),
    "no security context": (in_container(lambda s: s.pop("securityContext")), "securityContext is mandatory"),
    "an unknown field": (in_container(lambda s: s.update(volumes=[])), "volumes: is unknown"),
    "an unknown field deep inside": (
        in_container(lambda s: s["readinessProbe"]["httpGet"].update(uri="/")),
        "readinessProbe.httpGet.uri: is unknown",
    ),
    "a field of the pod": (in_container(lambda s: s["securityContext"].update(fsGroup=1)), "fsGroup: is unknown"),
    "a variable no text": (in_container(lambda s: s["env"][0].update(value=True)), "not of type str"),
    "a key twice": (in_data("sidecar.container", "name: a\nname: b\n"), "no YAML"),
    "no steps": (in_data("steps.yaml", "[]"), "at least one step"),
    "a step without a kind": (in_steps(lambda s: s[0].pop("kind")), "kind is mandatory"),
    "a kind twice": (in_steps(lambda s: s.append(s[0])), "duplicated"),
    "an unknown field of a step": (in_steps(lambda s: s[0].update(timeout="1m")), "timeout is unknown"),
    "a duration as a number": (in_steps(lambda s: s[0].update(defaultTimeout=600)), "no Go duration"),
    "a duration without a unit": (in_steps(lambda s: s[0].update(defaultTimeout="600")), "no Go duration"),
    "a threshold below zero": (in_steps(lambda s: s[0].update(defaultErrorThreshold=-1)), "is no count"),
}


@each_row("case", SPOILED)
def test_what_the_host_refuses_is_told(case: str) -> None:
    spoil, words = SPOILED[case]
    spoiled = copy.deepcopy(manifest(BASE))
    spoil(spoiled)
    assert any(words in objection for objection in objections(spoiled)), objections(spoiled)


def test_it_registers_all_steps_and_survives_two_lost_connections() -> None:
    registered = steps(manifest(BASE))
    assert {step["kind"] for step in registered} == {
        kind.KIND for kind in (dispatch_workflow, wait_for_workflow, cancel_workflow)
    }
    assert all(step["defaultErrorThreshold"] >= 3 for step in registered)


def test_the_host_waits_longer_for_a_dispatch_than_the_longest_timeout() -> None:
    (dispatch,) = [step for step in steps(manifest(BASE)) if step["kind"] == dispatch_workflow.KIND]
    assert parse_duration(dispatch["defaultTimeout"]) > 300 + 60, "300 s is the most that a step may ask for"


@pytest.mark.parametrize("whole", [manifest(BASE), merged(manifest(USER_1000))], ids=["base", "kargo-user-1000"])
def test_the_sidecar_may_be_in_a_namespace_of_pod_security_restricted(whole: Manifest) -> None:
    context = container(whole)["securityContext"]
    assert context["runAsNonRoot"] is context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_patch_for_images_that_developers_built_changes_the_user_and_nothing_else() -> None:
    ours, patched = (container(whole) for whole in (manifest(BASE), merged(manifest(USER_1000))))
    users = [
        (sidecar["securityContext"].pop("runAsUser"), sidecar["securityContext"].pop("runAsGroup"))
        for sidecar in (ours, patched)
    ]
    assert users == [(65532, 65532), (1000, 0)]
    assert ours == patched


def test_the_sidecar_starts_with_these_settings_and_is_probed_where_it_listens() -> None:
    sidecar = container(manifest(BASE))
    settings = Settings.parse(pod_settings(sidecar))
    assert settings.http_listen is not None
    assert settings.http_listen.port == PORT
    assert settings.ledger == "kubernetes"
    assert not settings.project_api, "a sidecar does not offer the REST resource"
    assert settings.token_file == "/var/run/kargo/token"
    assert [port["containerPort"] for port in sidecar["ports"]] == [PORT]
    assert sidecar["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": PORT}
    (pod_uid,) = [entry for entry in sidecar["env"] if entry["name"] == "GHA_STEP_POD_UID"]
    assert pod_uid["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert sidecar["args"] == ["serve"]


def test_the_image_is_the_first_quoted_text_so_that_a_replacement_can_name_another() -> None:
    for path in (BASE, USER_1000):
        assert manifest(path)["data"]["sidecar.container"].split('"')[1].startswith("gha-step:")
