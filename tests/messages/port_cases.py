"""Each mistake in a Port action, as the Port run is told of it: `not dispatched`, and these words."""

from collections.abc import Mapping
from typing import Any, Final

from gha_step.inbound.port.messages import Unusable, of_claimed_run
from gha_step.inbound.port.reports import RunAtPort, not_dispatched
from gha_step.inbound.port.wire_json import read_json

PROPERTIES: Final[Mapping[str, Any]] = {"org": "my-org", "repo": "my-app", "workflow": "deploy.yml"}
PLAIN: Final = {"image_tag": "v1"}

CASES: Final[Mapping[str, Mapping[str, Any]]] = {
    "repo missing": {"repo": None},
    "workflow missing": {"workflow": ""},
    "repo with a slash": {"repo": "my-org/my-app"},
    "workflow with its folder": {"workflow": ".github/workflows/deploy.yml"},
    "workflowInputs is not an object": {"workflowInputs": "image_tag=v1"},
    "ref is not a string": {"workflowInputs": {"ref": ["main"]}},
    "reportWorkflowStatus is neither true nor false": {"reportWorkflowStatus": "yes"},
    "too many inputs": {"workflowInputs": {f"input_{number}": "x" for number in range(26)}},
    "inputs too long": {"workflowInputs": {"text": "x" * 66_000}},
}


def tell(changes: Mapping[str, Any]) -> str:
    """The words of one case."""
    return words(of_claimed_run(claimed(changes)))


def tell_of_another_type() -> str:
    """Those of an action of another type."""
    value = claimed({})
    value["payload"]["integrationActionType"] = "create_pull_request"
    return words(of_claimed_run(value))


def claimed(changes: Mapping[str, Any]) -> Any:
    """A claimed run with these properties."""
    from gha_step.contract.json_text import compact_json

    payload = {
        "type": "INTEGRATION_ACTION",
        "integrationActionType": "dispatch_workflow",
        "integrationActionExecutionProperties": {"workflowInputs": PLAIN, **PROPERTIES, **changes},
    }
    return read_json(
        compact_json({"id": "r_0123456789abcdef", "action": {"identifier": "deploy"}, "payload": payload}).encode()
    )


def words(run: object) -> str:
    """As the Port run's log has them."""
    assert isinstance(run, Unusable), run
    return not_dispatched(RunAtPort("IN_PROGRESS"), run.problem).line.message


def rows() -> list[tuple[str, str]]:
    """Mistakes, and what the run says."""
    return [
        *((mistake, tell(changes)) for mistake, changes in CASES.items()),
        ("another type of action", tell_of_another_type()),
    ]
