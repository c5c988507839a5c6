"""A Port to try things on: `gha-step emulate-port` and the tests use it.

It is an independent judge: it imports nothing else of gha_step but the emulator's own wire and faults, and holds what
Port does as far as Port tells: its published API description, and what its own integration and agent rely on. What
neither tells is marked as a guess.

    port = example()                      # credentials, the installation gha-step, the action `deploy`; Port(): empty
    with serve(port) as url:              # gha_step.emulator.serve
        …
    run = port.press("deploy", {"environment": "prod"})  # somebody presses the button: run.id
    port.press(Action("x", invocation="GITHUB"))         # nobody may claim it; kafka_message(port, run) is its message
    node = port.start_node(Action("deploy"))             # a node of a Port workflow
    assert run.status == "SUCCESS" and run.link and run.claims == 1
    assert run.patches_by(EXAMPLE_CLIENT_ID) == 2        # PATCHes that were taken, each with its body in run.patches
    assert port.count("claim") == 1                      # requests received; port.log has each, without its secrets

At any time:

    port.set_status(run, "FAILURE")                      # a person ends it by hand
    port.press(Action("y", requires_approval=True)); port.approve(run); port.decline(run)
    port.workflow_patches(run, link="…", summary="…", status="SUCCESS")  # a PATCH_RUN step inside the workflow
    port.workflow_patches_node(node, output={"image": "x"})
    port.add_credentials("id", "secret", machine=False)  # a person's own
    port.revoke_token(port.credentials["id"])
    port.read_lag = 1.0                                  # reads and listings show what was a second ago
    port.limit_rate(60, "patch-run")                     # 429 for a minute
    port.ended_status = 409; port.reset = "epoch"; port.node_routes = "described"

Faults are `gha_step.emulator.faults`, by `port.faults.add(Reset("after"), "ack")`: the names are `api.OperationName`'s.
"""

from gha_step.emulator.receiver import Logged

from .api import OperationName
from .bodies import Refusal
from .kafka_message import kafka_message
from .port import AUTHENTICATED, PERIOD, UNAUTHENTICATED, Port
from .state import (
    A_PERSON,
    EXTERNAL,
    Action,
    ActionRun,
    Credentials,
    Installation,
    Kafka,
    LogLine,
    NodeRun,
    Patch,
)

EXAMPLE_CLIENT_ID = "emulator-client"
EXAMPLE_CLIENT_SECRET = "emulator-client-secret-of-32-byte"  # noqa: S105 - it opens nothing but this emulator
EXAMPLE_INSTALLATION = "gha-step"
EXAMPLE_ACTION = "deploy"


def example(port: Port | None = None) -> Port:
    """A Port with machine credentials, an installation and an action for the emulated GitHub's example workflow."""
    port = port or Port()
    port.add_credentials(EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET)
    port.register(EXAMPLE_INSTALLATION)
    port.actions[EXAMPLE_ACTION] = Action(EXAMPLE_ACTION, installation_id=EXAMPLE_INSTALLATION)
    return port


__all__ = [
    "AUTHENTICATED",
    "A_PERSON",
    "EXAMPLE_ACTION",
    "EXAMPLE_CLIENT_ID",
    "EXAMPLE_CLIENT_SECRET",
    "EXAMPLE_INSTALLATION",
    "EXTERNAL",
    "PERIOD",
    "UNAUTHENTICATED",
    "Action",
    "ActionRun",
    "Credentials",
    "Installation",
    "Kafka",
    "LogLine",
    "Logged",
    "NodeRun",
    "OperationName",
    "Patch",
    "Port",
    "Refusal",
    "example",
    "kafka_message",
]
