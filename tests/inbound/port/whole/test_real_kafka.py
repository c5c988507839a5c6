"""The same over a real Kafka, with SASL_SSL and SCRAM-SHA-512: see `tests.support.real_kafka`."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from gha_step.emulator import GitHub
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Action, ActionRun, Kafka, Port, kafka_message
from tests.support.clock import LONG
from tests.support.kafka import Login, Topic
from tests.support.port import PortProcess
from tests.support.real_kafka import missing, real_kafka

from .conftest import Begin

pytestmark = pytest.mark.kafka
ACTION: Final = Action("deploy", invocation="GITHUB")
INPUTS: Final = {"environment": "prod", "image_tag": "1.10"}
TOPICS: Final = tuple(f"org_emulated.{name}" for name in ("right", "login", "authority"))


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    if absent := missing(os.environ):
        pytest.skip(absent)
    with real_kafka(tmp_path_factory.mktemp("kafka"), *TOPICS) as opened:
        yield opened


def reading(begin: Begin, port: Port, login: Login, topic: str, **changes: Any) -> PortProcess:
    port.kafka = Kafka(login.brokers, login.username, changes.pop("password", login.password))
    given = {"kafka_topic": topic, "kafka_group": topic, "kafka_ca": login.ca} | changes
    return begin(claims=False, kafka=True, **given)


def patiently(condition: Callable[[], object]) -> None:
    """A broker in Java takes long to get going, and on a busy machine a minute."""
    until = time.monotonic() + 4 * LONG
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


def press(port: Port, topic: Topic) -> ActionRun:
    run = port.press(ACTION, INPUTS)
    topic.send(kafka_message(port, run, port.credentials[EXAMPLE_CLIENT_ID]), at=port.clock())
    return run


def test_a_message_is_one_dispatch_and_ends_as_the_workflow_does(
    begin: Begin, port: Port, github: GitHub, login: Login
) -> None:
    topic = Topic(login, topic=TOPICS[0])
    process = reading(begin, port, login, topic.topic)
    pressed = press(port, topic)
    patiently(lambda: github.runs and pressed.link)
    github.runs[0].finish("failure")
    patiently(lambda: pressed.status == "FAILURE")
    patiently(lambda: topic.committed(group=topic.topic) == 1)
    assert github.count("dispatch") == 1
    assert not process.parts.refused
    process.stop()
    second = reading(begin, port, login, topic.topic)
    again = press(port, topic)
    patiently(lambda: again.link)
    assert github.count("dispatch") == 2
    second.stop()


def test_a_wrong_password_is_a_refusal_and_the_right_one_is_taken_as_soon_as_port_gives_it(
    begin: Begin, port: Port, github: GitHub, login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    topic = Topic(login, topic=TOPICS[1])
    process = reading(begin, port, login, topic.topic, password="an-old-password")
    patiently(lambda: process.parts.refused)
    assert "refuse the login" in caplog.text
    assert "an-old-password" not in caplog.text
    port.kafka = Kafka(login.brokers, login.username, login.password)
    pressed = press(port, topic)
    patiently(lambda: pressed.link)
    assert not process.parts.refused
    process.stop()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kafka_ca": ""}, "GHA_STEP_PORTIO_KAFKA_CA"),
        ({"kafka_topic": "org_emulated.nobody"}, "GHA_STEP_PORTIO_KAFKA_TOPIC"),
    ],
)
def test_what_is_refused_is_said_with_the_fix(
    begin: Begin, port: Port, login: Login, changes: dict[str, str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    process = reading(begin, port, login, TOPICS[2], **changes)
    patiently(lambda: process.parts.refused)
    assert words in caplog.text
    process.stop()
