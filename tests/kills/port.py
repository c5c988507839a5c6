"""A stream of presses at an emulated Port while the server is killed again and again; then everything has to end.

What Port is told is judged against what the emulated GitHub really has: never two runs for one press, no run of Port's
that stays open, and no end that is not true.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gha_step.emulator import Delay, GitHub, Reset, Run, serve
from gha_step.emulator.api import OperationName as GitHubOperation
from gha_step.emulator.port import (
    EXAMPLE_CLIENT_ID,
    Action,
    ActionRun,
    Kafka,
    NodeRun,
    OperationName,
    Port,
    example,
    kafka_message,
)
from gha_step.emulator.webhook import delivering
from gha_step.ledger.reading import FileReader, Query
from gha_step.ledger.record import Record, State
from tests.support.github import NAMED, PLAIN, WORKFLOW
from tests.support.kafka import Topic
from tests.support.port import PROJECT, port_secrets
from tests.support.ports import free_port
from tests.support.process import SERVE, Served

SETTINGS: Final = {
    "GHA_STEP_PORTIO": "claims",
    "GHA_STEP_PORTIO_PROJECT": PROJECT,
    "GHA_STEP_PORTIO_POLL": "1s",
    "GHA_STEP_PORTIO_VISIBILITY": "4s",
    "GHA_STEP_PORTIO_TIMEOUT": "1s",
    "GHA_STEP_PORTIO_UNKNOWN": "1s",
    "GHA_STEP_TOKEN_FILE": "off",
    "GHA_STEP_SETTLE": "0s",
    "GHA_STEP_LOG_LEVEL": "info",
}
BY_SHORT_SESSIONS: Final = ("tests.support.short_sessions",)  # else each kill takes 45 seconds
PORT_S: Final[tuple[OperationName, ...]] = ("claim", "ack", "get-run", "patch-run", "create-log", "claim-nodes")
GITHUB_S: Final[tuple[GitHubOperation, ...]] = ("dispatch", "dispatch", "get-run")
WEBHOOK_SECRET: Final = "webhook-secret-of-the-emulated-github"
ENDS_WITHIN: Final = 240.0  # seconds after the last kill; a look may be a minute away
WORKFLOWS: Final = {
    "named.yml": (NAMED, "success"),
    "plain.yml": (PLAIN, "success"),
    "failing.yml": (NAMED, "failure"),
}


@dataclass
class PortCount:
    """What happened."""

    kills: int = 0
    presses: int = 0
    moments: Counter[str] = field(default_factory=Counter)  # where kills landed, by the newest press
    ends: Counter[str] = field(default_factory=Counter)
    double: list[str] = field(default_factory=list)
    stranded: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        return [*self.double, *self.stranded, *self.untrue]


class PortStream:
    """One ledger, one server process after another, and runs that are pressed meanwhile."""

    def __init__(
        self,
        folder: Path,
        github: GitHub,
        github_url: str,
        port: Port,
        port_url: str,
        seed: int,
        topic: Topic | None = None,
        webhook: tuple[str, Path] | None = None,
    ) -> None:
        """``topic``: runs come over it, not by claims. ``webhook``: where its deliveries arrive, and their secret."""
        self.github = github
        self.topic = topic
        self.port = port
        self.count = PortCount()
        self.dice = random.Random(seed)
        self.pressed: list[ActionRun | NodeRun] = []
        self._folder = folder
        self._settings = SETTINGS | {"GHA_STEP_PORTIO_API": port_url}
        if webhook is not None:
            listen, secret = webhook
            self._settings |= {
                "GHA_STEP_HTTP_LISTEN": listen,
                "GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE": str(secret),
            }
        self._program: tuple[str, ...] = SERVE
        if topic is not None:
            login, self._program = topic.login, BY_SHORT_SESSIONS
            port.kafka = Kafka(login.brokers, login.username, login.password)
            self._settings |= {
                "GHA_STEP_PORTIO": "kafka",
                "GHA_STEP_PORTIO_KAFKA_TOPIC": topic.topic,
                "GHA_STEP_PORTIO_KAFKA_GROUP": topic.topic,
                "GHA_STEP_PORTIO_KAFKA_SECURITY": login.security,
                "GHA_STEP_PORTIO_KAFKA_CA": login.ca,
            }
        port_secrets(folder / "secrets", github_url)
        repository = github.repository("myorg/my-app")
        for name, (title, conclusion) in WORKFLOWS.items():
            text = WORKFLOW.format(title=title)
            repository.add_workflow(name, text, queued_for=0.2, runs_for=1.0, conclusion=conclusion)
        self.server = self._serve()

    def _serve(self) -> Served:
        return Served(self._folder, self._settings, self._program)

    def close(self) -> None:
        self.server.kill()

    def play(self, kills: int) -> None:
        """Press and kill so often, then wait for the end of all and judge."""
        for _ in range(kills):
            self._trouble()
            for _ in range(self.dice.choice((1, 1, 2, 3))):
                self._press()
            self._wait_for_a_moment()
            self._kill()
        self.github.faults.clear()
        self.port.faults.clear()
        self._await_the_end()
        self._judge()

    # ---------------------------------------------------------------- what happens

    def _press(self) -> None:
        dice, number = self.dice, len(self.pressed)
        workflow = dice.choice(("named.yml", "named.yml", "named.yml", "plain.yml", "failing.yml"))
        action = Action(
            f"a{dice.randrange(4)}",
            "INTEGRATION_ACTION" if self.topic is None else "GITHUB",
            workflow=workflow,
            report=dice.choice((None, True, True, "true")),
        )
        # The emulated Port evaluates no templates: the ID of the next run is known to who gives the IDs.
        node = self.topic is None and dice.random() < 0.2
        name = f"{'wfnr' if node else 'r'}_{next_id(number)}"
        inputs: dict[str, Any] = {"image_tag": f"tag-{number}", "promotion": name}
        pressed = self.port.start_node(action, inputs) if node else self.port.press(action, inputs)
        assert pressed.id == name
        self.pressed.append(pressed)
        self.count.presses += 1
        if self.topic is not None:
            assert isinstance(pressed, ActionRun)
            message = kafka_message(self.port, pressed, self.port.credentials[EXAMPLE_CLIENT_ID])
            for value in (message, *dice.choice(((), (), (b"{",), (message,)))):  # a broken one, or the same again
                self.topic.send(value)

    def _trouble(self) -> None:
        """Delays, in which a kill may land, and answers that get lost, at any request."""
        dice = self.dice
        for _ in range(dice.choice((0, 1, 2))):
            delay = Delay(dice.uniform(0.05, 0.8), dice.choice(("before", "after")))
            if dice.random() < 0.5:
                self.port.faults.add(delay, dice.choice(PORT_S))
            else:
                self.github.faults.add(delay, dice.choice(GITHUB_S))
        if dice.random() < 0.3:
            self.port.faults.add(Reset(dice.choice(("before", "after"))), dice.choice(PORT_S))
        if dice.random() < 0.1:
            self.github.faults.add(Reset("after"), "dispatch")

    def _wait_for_a_moment(self) -> None:
        """Just after the next change of what happens to the newest press, or anywhere."""
        newest, dice = self.pressed[-1], self.dice
        claims = ("claimed", "acked") if self.topic is None else ()
        aim = dice.choice((*claims, "posted", "linked", "ended", "any", "any"))
        reached: dict[str, Callable[[], bool]] = {
            "claimed": lambda: newest.claims > 0,
            "posted": lambda: self._posts(newest) > 0,
            "acked": lambda: bool(newest.acked_by),
            "linked": lambda: bool(newest.patches),
            "ended": lambda: newest.ended,
            "any": lambda: True,
        }
        # A topic is read on once the group has given up the member that was killed.
        deadline = time.monotonic() + (15.0 if self.topic is None else 60.0)
        while not reached[aim]() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(dice.uniform(0.0, 2.0 if aim == "any" else 0.05))

    def _kill(self) -> None:
        self.server.kill()
        self.count.kills += 1
        self.count.moments[self._moment(self.pressed[-1])] += 1
        time.sleep(self.dice.choice((0.0, 0.0, self.dice.uniform(0.0, 2.0))))
        self.server = self._serve()

    def _moment(self, newest: ActionRun | NodeRun) -> str:
        record = self.records().get(newest.id)
        if record is None:
            return "claimed, not recorded" if newest.claims else "not recorded"
        report = record.report
        assert report is not None
        if record.state in (State.RESERVED, State.SENDING):
            return f"{record.state}"
        if report.ack == "open":
            return f"{record.state}, {'ack sent' if newest.acked_by else 'not acknowledged'}"
        if report.closed:
            return "reported"
        told = "ended at Port, not known to us" if newest.ended else "linked" if report.linked else "acknowledged"
        return f"{record.state}, {told}"

    def records(self) -> dict[str, Record]:
        """As they stand on the disk, by the run's ID, whether or not a server runs."""
        reader = FileReader(self.server.ledger)
        records = list(reader.newest(Query(), 0, None))
        unreadable = reader.unreadable
        assert not unreadable
        return {record.alias: record for record in records}

    def _await_the_end(self) -> None:
        deadline = time.monotonic() + ENDS_WITHIN
        while time.monotonic() < deadline:
            told = all(one.ended for one in self.pressed) and not any(one.owes for one in self.records().values())
            if told and (self.topic is None or self.topic.committed(group=self.topic.topic) == self.topic.end):
                return
            time.sleep(0.25)

    # ---------------------------------------------------------------- what must hold

    def _posts(self, pressed: ActionRun | NodeRun) -> int:
        mark = f'"{pressed.properties["image_tag"]}"'.encode()
        return sum(one.operation == "dispatch" and mark in one.body for one in list(self.github.log)[-40:])

    def _runs(self, pressed: ActionRun | NodeRun) -> list[Run]:
        return [run for run in self.github.runs if run.inputs.get("image_tag") == pressed.properties["image_tag"]]

    def _judge(self) -> None:
        records = self.records()
        for pressed in self.pressed:
            runs, record = self._runs(pressed), records.get(pressed.id)
            told = f"{pressed.id}: {pressed!r}, its record: {record!r}, GitHub holds {runs}"
            if len(runs) > 1:
                self.count.double.append(told)
            if not pressed.ended or record is None or record.owes:
                self.count.stranded.append(told)
            elif (end := _true_end(pressed, runs)) is None:
                self.count.untrue.append(told)
            else:
                self.count.ends[end] += 1
        if self.topic is not None and (far := self.topic.committed(group=self.topic.topic)) != self.topic.end:
            self.count.stranded.append(f"{self.topic.topic} is committed up to {far} of {self.topic.end}")


