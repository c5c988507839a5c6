"""One lane: one ledger, one emulated GitHub, and one server process after another; a round is one promotion step."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from gha_step.emulator import EXAMPLE_TOKEN, Delay, GitHub, Logged, Request, Run, serve
from gha_step.emulator.api import OperationName
from gha_step.ledger.reading import FileReader, Query
from gha_step.ledger.record import Record, State
from tests.support.calls import BEARER
from tests.support.github import MARKED, NAMED, PLAIN, WORKFLOW
from tests.support.host import Heard, KargoHost, Promotion, Step
from tests.support.ports import free_port
from tests.support.process import Served
from tests.support.secrets import write_secret

Aim = Literal["before", "while", "after", "around"]
AIMS: Final[tuple[Aim, ...]] = ("before", "while", "while", "after", "around")
ENDS_WITHIN: Final = 240.0  # seconds; looking takes ten, and the machine may be busy
TITLES: Final = {"plain": PLAIN, "named": NAMED, "marked": MARKED}


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass
class Count:
    """What happened in all rounds."""

    rounds: int = 0
    moments: Counter[str] = field(default_factory=Counter)  # where kills landed
    ends: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    crashed_calls: int = 0  # calls whose answer a kill took away
    double: int = 0
    wrong: int = 0

    def add(self, other: "Count") -> None:
        self.rounds += other.rounds
        self.moments += other.moments
        self.ends += other.ends
        self.calls += other.calls
        self.crashed_calls += other.crashed_calls
        self.double += other.double
        self.wrong += other.wrong


class Lane:
    """Rounds one after the other, on one ledger."""

    project = "demo"
    hosts = (1, 1, 2)  # that follow one promotion: several, where a controller was replaced

    def __init__(self, folder: Path, github: GitHub, url: str, *, marked: bool, seed: int) -> None:
        self.github = github
        self.count = Count()
        self._folder = folder
        self._marked = marked
        self._seed = seed
        self.dice = random.Random(seed)
        repository = github.repository("myorg/my-app")
        for name, title in TITLES.items():
            repository.add_workflow(f"{name}.yml", WORKFLOW.format(title=title))
        folder.mkdir(parents=True, exist_ok=True)
        self._reply_within = self.dice.choice(("200ms", "1s", "5s"))
        self._open(url)

    def _open(self, url: str) -> None:
        """Begin to serve, with a Secret that leads to ``url``."""
        write_secret(self._folder / "secrets", accessToken=EXAMPLE_TOKEN, baseURL=url)
        self._port = free_port()
        self.server = self._start()

    def close(self) -> None:
        """Nothing runs any more."""
        self.kill()

    def _start(self) -> Served:
        settings = {
            "GHA_STEP_HTTP_LISTEN": f"127.0.0.1:{self._port}",
            "GHA_STEP_SETTLE": "0s",
            "GHA_STEP_REPLY_WITHIN": self._reply_within,
            "GHA_STEP_LOG_LEVEL": "info",
        }
        return Served(self._folder, settings)

    def play(self, aim: Aim | None = None) -> None:
        """One more round. :raises Broken: a promise was not kept."""
        number = self.count.rounds
        try:
            chosen: Aim = self.dice.choice(AIMS) if aim is None else aim
            _Round(self, f"{self._seed}-{number}", chosen, marked=self._marked).play()
        except Broken as error:
            raise Broken(f"lane {self._seed}, round {number}: {error}") from None
        self.count.rounds += 1

    def kill(self) -> None:
        """As a crash: no goodbye."""
        self.server.kill()

    def restart(self) -> None:
        """The next process, on the same ledger and the same port."""
        self.server = self._start()

    def host(self) -> KargoHost:
        return KargoHost(f"http://127.0.0.1:{self._port}", BEARER, pace=0.5)

    def record(self, promotion: Promotion) -> Record | None:
        """As it stands on the disk, whether or not a server runs."""
        reader = FileReader(self.server.ledger)
        records = list(reader.newest(Query(), 0, None))
        unreadable = reader.unreadable
        if unreadable:
            raise Broken(f"the ledger holds what cannot be read: {unreadable}")
        return next((record for record in records if record.key_parts[1] == promotion.uid), None)


class _Round:
    def __init__(self, lane: Lane, name: str, aim: Aim, *, marked: bool) -> None:
        dice = lane.dice
        self.lane = lane
        self.aim = aim
        self.tag = f"tag-{name}"
        self.kind = "marked" if marked else dice.choice(("plain", "plain", "named", "marked"))
        self.delay = dice.choice((0.0, dice.uniform(0.01, 0.1), dice.uniform(0.1, 0.6)))
        self.promotion = Promotion(lane.project, name=f"test.{name}", uid=f"uid-{name}")
        self.step = Step("dispatch", self._config())
        self.ended: list[Heard] = []
        self.trouble: list[BaseException] = []
        self._called = threading.Event()
        faults = lane.github.faults
        if self.delay:
            faults.add(Delay(self.delay, dice.choice(("before", "after"))), "dispatch", where=self._is_ours)
        if aim == "before" or dice.random() < 0.3:  # the baseline takes a while
            faults.add(Delay(dice.uniform(0.0, 0.3)), where=lambda request: request.method == "GET")

    def _config(self) -> dict[str, Any]:
        inputs = {"image_tag": self.tag}
        if self.kind == "named":
            inputs["promotion"] = self.promotion.name
        config = {
            "credentials": {"secretName": "github"},
            "owner": "myorg",
            "repo": "my-app",
            "workflowFile": f"{self.kind}.yml",
            "ref": "main",
            "inputs": inputs,
            "timeout": "1",
        }
        return config | ({"correlationInput": "gha_step"} if self.kind == "marked" else {})

    def _is_ours(self, request: Request) -> bool:
        return f'"{self.tag}"'.encode() in request.body

    # ---------------------------------------------------------------- what happens

    def play(self) -> None:
        """Calls, kills and restarts, until the host has its answer and GitHub is quiet."""
        dice = self.lane.dice
        hosts = [
            threading.Thread(target=self._follow, args=(number,)) for number in range(dice.choice(self.lane.hosts))
        ]
        for host in hosts:
            host.start()
        try:
            self._await(self._called.is_set, 60.0)
            if dice.random() < 0.2:
                self.lane.github.start_run(workflow=f"{self.kind}.yml", actor="kargo-bot", inputs={"image_tag": "x"})
            self._wait_for_the_moment()
            self._kill()
            while dice.random() < 0.3:
                time.sleep(dice.uniform(0.0, 0.6))
                self._kill()
        finally:
            for host in hosts:
                host.join(ENDS_WITHIN + 10)
        self._await(lambda: all(post.status is not None for post in self._posts()), 60.0)
        if self.trouble:
            raise Broken(str(self.trouble[0])) from self.trouble[0]
        self._judge()

    def _wait_for_the_moment(self) -> None:
        dice = self.lane.dice
        match self.aim:
            case "before":
                time.sleep(dice.uniform(0.0, 0.1))
            case "while":
                self._await(lambda: bool(self._posts()) or bool(self.ended), 60.0)
                time.sleep(dice.uniform(0.0, max(self.delay, 0.005)))
            case "after":
                self._await(lambda: bool(self._runs()) or bool(self.ended), 60.0)
                time.sleep(self.delay + dice.uniform(0.0, 0.1))
            case "around":
                time.sleep(dice.uniform(0.0, 0.2 + self.delay))

    def _kill(self) -> None:
        lane = self.lane
        lane.kill()
        record, posts = lane.record(self.promotion), self._posts()
        if record is None or record.state is State.RESERVED:
            moment = "before the POST"
        elif record.state is State.SENDING:
            moment = "during the POST, " + (
                "before GitHub had it" if not posts else "while GitHub had it" if posts[-1].status is None else
                "after GitHub had processed it"
            )  # fmt: skip
        else:
            moment = "after the POST"
        lane.count.moments[moment] += 1
        time.sleep(lane.dice.uniform(0.0, 0.3))
        lane.restart()

    def _follow(self, number: int) -> None:
        """One host: until it has an answer that ends the step, all steps again from the first after a crash."""
        try:
            host, deadline = self.lane.host(), time.monotonic() + ENDS_WITHIN
            promotion = Promotion(self.promotion.project, self.promotion.name, self.promotion.uid)
            time.sleep(number * 0.05)
            self._called.set()
            while True:
                heard = host.call(promotion, self.step)
                self.lane.count.calls += 1
                if heard.answer is not None and heard.final:
                    self.ended.append(heard)
                    return
                if time.monotonic() > deadline:
                    raise Broken(f"the step is stuck: {heard}")
                if heard.final:  # the connection broke: the host's step has failed, its promotion runs again
                    self.lane.count.crashed_calls += 1
                    promotion.lose_pod()
                time.sleep(min(1.0, heard.retry_after or 0.1))
        except BaseException as error:  # noqa: BLE001  a thread has nobody else to tell
            self.trouble.append(error)

    # ---------------------------------------------------------------- what must hold

    def _posts(self) -> list[Logged[OperationName]]:
        """Dispatches of this round, less those that an old server refused for a key that it does not know."""
        mark = f'"{self.tag}"'.encode()
        return [
            one
            for one in list(self.lane.github.log)
            if one.operation == "dispatch" and mark in one.body and one.status not in (400, 422)
        ]

    def _runs(self) -> list[Run]:
        return [run for run in self.lane.github.runs if run.inputs.get("image_tag") == self.tag]

    def _judge(self) -> None:
        count, runs = self.lane.count, self._runs()
        if len(runs) > 1 or len(self._posts()) > 1:
            count.double += 1
            raise Broken(f"{len(runs)} runs and {len(self._posts())} POSTs for one key")
        for heard in self.ended:
            if heard.status == "Succeeded" and [heard.run_id] != [run.id for run in runs]:
                count.wrong += 1
                raise Broken(f"a wrong run: {heard}, GitHub holds {runs}")
            if heard.status not in ("Succeeded", "Failed") or (heard.status == "Failed" and heard.run_id is not None):
                raise Broken(f"no honest end: {heard}")
            if heard.message.startswith("nothing was dispatched"):
                raise Broken(f"nothing stood in the way, and yet: {heard}")
        record = self.lane.record(self.promotion)
        if record is None or not record.final:
            raise Broken(f"the step has ended, but not its record: {record}")
        if record.run is not None and [record.run.id] != [run.id for run in runs]:
            count.wrong += 1
            raise Broken(f"a wrong run in the record: {record.run}, GitHub holds {runs}")
        end = f"run found by {record.run.source}" if record.run else str(record.state)
        count.ends[f"{end}{'' if runs else ', never started'}"] += 1

    def _await(self, condition: Any, within: float) -> None:
        deadline = time.monotonic() + within
        while not condition() and not self.trouble:
            if time.monotonic() > deadline:
                raise Broken("waited in vain")
            time.sleep(0.001)


@contextmanager
def lane(folder: Path, *, old: bool, seed: int) -> Iterator[Lane]:
    """A lane; ``old``: on GHES 3.19, which names no runs, with correlationInput."""
    github = GitHub("ghes-3.19" if old else "github.com")
    with serve(github) as url:
        opened = Lane(folder, github, url, marked=old, seed=seed)
        try:
            yield opened
        finally:
            opened.close()
