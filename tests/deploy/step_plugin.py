"""What a Kargo with step plugins takes as a registration: its rules, as strict as it applies them.

Source: facts, kargo-host A "Registration" and "The pod"; Kubernetes' reference of a container. It knows no file.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from tests.deploy.manifests import Strict

LABEL: Final = ("kargo-extended.code.org/configmap-type", "StepPlugin")
SUFFIX: Final = "-step-plugin"
KEYS: Final = frozenset({"sidecar.automountServiceAccountToken", "sidecar.container", "steps.yaml"})
STEP_FIELDS: Final = frozenset({"kind", "defaultTimeout", "defaultErrorThreshold"})
DURATION: Final = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")

# The parts of a container, and of what lies in it, that Kubernetes knows; `...` for what is not looked into.
_ACTION: Final = {"exec": ..., "httpGet": ..., "tcpSocket": ..., "grpc": ...}
_HTTP: Final = {"path": ..., "port": ..., "host": ..., "scheme": ..., "httpHeaders": ...}
_PROBE: Final[dict[str, Any]] = _ACTION | {
    "httpGet": _HTTP,
    "initialDelaySeconds": int,
    "periodSeconds": int,
    "timeoutSeconds": int,
    "successThreshold": int,
    "failureThreshold": int,
    "terminationGracePeriodSeconds": int,
}
_FIELD: Final = {"fieldRef": {"apiVersion": str, "fieldPath": str}, "resourceFieldRef": ...}
CONTAINER: Final[dict[str, Any]] = {
    "name": str,
    "image": str,
    "imagePullPolicy": str,
    "command": [str],
    "args": [str],
    "workingDir": str,
    "ports": [{"name": str, "containerPort": int, "protocol": str, "hostIP": str, "hostPort": int}],
    "env": [
        {"name": str, "value": str, "valueFrom": _FIELD | {"secretKeyRef": ..., "configMapKeyRef": ...}},
    ],
    "envFrom": ...,
    "resources": {"requests": {"*": str}, "limits": {"*": str}, "claims": ...},
    "resizePolicy": ...,
    "restartPolicy": str,
    "volumeMounts": ...,
    "volumeDevices": ...,
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "lifecycle": ...,
    "terminationMessagePath": str,
    "terminationMessagePolicy": str,
    "securityContext": {
        "runAsNonRoot": bool,
        "runAsUser": int,
        "runAsGroup": int,
        "allowPrivilegeEscalation": bool,
        "privileged": bool,
        "readOnlyRootFilesystem": bool,
        "procMount": str,
        "capabilities": {"add": [str], "drop": [str]},
        "seccompProfile": {"type": str, "localhostProfile": str},
        "appArmorProfile": ...,
        "seLinuxOptions": ...,
        "windowsOptions": ...,
    },
    "stdin": bool,
    "stdinOnce": bool,
    "tty": bool,
}


def objections(configmap: Mapping[str, Any]) -> list[str]:
    """Why the host would refuse it, or not find it; empty if it takes it."""
    return list(_objections(configmap))


def container(configmap: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar."""
    found: dict[str, Any] = yaml.load(configmap["data"]["sidecar.container"], Loader=Strict)
    return found


def steps(configmap: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The registered steps."""
    found: list[dict[str, Any]] = yaml.load(configmap["data"]["steps.yaml"], Loader=Strict)
    return found


def _objections(configmap: Mapping[str, Any]) -> Iterator[str]:
    metadata, data = configmap["metadata"], configmap.get("data", {})
    if not metadata["name"].endswith(SUFFIX) or metadata["name"] == SUFFIX:
        yield f"metadata.name: is not …{SUFFIX}"
    if (metadata.get("labels") or {}).get(LABEL[0]) != LABEL[1]:
        yield f"metadata.labels: without {LABEL[0]} it is not seen"
    for key in sorted(KEYS ^ set(data)):
        yield f"data: {key} is {'missing' if key in KEYS else 'unknown'}"
    for key, value in data.items():
        if not isinstance(value, str):
            yield f"data.{key}: is no text"
    if KEYS - set(data) or not all(isinstance(value, str) for value in data.values()):
        return
    if data["sidecar.automountServiceAccountToken"] not in ("true", "false"):
        yield "sidecar.automountServiceAccountToken: is neither true nor false"
    try:
        sidecar, registered = container(configmap), steps(configmap)
    except yaml.YAMLError as error:
        yield f"no YAML: {error}"
        return
    yield from _mismatches(sidecar, CONTAINER, "sidecar.container")
    if isinstance(sidecar, dict):
        yield from _of_container(sidecar)
    yield from _of_steps(registered)


def _of_container(sidecar: Mapping[str, Any]) -> Iterator[str]:
    if not sidecar.get("ports"):
        yield "sidecar.container: at least one port is mandatory"
    for part in ("requests", "limits"):
        if (sidecar.get("resources") or {}).get(part) is None:
            yield f"sidecar.container: resources.{part} is mandatory"
    if sidecar.get("securityContext") is None:
        yield "sidecar.container: securityContext is mandatory"


def _of_steps(registered: Any) -> Iterator[str]:
    if not isinstance(registered, list) or not registered:
        yield "steps.yaml: at least one step is mandatory"
        return
    for step in registered:
        if not isinstance(step, dict):
            yield "steps.yaml: a step is no mapping"
            continue
        for name in sorted(set(step) - STEP_FIELDS):
            yield f"steps.yaml: {name} is unknown"
        if not isinstance(step.get("kind"), str) or not step["kind"].strip():
            yield "steps.yaml: kind is mandatory"
        timeout = step.get("defaultTimeout", "1m")
        if not isinstance(timeout, str) or not DURATION.fullmatch(timeout):
            yield f"steps.yaml: defaultTimeout {timeout!r} is no Go duration in text"
        threshold = step.get("defaultErrorThreshold", 1)
        if type(threshold) is not int or threshold < 0:
            yield f"steps.yaml: defaultErrorThreshold {threshold!r} is no count"
    kinds = [step.get("kind") for step in registered if isinstance(step, dict)]
    if len(set(kinds)) != len(kinds):
        yield "steps.yaml: a kind is duplicated"


def _mismatches(value: Any, shape: Any, path: str) -> Iterator[str]:
    """Where a value is not of a shape: unknown fields and wrong types, as a strict decoder refuses them."""
    match shape:
        case type():
            if type(value) is not shape:
                yield f"{path}: is {value!r}, not of type {shape.__name__}"
        case list():
            if not isinstance(value, list):
                yield f"{path}: is no list"
                return
            for index, item in enumerate(value):
                yield from _mismatches(item, shape[0], f"{path}[{index}]")
        case dict():
            if not isinstance(value, dict):
                yield f"{path}: is no mapping"
                return
            for name, inner in value.items():
                known = shape.get(name, shape.get("*"))
                if known is None:
                    yield f"{path}.{name}: is unknown"
                elif known is not ...:
                    yield from _mismatches(inner, known, f"{path}.{name}")