def _true_end(pressed: ActionRun | NodeRun, runs: list[Run]) -> str | None:
    """How it ended; ``None``: what Port was told is not true."""
    good = pressed.status == "SUCCESS" if isinstance(pressed, ActionRun) else pressed.result == "SUCCESS"
    links = pressed.links if isinstance(pressed, NodeRun) else [str(pressed.link)]
    if pressed.label == "not dispatched":
        return None if good or runs else "not dispatched"
    if pressed.label == "unknown":
        return None if good else f"unknown, and {'it runs' if runs else 'it never started'}"
    if len(runs) != 1 or not any(link.endswith(f"/{runs[0].id}") for link in links):
        return None
    return ("success" if good else "failure") if (runs[0].conclusion == "success") is good else None


def next_id(number: int) -> str:
    """The 16 letters of a run's ID."""
    return f"{number:016d}"


@contextmanager
def port_stream(folder: Path, seed: int, topic: Topic | None = None, *, waking: bool = False) -> Iterator[PortStream]:
    """Such a stream, on a GitHub that names the runs. ``topic``: runs come over it. ``waking``: GitHub's webhook is on.

    Deliveries go on while the server is down, and are lost then.
    """
    numbers = itertools.count()
    github, port = GitHub(), example(Port(new_id=lambda: next_id(next(numbers))))
    with serve(github) as github_url, serve(port) as port_url:
        webhook = (f"127.0.0.1:{free_port()}", folder / "webhook") if waking else None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "webhook").write_text(WEBHOOK_SECRET)
        stream = PortStream(folder, github, github_url, port, port_url, seed, topic, webhook)
        to = None if webhook is None else f"http://{webhook[0]}/github/webhook"
        with ExitStack() as stack:
            answers = None if to is None else stack.enter_context(delivering(github, to, WEBHOOK_SECRET))
            try:
                yield stream
            finally:
                stream.close()
        assert answers is None or 202 in answers, f"no delivery was taken: {Counter(answers)}"
