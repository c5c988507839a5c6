"""Schedules with Port as the host: presses come by claims or as messages, and every run must come to a true end.

The invariants are port.md's: never two runs for one press, no press stranded, nothing untrue told, nothing sent for
what was withdrawn long before, every claim acknowledged. Messages are taken by a few lines here, by the rules of
port.md; claims, and everything behind the intake, are the program's own.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gha_step.credentials.secrets import LabelledSecret
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Run
from gha_step.emulator import Request as EmulatedRequest
from gha_step.emulator import Response as EmulatedResponse
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET, Action, Port, Refusal, example
from gha_step.emulator.port.state import ActionRun, NodeRun
from gha_step.inbound.port.errors import PortError
from gha_step.inbound.port.intake import FRESH, Held, Press
from gha_step.inbound.port.messages import PortRun, Unusable
from gha_step.ledger.keys import step_key
from gha_step.ledger.record import Owner, Record, State
from gha_step.settings import Settings
from gha_step.telemetry import Telemetry
from gha_step.wiring.core import Core
from gha_step.wiring.port import PortParts

from .kernel import Kernel, Process
from .schedule import Broken
from .world import (
    EPOCH,
    ApiServer,
    Boundaries,
    Disk,
    Network,
    SimClock,
    SimConnector,
    SimStore,
    SimWorkers,
    Weather,
    Wire,
    _parse,
    _serialise,
)

PROJECT: Final = "port"
PORT_URL: Final = "http://127.0.0.1:2"
GITHUB_URL: Final = "http://127.0.0.1:1"
QUEUE: Final = 900.0
UNKNOWN: Final = 300.0
CALM_AFTER: Final = 900.0  # virtual seconds: from then on nothing goes wrong any more
STUCK_AFTER: Final = 9000.0  # virtual seconds: by then every press must have come to its end
NODES: Final = 0.3  # of what comes by claims, where Port serves the routes for nodes
UPLOADED: Final = {"url": "https://app.example.com"}
GOOD: Final = frozenset({"success", "skipped", "neutral"})
WORKFLOW: Final = """
name: Deploy
run-name: {title}
on:
  workflow_dispatch:
    inputs:
      tag: {{required: true}}
      run: {{}}
jobs: {{}}
"""


@dataclass
class Pressed:
    """One press, and what the schedule makes of it."""

    tag: str
    action: Action
    via: str
    at: float
    node: bool = False
    run: ActionRun | NodeRun | None = None
    own_end: str | None = None  # what the workflow itself tells Port, if it does
    own_end_after: float = 0.0
    withdrawn_at: float | None = None
    key: str = ""
    offset: int = -1
    told: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        return self.action.report is not False


class Secrets:
    """The two Secrets of the project."""

    def __init__(self) -> None:
        self._data = {
            "port-credentials": {"clientId": EXAMPLE_CLIENT_ID, "clientSecret": EXAMPLE_CLIENT_SECRET},
            "github-credentials": {"accessToken": EXAMPLE_TOKEN, "baseURL": GITHUB_URL},
        }

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        assert project == PROJECT
        return {key: value.encode() for key, value in self._data[name].items()}

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        yield from ()

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        return []


@dataclass
class Cell:
    """The follower's Lease."""

    holder: str = ""
    renewed: float = float("-inf")


class SimLeader:
    """As `LeaseLeader`, over a cell that all see at once."""

    def __init__(self, cell: Cell, name: str, clock: SimClock) -> None:
        self._cell = cell
        self._name = name
        self._clock = clock

    def leads(self) -> bool:
        return self._cell.holder == self._name and self._clock.monotonic() - self._cell.renewed < 10.0

    def run(self, stopped: Callable[[], bool]) -> None:
        while not stopped():
            now = self._clock.monotonic()
            if self._cell.holder == self._name or now - self._cell.renewed > 15.0:
                self._cell.holder, self._cell.renewed = self._name, now
            self._clock.sleep(8.0)


