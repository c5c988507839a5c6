"""What a host sends for Kargo's example, and what it reads of an answer."""

import json
from typing import Any

from gha_step.contract.result import StepResult

BEARER = "bearer-of-the-tests"


INPUTS = {"environment": "prod", "image_tag": "1.10"}


def config(**changes: Any) -> dict[str, Any]:
    """Kargo's example, with changes; a value of ``...`` leaves the key out."""
    whole: dict[str, Any] = {
        "credentials": {"secretName": "github"},
        "owner": "myorg",
        "repo": "my-app",
        "workflowFile": "deploy.yml",
        "ref": "main",
        "inputs": dict(INPUTS),
        "timeout": "1",
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


def body(step_config: Any = None, *, kind: str = "gha-dispatch-workflow", **context: Any) -> dict[str, Any]:
    """A call's body as a host sends it; ``context``: changes of the context, ``...`` leaves a key out."""
    whole: dict[str, Any] = {
        "project": "demo",
        "stage": "test",
        "promotion": "test.01abc.def5678",
        "promotionUID": "uid-1",
        "alias": "dispatch",
        "sharedState": {},
        "freight": {},
        "targetFreightRef": {},
    }
    whole.update(context)
    kept = {name: value for name, value in whole.items() if value is not ...}
    return {"context": kept, "step": {"kind": kind, "config": config() if step_config is None else step_config}}


def output(result: StepResult) -> dict[str, Any]:
    """``output`` as it goes over the wire."""
    decoded: dict[str, Any] = json.loads(result.to_wire())["output"]
    return decoded
