"""Port: runs over claims and over Kafka, against the figures that Port's own backends had on the same load.

Those are docs/port.md's: GitHub Ocean and the port-agent ran against an emulated Port and GitHub of the same kind, each
in a process of its own. Port, GitHub, librdkafka's mock cluster and gha_step share this machine's cores here, all but
gha_step in one process.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

from gha_step.emulator import Delay, GitHub, Run, serve
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Action, ActionRun, example, kafka_message
from tests.support.github import PLAIN, WORKFLOW
from tests.support.kafka import Topic, mock_cluster
from tests.support.port import PROJECT, port_secrets
from tests.support.process import Served

from .table import spread, table

BURST: Final = 200  # runs
SLOW: Final = 0.05  # seconds that GitHub takes for a dispatch
STARTS: Final = 5  # rounds
PRESSES: Final = 20
END_WITHIN: Final = 180.0  # seconds
SHARED: Final = (
    "token",
    "get-integration",
    "create-integration",
    "claim",
    "claim-nodes",
    "list-runs",
    "kafka-credentials",
)
Way = Literal["claims", "kafka"]


class Figures(NamedTuple):
    """Of one way. Times are seconds, sizes MiB."""

    starts: Sequence[float]
    resident: float  # when ready
    after_one: float  # and after one dispatch
    rate: float  # dispatches a second, of a burst
    closed: float  # from the last run's end to the last report
    waits: Sequence[float]  # from a press to its dispatch
    asked: float  # requests to Port for each run, without those that runs share


def port_runs(folder: Path) -> None:
    """Starts, a burst, then presses one by one; over claims, then over Kafka."""
    claims, kafka = (_Port(folder / way, way).figures() for way in ("claims", "kafka"))
    both = (claims, kafka)
    table(
        f"Port, GitHub at {SLOW * 1000:.0f} ms (goals: start ≤ ¼ and memory ≤ ½ of Ocean's, ≥ 50 dispatches/s, reports "
        "within 60 s, press to dispatch ≤ 2 s over claims and ≤ 0.5 s over Kafka, ≤ 7 requests)",
        ["", "gha_step, claims", "gha_step, Kafka", "GitHub Ocean", "port-agent"],
        [
            ["start to ready, s", *(spread(one.starts, 1, 2) for one in both), "2.4–2.8", "2.1"],
            ["RSS at ready, MiB", *(f"{one.resident:.1f}" for one in both), "92–100", "50"],
            ["RSS after a dispatch, MiB", *(f"{one.after_one:.1f}" for one in both), "", ""],
            [f"burst of {BURST}: dispatches/s", *(f"{one.rate:.0f}" for one in both), "14.6–16.3", "7.9"],
            ["last report after the last run's end, s", *(f"{one.closed:.0f}" for one in both), "", ""],
            ["press to dispatch, s", *(spread(one.waits, 1, 2) for one in both), "6–11", "0.3"],
            ["Port requests per run, without claims", *(f"{one.asked:.1f}" for one in both), "5", "12"],
        ],
        "The others' figures are docs/port.md's, on the same load. Port, GitHub and Kafka share the measuring process.",
    )


class _Port:
    """Port, GitHub and gha_step between them, over one way."""

    def __init__(self, folder: Path, way: Way) -> None:
        self._folder = folder
        self._way = way
        self._github, self._port = GitHub(), example()
        self._topic: Topic | None = None
        repository = self._github.repository("myorg/my-app")
        repository.add_workflow("port.yml", WORKFLOW.format(title=PLAIN), queued_for=0.5, runs_for=6.0)
        self._github.faults.add(Delay(SLOW), "dispatch", times=None)

    def figures(self) -> Figures:
        with ExitStack() as stack:
            github_url, port_url = stack.enter_context(serve(self._github)), stack.enter_context(serve(self._port))
            port_secrets(self._folder / "secrets", github_url)
            settings = {
                "GHA_STEP_PORTIO": self._way,
                "GHA_STEP_PORTIO_API": port_url,
                "GHA_STEP_PORTIO_PROJECT": PROJECT,
                "GHA_STEP_TOKEN_FILE": "off",
                "GHA_STEP_LOG_LEVEL": "info",
            }
            if self._way == "kafka":
                self._topic = stack.enter_context(mock_cluster())
                settings |= {
                    "GHA_STEP_PORTIO_KAFKA_BROKERS": ",".join(self._topic.login.brokers),
                    "GHA_STEP_PORTIO_KAFKA_SECURITY": self._topic.login.security,
                    "GHA_STEP_PORTIO_ORG_ID": self._topic.topic.partition(".")[0],
                }
            starts = []
            for number in range(STARTS):  # each group of Kafka's consumers is its own: members that leave are missed
                with self._running(settings, number) as (seconds, _):
                    starts.append(seconds)
            with self._running(settings, STARTS) as (_, server):
                resident = _resident(server)
                self._await_all([self._press(0)])
                after_one = _resident(server)
                rate, closed = self._burst()
                before = self._own_requests()
                waits = self._presses()
                return Figures(
                    starts, resident, after_one, rate, closed, waits, (self._own_requests() - before) / PRESSES
                )

    @contextmanager
    def _running(self, settings: dict[str, str], number: int) -> Iterator[tuple[float, Served]]:
        """The server, and the seconds until it was ready."""
        begun = time.perf_counter()
        group = {"GHA_STEP_PORTIO_KAFKA_GROUP": f"org_emulated.{number}"}
        server = Served(self._folder, settings | group, fresh=True)
        try:
            while server.ask()[0] != 200:
                time.sleep(0.002)
            yield time.perf_counter() - begun, server
        finally:
            server.kill()

    def _own_requests(self) -> int:
        return self._port.count() - self._port.count(*SHARED)

    def _burst(self) -> tuple[float, float]:
        """Dispatches per second, first POST to last; and how long after the last run's end all were told."""
        before = len(self._github.runs)
        pressed = [self._press(number) for number in range(BURST)]
        self._await_all(pressed)
        told = time.time()
        posts = self._posts()[before:]
        assert len(posts) == len(self._github.runs) - before == BURST, f"{len(posts)} POSTs"
        assert Counter(one.status for one in pressed) == {"SUCCESS": BURST}
        last = max(_end(run) for run in self._github.runs)
        return (BURST - 1) / (max(posts) - min(posts)), told - last

    def _presses(self) -> list[float]:
        """Seconds from a press to its dispatch."""
        waits: list[float] = []
        pressed: list[ActionRun] = []
        before = len(self._github.runs)
        for number in range(PRESSES):
            time.sleep(1.0 + 0.37 * (number % 5))  # anywhere between two claims
            begun = time.time()
            pressed.append(self._press(BURST + number))
            _await(lambda: len(self._github.runs) == before + len(pressed))
            waits.append(max(self._posts()) - begun)
        self._await_all(pressed)
        assert {one.patches_by(EXAMPLE_CLIENT_ID) for one in pressed} == {2}
        return waits

    def _posts(self) -> list[float]:
        return [one.at for one in self._github.log if one.operation == "dispatch"]

    def _press(self, number: int) -> ActionRun:
        invocation: Literal["GITHUB", "INTEGRATION_ACTION"] = "INTEGRATION_ACTION" if self._topic is None else "GITHUB"
        action = Action(f"a{number % 5}", invocation=invocation, workflow="port.yml")
        run = self._port.press(action, {"image_tag": f"tag-{number}"})
        if self._topic is not None:
            message = kafka_message(self._port, run, self._port.credentials[EXAMPLE_CLIENT_ID])
            self._topic.send(message, partition=number % 4)
        return run

    def _await_all(self, pressed: Sequence[ActionRun]) -> None:
        _await(lambda: all(one.ended for one in pressed))


def _resident(server: Served) -> float:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    (size,) = (int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return size / 1024


def _end(run: Run) -> float:
    return run.created_at + 6.5


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_WITHIN
    while not condition():
        assert time.monotonic() < deadline, "the runs did not end"
        time.sleep(0.02)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gha-step-bench-") as name:
        port_runs(Path(name))
