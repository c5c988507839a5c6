"""From a message of Port's topic to the end that Port is told, over librdkafka's mock cluster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gha_step.emulator import GitHub
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET, Action, ActionRun, Port, kafka_message
from gha_step.settings import Settings
from gha_step.wiring.server import StartError, build
from tests.support.clock import LONG, eventually
from tests.support.kafka import Topic, mock_cluster
from tests.support.process import clean_environment

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


LOADED = """
import sys
from gha_step.settings import Settings
from gha_step.wiring.server import build
build(Settings.parse({"GHA_STEP_HTTP_LISTEN": "127.0.0.1:0", "GHA_STEP_TOKEN_FILE": "none", "GHA_STEP_SECRETS": "dir:.",
    "GHA_STEP_LEDGER": "sqlite:ledger.db", "GHA_STEP_PORTIO": "claims", "GHA_STEP_PORTIO_PROJECT": "p"}), {})
print([name for name in sys.modules if name.split(".")[0] == "confluent_kafka"])
"""


def test_where_kafka_is_off_nothing_of_it_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_an_authority_that_is_no_file_stops_the_start_by_name(tmp_path: Path) -> None:
    environment = {
        "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
        "GHA_STEP_TOKEN_FILE": "none",
        "GHA_STEP_SECRETS": f"dir:{tmp_path}",
        "GHA_STEP_LEDGER": f"sqlite:{tmp_path / 'ledger.db'}",
        "GHA_STEP_PORTIO": "kafka",
        "GHA_STEP_PORTIO_PROJECT": "p",
        "GHA_STEP_PORTIO_KAFKA_CA": "/does/not/exist.pem",
    }
    with pytest.raises(StartError, match=r"GHA_STEP_PORTIO_KAFKA_CA: /does/not/exist\.pem is not a file"):
        build(Settings.parse(environment), {})
