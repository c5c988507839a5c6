"""From a message of Port's topic to the end that Port is told, over librdkafka's mock cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gha_step.emulator import GitHub
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET, Action, ActionRun, Port, kafka_message
from tests.support.clock import eventually
from tests.support.kafka import Topic, mock_cluster

from .conftest import Begin

ACTION = Action("deploy", invocation="GITHUB")
INPUTS = {"environment": "prod", "image_tag": "1.10"}


@pytest.fixture
def topic() -> Iterator[Topic]:
    with mock_cluster() as opened:
        yield opened


def reading(begin: Begin, topic: Topic) -> object:
    brokers = ",".join(topic.login.brokers)
    return begin(claims=False, kafka=True, kafka_brokers=brokers, kafka_security="PLAINTEXT", org_id="org_emulated")


def press(port: Port, topic: Topic, **changes: object) -> ActionRun:
    run = port.press(ACTION, INPUTS)
    signer = port.credentials[EXAMPLE_CLIENT_ID]
    assert signer.client_secret == EXAMPLE_CLIENT_SECRET
    topic.send(kafka_message(port, run, signer), at=port.clock())
    return run


def test_a_message_is_one_dispatch_ends_as_the_workflow_does_and_is_committed_whoever_reads_it_again(
    begin: Begin, port: Port, github: GitHub, topic: Topic, tmp_path: Path
) -> None:
    first = reading(begin, topic)
    pressed = press(port, topic)
    eventually(lambda: github.runs and pressed.link)
    github.runs[0].finish("success")
    eventually(lambda: pressed.status == "SUCCESS")
    eventually(lambda: topic.committed() == 1)
    assert github.runs[0].inputs == INPUTS
    assert pressed.patches_by(EXAMPLE_CLIENT_ID) == 2
    first.stop()  # type: ignore[attr-defined]
    again = port.press(ACTION, INPUTS)
    message = kafka_message(port, again, port.credentials[EXAMPLE_CLIENT_ID])
    for _ in range(3):
        topic.send(message, at=port.clock())
    second = reading(begin, topic)
    eventually(lambda: topic.committed() == 4)
    assert len(github.runs) == github.count("dispatch") == 2
    second.stop()  # type: ignore[attr-defined]