class PortNetwork:
    """Carries requests to the emulated Port, and loses what the schedule says."""

    def __init__(self, kernel: Kernel, port: Port, boundaries: Boundaries, trouble: float, patience: float) -> None:
        self.kernel = kernel
        self.patience = patience  # seconds for which a connection is kept that carries nothing
        self.port = port
        self.boundaries = boundaries
        self.trouble = trouble
        self.limited: tuple[float, float] = (0.0, 0.0)
        self.told: Callable[[EmulatedRequest, EmulatedResponse], None] = lambda request, response: None

    def request(self, wire: Wire, data: bytes) -> None:
        """A whole request has left the client."""
        dice = self.kernel.random
        request = _parse(data)
        there, back = dice.uniform(0.005, 0.2), dice.uniform(0.005, 0.2)
        fate = "answered"
        often = 4.0 if request.method == "PATCH" else 1.0  # acks and reports: there a loss does the most harm
        if self.boundaries.strikes(often * self.trouble):
            fate = dice.choice(
                (
                    "lost",
                    "lost after",
                    "reset before",
                    "reset after",
                    "503 before",
                    "503 after",
                    "429",
                    "slow",
                    "revoked",
                )
            )
        begin, end = self.limited
        if begin <= self.kernel.now < end:
            fate = "429"
        self.kernel.note(f"Port: {request.method} {request.path} {request.body[:200]!r}: {fate}")
        if fate == "slow":
            back += dice.choice((3.0, 12.0, 40.0))
        if fate == "revoked":
            self.port.revoke_token(next(iter(self.port.credentials.values())))

        wire.carried += 1
        carried = wire.carried

        def close() -> None:
            if wire.carried == carried:
                wire.deliver(closed=True)

        def answer(response: EmulatedResponse | None, **end: bool) -> None:
            content = b"" if response is None else _serialise(response)
            self.kernel.at(back, lambda: wire.deliver(content, **end))
            self.kernel.at(back + self.patience, close)

        def arrive() -> None:
            if fate == "lost" or wire.closed:  # idle for too long, and closed meanwhile
                return
            if fate == "429":
                wait = str(dice.choice((1, 30, 600)))
                answer(EmulatedResponse.of(429, {"ok": False, "error": "rate_limit"}, {"x-ratelimit-reset": wait}))
                return
            if fate.endswith("before"):
                if fate.startswith("503"):
                    answer(EmulatedResponse.of(503, {"ok": False, "error": "unavailable"}))
                else:
                    answer(None, reset=True)
                return
            response = self.port.handle(request)
            self.kernel.note(f"Port answers {response.status}")
            self.told(request, response)
            if fate == "lost after":
                return
            if fate == "reset after":
                answer(None, reset=True)
            elif fate == "503 after":
                answer(EmulatedResponse.of(503, {"ok": False, "error": "unavailable"}))
            else:
                answer(response)

        self.kernel.at(there, arrive)


