"""The follower beside an emulated GitHub and a stand-in for the API server that holds the Promotion."""

from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Run
from gha_step.inbound.abort.follower import Aborts
from gha_step.inbound.promotions import API, Promotions
from gha_step.ledger.duties import Cancellation
from gha_step.ledger.record import Record
from tests.support.api_server import ApiServer
from tests.support.calls import config
from tests.support.clock import VirtualClock
from tests.support.cluster import api_at
from tests.support.core import Start
from tests.support.ledger import FaultyStore

NAME = "test.01abc.def5678"
PATH = f"{API}/namespaces/demo/promotions/{NAME}"


def promotion(phase: str | None = "Running", uid: str = "uid-1") -> dict[str, Any]:
    return {"kind": "Promotion", "metadata": {"name": NAME, "uid": uid}, "status": {"phase": phase} if phase else {}}


class Watched:
    """One dispatch with ``cancelOnAbort``, its Promotion, and who follows it."""

    def __init__(
        self, start: Start, store: FaultyStore, github: GitHub, clock: VirtualClock, server: ApiServer, folder: Path
    ) -> None:
        self._start = start
        self.store = store
        self.github = github
        self.clock = clock
        self.server = server
        self._api = api_at(server.url, folder, clock=clock)
        self.outcomes: list[str] = []
        self.program = start()
        self.aborts = self._follower()
        server.objects[PATH] = promotion()

    def _follower(self) -> Aborts:
        core = self.program.core
        return Aborts(
            promotions=Promotions(self._api),
            access=core.access,
            client=core.client,
            dispatches=core.dispatches,
            store=self.store,
            clock=self.clock,
            everybodys=True,
            soon=lambda key: None,
            count=self.outcomes.append,
        )

    def restart(self) -> None:
        """Another process: nothing is remembered."""
        self.program = self._start()
        self.aborts = self._follower()

    def dispatch(self, **changes: Any) -> Record:
        """Dispatch, and keep the run going."""
        self.program.call(config(**{"cancelOnAbort": True, **changes}))
        for run in self.github.runs:
            run.set_status("in_progress")
        return self.record

    def ends(self, phase: str) -> None:
        """The Promotion's end, as the API server shows it."""
        if phase == "deleted":
            del self.server.objects[PATH]
        else:
            self.server.objects[PATH] = promotion(phase)

    @property
    def record(self) -> Record:
        (found,) = self.store.real.records()
        return found

    @property
    def duty(self) -> Cancellation:
        duty = self.record.abort
        assert duty is not None
        return duty

    @property
    def run(self) -> Run:
        (run,) = self.github.runs
        return run

    @property
    def cancels(self) -> tuple[int, int]:
        """How often GitHub was asked to cancel, and to force it."""
        return self.github.count("cancel-run"), self.github.count("force-cancel-run")

    def turn(self) -> float | None:
        return self.aborts.turn(self.record)

    def follow(self, turns: int = 300) -> None:
        """Until nothing is owed, by the clock."""
        for _ in range(turns):
            if not self.record.owes:
                break
            self.clock.sleep(self.turn() or 0.0)
        assert not self.record.owes, self.duty
        assert EXAMPLE_TOKEN not in self.record.model_dump_json()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def watched(
    process: Start, store: FaultyStore, github: GitHub, clock: VirtualClock, server: ApiServer, tmp_path: Path
) -> Watched:
    return Watched(process, store, github, clock, server, tmp_path)
