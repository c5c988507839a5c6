"""An emulated GitHub over real sockets, the step beside it, and one clock for both that moves only when told to."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Logged, Run, serve
from gha_step.emulator.api import OperationName
from gha_step.ledger.sqlite import SqliteStore
from gha_step.steps.kind import Underway
from tests.support.calls import body
from tests.support.clock import LONG, VirtualClock
from tests.support.core import Program
from tests.support.ledger import FaultyStore
from tests.support.network import FaultyConnector
from tests.support.secrets import example_secret, write_secret

KIND: Final = "gha-wait-for-workflow"
RUN: Final = 17_000_000_001


def config(**changes: Any) -> dict[str, Any]:
    """Kargo's example, with changes; a value of ``...`` leaves the key out."""
    whole: dict[str, Any] = {
        "credentials": {"secretName": "github"},
        "owner": "myorg",
        "repo": "my-app",
        "runID": str(RUN),
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


class Follower:
    """Calls the step as a host does, beside a GitHub that it looks at."""

    def __init__(self, folder: Path, github: GitHub, clock: VirtualClock, url: str) -> None:
        self.folder = example_secret(folder, url)
        self.github = github
        self.clock = clock
        self.url = url
        self.connector = FaultyConnector()
        self.store = FaultyStore(SqliteStore(folder / "ledger.db"))
        self.heard: list[StepResult] = []
        self._programs: list[Program] = []
        self.restart()

    def restart(self, **changes: Any) -> None:
        """A new process: nothing is remembered."""
        self.program = Program(
            store=self.store, secrets=self.folder, clock=self.clock, connector=self.connector, **changes
        )
        self._programs.append(self.program)

    def close(self) -> None:
        """Wait for what is under way."""
        for program in self._programs:
            program.close()
        self.store.close()

    def run(self, **options: Any) -> Run:
        """A run that stays in progress until a test says otherwise."""
        run = self.github.start_run(actor="kargo-bot", inputs={"environment": "prod", "image_tag": "1"}, **options)
        run.set_status("in_progress")
        return run

    def token(self, value: str, *, name: str = "github") -> None:
        """Another token in the Secret."""
        write_secret(self.folder, name=name, accessToken=value, baseURL=self.url)

    def begin(self, project: str = "demo", **changes: Any) -> StepResult | Underway:
        """One call, as far as it goes without waiting."""
        request = StepRequest.parse(body(config(**changes), kind=KIND, alias="wait", project=project))
        return self.program.steps.execute(request, self.clock.monotonic())

    def call(self, **changes: Any) -> StepResult:
        """One call, answered when its look has ended."""
        outcome = self.begin(**changes)
        if isinstance(outcome, StepResult):
            return outcome
        outcome.ready.result(timeout=LONG)
        self.heard.append(outcome.answer())
        return self.heard[-1]

    def follow(self, calls: int = 1_000, **changes: Any) -> list[StepResult]:
        """Call until the answer is final, as a host does; every answer."""
        answers = [self.call(**changes)]
        while answers[-1].status == "Running":
            assert len(answers) < calls, answers[-1]
            assert answers[-1].retry_after is not None
            self.clock.sleep(answers[-1].retry_after)
            answers.append(self.call(**changes))
        return answers

    @property
    def log(self) -> list[Logged[OperationName]]:
        return self.github.log

    def statuses(self, operation: str = "get-run") -> list[int | None]:
        """How GitHub answered."""
        return [entry.status for entry in self.log if entry.operation == operation]


@contextmanager
def following(folder: Path, generation: str = "github.com", **options: Any) -> Iterator[Follower]:
    """A GitHub, and the step. The ``options`` are `GitHub`'s."""
    clock = VirtualClock()
    github = GitHub(generation, now=clock.now, **options)
    with serve(github) as url:
        made = Follower(folder, github, clock, url)
        yield made
        made.close()
    told = json.dumps([str(entry) for entry in github.log])
    assert EXAMPLE_TOKEN not in told


def told(result: StepResult) -> dict[str, Any]:
    """The answer as the host reads it."""
    decoded: dict[str, Any] = json.loads(result.to_wire())
    return decoded