class PortSchedule:
    """Everything that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.kernel = kernel = Kernel(seed)
        dice = kernel.random
        self.generation = dice.choice(("github.com", "github.com", "ghes-3.19", "ghes-3.21"))
        self.titles = dice.choice(("Deploy", "Deploy ${{ inputs.run }}"))
        self.replicas = dice.choice((1, 2, 2))
        chance = dice.choice((0.0, 0.002, 0.01, 0.03))
        self.weather = replace(
            Weather.drawn(dice, chance, gets=3),
            budget=dice.choice((0, 2, 4, 8, 16)),
            listing=dice.choice((1.0, 5.0, 20.0)),
        )
        self.weather.creation = dice.uniform(0.0, 0.6) * self.weather.listing
        self.boundaries = Boundaries(kernel, self.weather)
        self.github = self._github()
        self.network = Network(kernel, self.github, self.boundaries)
        self.port = example(
            Port(
                now=lambda: EPOCH + kernel.now,
                read_lag=dice.choice((0.0, 0.0, 1.0)),
                ended_status=dice.choice((422, 422, 409)),
                reset=dice.choice(("seconds", "epoch")),
                node_routes=dice.choice(("none", "none", "plain", "described")),
                new_id=lambda: f"{len(self.port.runs) + len(self.port.nodes) + 1:016d}",
            )
        )
        self.port_network = PortNetwork(
            kernel,
            self.port,
            self.boundaries,
            trouble=min(0.3, 4 * chance * dice.choice((0, 1, 3))),
            patience=dice.choice((0.0, 1.0, 75.0)),
        )
        self.port_network.told = self._told
        self.disk = Disk()
        self.cell = Cell()
        self.way = dice.choice(("claims", "claims", "kafka"))
        self.visibility = dice.choice((4.0, 30.0, 120.0))
        self.poll = dice.choice((10, 60, 60))  # mostly rare: claims that bring nothing would be most of the work
        self.cancel = dice.choice(("off", "on", "force"))
        self.pressed = [self._press(number) for number in range(dice.choice((1, 2, 3, 5)))]
        self.processes: list[tuple[Process, PortParts]] = []
        self._incarnations = 0
        self._nonces = 0
        self.topic: list[Pressed] = []
        self.committed = 0
        self.consumer: Process | None = None
        self._look_at = 0.0
        self.github_limited = dice.random() < 0.1
        if self.github_limited:  # up to fifty minutes
            begin = dice.uniform(0.0, 30.0)
            kernel.at(begin, lambda: self.github.limit_rate(dice.choice((60.0, 600.0, 3000.0))))
        if dice.random() < 0.15:
            begin = dice.uniform(0.0, 100.0)
            self.port_network.limited = (begin, begin + dice.choice((20.0, 300.0)))

    # ------------------------------------------------------------------ the world

    def _github(self) -> GitHub:
        dice, weather = self.kernel.random, self.weather
        github = GitHub(
            self.generation,
            example=False,
            now=lambda: EPOCH + self.kernel.now,
            creation_lag=lambda run: dice.uniform(0.0, weather.creation),
            listing_lag=lambda run: dice.uniform(0.0, weather.listing - weather.creation),
        )
        github.add_token(EXAMPLE_TOKEN)
        return github

    def _press(self, number: int) -> Pressed:
        dice = self.kernel.random
        if number == 0:
            self.github.add_repository("myorg/my-app")
        repository = self.github._repositories["myorg/my-app"]
        file = f"deploy{number if dice.random() < 0.7 else 0}.yml"
        if file not in [workflow.file_name for workflow in repository.workflows]:
            workflow = repository.add_workflow(
                file,
                WORKFLOW.format(title=self.titles),
                queued_for=dice.choice((0.5, 5.0, 60.0)),
                runs_for=dice.choice((1.0, 20.0, 300.0)),
                conclusion=dice.choice(("success", "success", "failure", "cancelled", "timed_out", "skipped")),
            )
            workflow.uploads = dice.choice((None, UPLOADED))
        node = self.way == "claims" and self.port.node_routes != "none" and dice.random() < NODES
        action = Action(
            f"action-{number}",
            invocation="INTEGRATION_ACTION" if self.way == "claims" else "GITHUB",
            integration_action=dice.choice(("dispatch_workflow",) * 9 + ("create_issue",)),
            workflow=dice.choice((file,) * 9 + ("missing.yml",)),
            inputs={"ref": dice.choice(("main", None))},
            report=dice.choice((None, None, True, False)),
            requires_approval=not node and dice.random() < 0.1,
        )
        own = dice.choice((None, None, None, "SUCCESS", "FAILURE"))
        pressed = Pressed(f"tag-{number}", action, self.way, dice.uniform(0.0, 30.0), node=node, own_end=own)
        pressed.own_end_after = dice.choice((0.1, 10.0, 100.0, 400.0))
        if not node and dice.random() < 0.2:
            self.kernel.at(pressed.at + dice.choice((0.5, 5.0, 60.0, 300.0)), lambda: self._withdraw(pressed))
        self.kernel.at(pressed.at, lambda: self._begin(pressed))
        return pressed

    def _begin(self, pressed: Pressed) -> None:
        begin = self.port.start_node if pressed.node else self.port.press
        run = pressed.run = begin(pressed.action, {"tag": pressed.tag})
        pressed.key = step_key(PROJECT, "port", "node" if pressed.node else "run", run.id)
        self.kernel.note(f"{pressed.tag} is pressed: {run.id}")
        if isinstance(run, ActionRun) and run.status != "IN_PROGRESS":
            delay = self.kernel.random.choice((1.0, 30.0, QUEUE + 100.0))
            self.kernel.at(delay, lambda: None if run.ended else self.port.approve(run))
        if self.way == "kafka":
            pressed.offset = len(self.topic)
            self.topic.append(pressed)
        if pressed.own_end is not None:
            self.kernel.at(1.0, lambda: self._workflow_tells(pressed))

    def _workflow_tells(self, pressed: Pressed) -> None:
        """A workflow that reports itself does so once its run goes on."""
        runs = self.runs_of(pressed)
        if not runs:
            if self.kernel.now < STUCK_AFTER:
                self.kernel.at(5.0, lambda: self._workflow_tells(pressed))
            return

        def tell() -> None:
            try:
                if isinstance(pressed.run, NodeRun):
                    result = "SUCCESS" if pressed.own_end == "SUCCESS" else "FAILED"
                    self.port.workflow_patches_node(pressed.run, status="COMPLETED", result=result)
                elif pressed.run is not None:
                    self.port.workflow_patches(pressed.run, status=pressed.own_end, summary="told by the workflow")
                self.kernel.note(f"the workflow of {pressed.tag} tells {pressed.own_end}")
            except Refusal:
                self.kernel.note(f"the workflow of {pressed.tag} is refused by Port")

        self.kernel.at(pressed.own_end_after, tell)

    def _withdraw(self, pressed: Pressed) -> None:
        if isinstance(pressed.run, ActionRun) and not pressed.run.ended:
            self.kernel.note(f"a person sets {pressed.tag} to FAILURE")
            self.port.set_status(pressed.run, "FAILURE")
            pressed.withdrawn_at = self.kernel.now

    def _told(self, request: EmulatedRequest, response: EmulatedResponse) -> None:
        """What Port takes of our reports must be true at that moment."""
        if response.status >= 300 or request.method != "PATCH" or "/ack" in request.path:
            return
        body = json.loads(request.body)
        found = [one for one in self.pressed if one.run is not None and f"/{one.run.id}" in request.path]
        if found:
            found[0].told.append((self.kernel.now, body))
            self._judge_told(found[0], body)

    def start_process(self, pod: str) -> None:
        """A new process, with nothing in its memory."""
        kernel = self.kernel
        self._incarnations += 1
        process = Process(f"p{self._incarnations}")
        clock, workers = SimClock(kernel), SimWorkers(kernel, process)
        store = SimStore(self.disk, process, self.boundaries, ApiServer(clock, self.weather), exclusive=False)
        telemetry = Telemetry()
        secrets = Secrets()
        core = Core(
            store=store,
            secrets=secrets,
            connector=SimConnector(self.network, process),
            clock=clock,
            workers=lambda limit, name: workers,
            owner=Owner(pod=pod, incarnation=process.name),
            new_nonce=self._nonce,
            settle=20.0,
            telemetry=telemetry,
        )
        settings = {"PORTIO": self.way, "PORTIO_API": PORT_URL, "PORTIO_QUEUE": f"{QUEUE:.0f}s"}
        settings |= {"PORTIO_POLL": f"{self.poll}s"}
        settings |= {"PORTIO_VISIBILITY": f"{self.visibility:.0f}s"}
        settings |= {"PORTIO_UNKNOWN": f"{UNKNOWN:.0f}s", "PORTIO_TIMEOUT": "120s", "PORTIO_CANCEL": self.cancel}
        parts = PortParts(
            Settings.parse({f"GHA_STEP_{name}": value for name, value in settings.items()}),
            core,
            project=PROJECT,
            secrets=secrets,
            connector=SimConnector(self.port_network, process),  # type: ignore[arg-type]
            store=store,
            leader=SimLeader(self.cell, process.name, clock),
            clock=clock,
            workers=lambda limit, name: workers,
            telemetry=telemetry,
        )
        self.processes.append((process, parts))
        kernel.note(f"{process.name} starts in pod {pod}")
        delay = kernel.random.uniform(0.5, 20.0)
        successor = pod if kernel.random.random() < 0.6 else f"pod{self._incarnations}"
        process.at_death.append(lambda: kernel.at(delay, lambda: self._replace(process, successor)))
        ways: list[Callable[[], None]] = [lambda: self._consume(process, parts)]
        if self.way == "claims":
            parts.add_claims()
            ways = [way.run for way in parts.ways]
        for work in (parts.intake.run, parts.duties.run, *ways):
            kernel.spawn(process, work)

    def _nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:032x}"

    def _replace(self, dead: Process, pod: str) -> None:
        self.processes = [one for one in self.processes if one[0] is not dead]
        self.start_process(pod)

    # ------------------------------------------------------------------ the ways in

    def _consume(self, process: Process, parts: PortParts) -> None:
        """One partition: whoever has it begins at the last commit, and has it until it dies."""
        while self.consumer is not process:
            if self.consumer is None or not self.consumer.alive:
                self.consumer = process
            self.kernel.sleep(3.0)
        begin = self.committed
        in_hand: list[Held | None] = []
        while self.consumer is process:
            while begin + len(in_hand) < len(self.topic):
                pressed = self.topic[begin + len(in_hand)]
                held, taken = self._message(pressed, parts)
                if not taken:
                    break
                in_hand.append(held)
            while in_hand and (in_hand[0] is None or in_hand[0].decided):
                in_hand.pop(0)
                begin += 1
                self.committed = begin
            self.kernel.sleep(2.0)

    def _message(self, pressed: Pressed, parts: PortParts) -> tuple[Held | None, bool]:
        """What a message comes to: what holds its run (``None``: dropped), and whether it is taken."""
        assert pressed.run is not None
        begun = parts.clock.monotonic()
        try:
            seen = parts.api.read_run(pressed.run.id)
        except PortError:
            return None, False
        open_at: float | None = None
        if seen is None:
            if self.kernel.now - pressed.at > 600:
                return None, True
        elif seen.ended or (seen.links and self._record(pressed) is None):
            return None, True
        elif seen.status == "IN_PROGRESS":
            open_at = begun
        properties = pressed.action.properties({"tag": pressed.tag})
        inputs: dict[str, Any] = dict(properties["workflowInputs"])  # type: ignore[arg-type]
        run: PortRun | Unusable = PortRun(
            kind="run",
            id=pressed.run.id,
            action=pressed.action.identifier,
            org="myorg",
            repo="my-app",
            workflow=str(pressed.action.workflow),
            ref=inputs.pop("ref", None),
            inputs=inputs,
            wanted=pressed.wanted,
        )
        return parts.intake.take(Press(run, "kafka", open_at)), True

    # ------------------------------------------------------------------ what must hold

    def runs_of(self, pressed: Pressed) -> list[Run]:
        return [run for run in self.github.runs if run.inputs.get("tag") == pressed.tag]

    def _record(self, pressed: Pressed) -> Record | None:
        return self.disk.records.get(pressed.key)

    def _judge_told(self, pressed: Pressed, body: Mapping[str, Any]) -> None:
        runs = self.runs_of(pressed)
        conclusion = runs[0].conclusion if runs else None
        label, status, links = body.get("statusLabel"), body.get("status"), [body.get("link")]
        if pressed.node:
            label, links = (label or {}).get("text"), body.get("links", [])
            if body.get("result") == "CANCELLED" and conclusion != "cancelled":
                raise Broken(f"{pressed.tag}: CANCELLED told, but its run is {conclusion}")
            status = status and {"SUCCESS": "SUCCESS"}.get(body["result"], "FAILURE")
            if body.get("output", {}).get("outputs", UPLOADED) != UPLOADED:
                raise Broken(f"{pressed.tag}: outputs that its run has not: {body}")
        match status:
            case "SUCCESS" if conclusion not in GOOD:
                raise Broken(f"{pressed.tag}: SUCCESS told, but its run is {conclusion}")
            case "FAILURE" if label == "not dispatched" and runs:
                raise Broken(f"{pressed.tag}: told as not dispatched, but a run exists")
            case "FAILURE" if label not in ("not dispatched", "unknown") and (conclusion is None or conclusion in GOOD):
                raise Broken(f"{pressed.tag}: FAILURE ({label}) told, but its run is {conclusion}")
        if "status" in body and not pressed.wanted and label != "not dispatched":
            raise Broken(f"{pressed.tag}: an end was told that is not wanted")
        if any(link and not any(str(run.id) in link for run in runs) for link in links):
            raise Broken(f"{pressed.tag}: the links {links} are of no run of its own")

    def _ended(self, pressed: Pressed) -> bool:
        run = pressed.run
        if run is None:
            return False
        record = self._record(pressed)
        if record is None:
            return run.ended
        if record.owes or record.state in (State.RESERVED, State.SENDING, State.UNKNOWN):
            return False
        return run.ended or not pressed.wanted

    def _check(self) -> None:
        for pressed in self.pressed:
            runs = self.runs_of(pressed)
            if len(runs) > 1:
                raise Broken(f"{pressed.tag}: {len(runs)} runs for one press")
            posts = [when for when, _, body in self.network.posts if f'"{pressed.tag}"' in body]
            if pressed.withdrawn_at is not None and not self.weather.freeze:
                late = [when for when in posts if when > pressed.withdrawn_at + FRESH + self.port.read_lag + 12.0]
                if late:
                    raise Broken(f"{pressed.tag}: sent at {late[0]:.1f}, withdrawn at {pressed.withdrawn_at:.1f}")
            if not self._ended(pressed):
                raise Broken(f"{pressed.tag}: stranded: {pressed.run and pressed.run.status}, {self._record(pressed)}")
            assert pressed.run is not None
            record = self._record(pressed)
            if record is not None and pressed.run.pending and self.way == "claims":
                raise Broken(f"{pressed.tag}: never acknowledged")
            self._check_ordinary(pressed, runs, record)

    def _check_ordinary(self, pressed: Pressed, runs: list[Run], record: Record | None) -> None:
        """Where nothing went wrong: one run, two PATCHes, each line once, GitHub's own end."""
        assert pressed.run is not None
        fine = (
            self.calm
            and pressed.withdrawn_at is None
            and pressed.own_end is None
            and not pressed.action.requires_approval
            and pressed.action.integration_action == "dispatch_workflow"
            and pressed.action.workflow != "missing.yml"
            and self.generation != "ghes-3.19"
        )
        if not fine:
            return
        if len(runs) != 1:
            raise Broken(f"{pressed.tag}: nothing went wrong, and yet {len(runs)} runs")
        if isinstance(pressed.run, NodeRun):
            told = pressed.run.output.get("outputs")
            if pressed.wanted and told != runs[0].workflow.uploads:
                raise Broken(f"{pressed.tag}: outputs of the run: {runs[0].workflow.uploads}, told: {told}")
            return
        patches = pressed.run.patches_by(EXAMPLE_CLIENT_ID)
        if patches != (2 if pressed.wanted else 1):
            raise Broken(f"{pressed.tag}: {patches} PATCHes: {pressed.told}")
        if len(set(pressed.run.messages)) != len(pressed.run.messages):
            raise Broken(f"{pressed.tag}: a line twice: {pressed.run.messages}")

    # ------------------------------------------------------------------ running

    def run(self) -> None:
        """To the end of the schedule. :raises Broken: an invariant does not hold."""
        kernel = self.kernel
        self.calm = self.weather.budget == 0 and self.port_network.limited == (0.0, 0.0) and not self.github_limited
        for number in range(self.replicas):
            self.start_process(f"pod-{number}")
        kernel.at(CALM_AFTER, self._calm)
        try:
            done = False
            while not done and kernel.now < STUCK_AFTER:
                kernel.run(STUCK_AFTER, self._over)
                kernel.run(kernel.now + 60.0, lambda: False)  # what is still on its way arrives, …
                done = all(map(self._ended, self.pressed))  # … and may begin what was withdrawn before it had a record
            self._check()
        finally:
            kernel.end()

    def _over(self) -> bool:
        """Whether every press has ended, looked at once in a while: it is asked after each event."""
        if self.kernel.now < self._look_at:
            return False
        self._look_at = self.kernel.now + 1.0
        return all(pressed.run is not None and self._ended(pressed) for pressed in self.pressed)

    def ends(self) -> Iterator[str]:
        """How each press ended, at Port and in the ledger."""
        for pressed in self.pressed:
            assert pressed.run is not None
            record = self._record(pressed)
            state = "no record" if record is None else record.state
            label = pressed.run.label if pressed.run.status != "IN_PROGRESS" else ""
            kind = "node " if pressed.node else ""
            yield f"{kind}{pressed.run.status} {label or ''}, {state}"

    def _calm(self) -> None:
        self.kernel.note("from here on nothing goes wrong")
        self.weather.budget = 0


def describe(schedule: PortSchedule) -> str:
    """What the seed decided, and everything that happened."""
    head = (
        f"seed {schedule.seed}: {schedule.way}, {schedule.generation}, {schedule.titles}, "
        f"{schedule.replicas} replica(s), visibility {schedule.visibility}, poll {schedule.poll}, "
        f"cancel {schedule.cancel}, {schedule.weather}"
    )
    presses = [f"{one.tag} at {one.at:.1f}: {one.action} own end {one.own_end}" for one in schedule.pressed]
    return "\n".join([head, *presses, *schedule.kernel.trace])
