"""A delivery of GitHub's webhook, and which Promotions are refreshed for it, at most how often."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.inbound.promotions import API
from gha_step.inbound.rest.refresh import REFRESH, NotAllowed, press
from gha_step.inbound.rest.refreshing import MOST_OF_ONE_RUN, Refreshing
from gha_step.ledger.record import Record, State
from gha_step.runtime import SystemClock, ThreadWorkers
from gha_step.steps.waking import Hint
from gha_step.telemetry import Telemetry
from tests.ledger.records import record
from tests.support.api_server import ApiServer, Request
from tests.support.clock import eventually
from tests.support.cluster import api_at

RUN = 17_000_000_001
NAME = "test.01abc.def5678"
ENDED = Hint("myorg", "my-app", RUN, ended=True, dispatched=True)


class World:
    """An API server with Promotions, and what refreshes them."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        self.records: Callable[[int], list[Record]] = lambda run_id: []
        self.telemetry = Telemetry()
        self.refreshing = Refreshing(
            partial(press, api_at(server.url, folder)),
            self._recorded,
            clock=SystemClock(),
            workers=ThreadWorkers,
            telemetry=self.telemetry,
            presses=(0.05, 0.05),
        )
        self.refreshing.start()

    def _recorded(self, run_id: int) -> list[Record]:
        return self.records(run_id)

    def promotion(self, name: str = NAME, **status: Any) -> None:
        whole = {"phase": "Running", "currentStep": 1} | status
        metadata = {"name": name, "uid": f"uid of {name}"}
        self.server.objects[f"{API}/namespaces/demo/promotions/{name}"] = {"metadata": metadata, "status": whole}

    def another_is_refreshed(self) -> None:
        """As often as one is: what else was still to come has come meanwhile."""
        self.promotion("another")
        self.refreshing.waits(1, "demo", "another")
        self.refreshing.hint(ENDED._replace(run_id=1))
        eventually(lambda: len([patch for patch in self.patches if patch.path.endswith("/another")]) == 3)

    @property
    def patches(self) -> list[Request]:
        return [one for one in self.server.requests if one.method == "PATCH"]

    def counted(self, result: str) -> int:
        shown = self.telemetry.exposition().decode()
        name = f'gha_step_promotion_refreshes_total{{result="{result}"}} '
        return sum(int(float(line.removeprefix(name))) for line in shown.splitlines() if line.startswith(name))


@pytest.fixture
def world(server: ApiServer, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        made = World(server, tmp_path)
        stack.callback(made.refreshing.stop)
        yield made


def test_who_waits_is_refreshed_thrice_while_it_stands_where_it_stood(world: World) -> None:
    world.promotion()
    world.refreshing.waits(RUN, "demo", NAME)
    world.refreshing.hint(ENDED)
    eventually(lambda: world.counted("done") == 3)
    values = set()
    for patch in world.patches:
        assert patch.path == f"{API}/namespaces/demo/promotions/{NAME}"
        assert patch.headers["Content-Type"] == "application/merge-patch+json"
        change = json.loads(patch.body)
        assert set(change) == {"metadata"}
        assert set(change["metadata"]) == {"uid", "annotations"}
        assert change["metadata"]["uid"] == f"uid of {NAME}"
        assert set(change["metadata"]["annotations"]) == {REFRESH}
        values.add(change["metadata"]["annotations"][REFRESH])
    assert len(values) == 3, "Kargo looks at each new value"
    world.another_is_refreshed()
    assert len([patch for patch in world.patches if patch.path.endswith(NAME)]) == 3


@pytest.mark.parametrize(
    "status", [{"phase": "Succeeded"}, {"phase": "Aborted"}, {"phase": "Pending"}, {"phase": None}]
)
def test_one_that_does_not_run_is_left_alone(world: World, status: dict[str, Any]) -> None:
    world.promotion(**status)
    world.refreshing.waits(RUN, "demo", NAME)
    world.refreshing.hint(ENDED)
    eventually(lambda: world.counted("unneeded") == 1)
    assert world.patches == []


def test_one_that_has_gone_on_is_not_refreshed_again(world: World) -> None:
    def goes_on(user: str, path: str) -> bool:
        if world.patches:
            world.promotion(currentStep=2)
        return False

    world.promotion()
    world.refreshing.waits(RUN, "demo", NAME)
    world.server.forbidden = goes_on
    world.refreshing.hint(ENDED)
    eventually(lambda: world.counted("unneeded") == 1)
    assert len(world.patches) == 1


def _recorded(name: str = NAME) -> Record:
    return record(State.ACCEPTED, key_parts=("demo", "caller", name, "dispatch"), promotion=name)


def test_who_called_another_replica_is_known_from_the_ledger(world: World) -> None:
    world.promotion()
    world.records = lambda run_id: [_recorded()] if run_id == RUN else []
    world.refreshing.hint(ENDED)
    eventually(lambda: len(world.patches) == 3)


def test_another_promotion_that_called_here_does_not_hide_the_one_that_dispatched(world: World) -> None:
    world.promotion()
    world.promotion("another")
    world.records = lambda run_id: [_recorded()]
    world.refreshing.waits(RUN, "demo", "another")
    world.refreshing.hint(ENDED)
    eventually(lambda: len(world.patches) == 6)
    assert len({patch.path for patch in world.patches}) == 2


@pytest.mark.parametrize(
    "hint",
    [
        ENDED._replace(ended=False),
        ENDED._replace(run_id=RUN + 1),
        ENDED._replace(repo="another"),
        ENDED._replace(dispatched=False),
    ],
)
def test_what_concerns_nobody_asks_for_nothing(world: World, hint: Hint) -> None:
    world.promotion()
    world.records = lambda run_id: [_recorded()] if run_id == RUN else []
    world.refreshing.hint(hint)
    world.promotion("other")
    world.refreshing.waits(1, "demo", "other")
    world.refreshing.hint(ENDED._replace(run_id=1))
    eventually(lambda: len(world.patches) == 3)
    assert {patch.path.rpartition("/")[2] for patch in world.patches} == {"other"}


def test_a_ledger_that_is_away_changes_nothing_for_those_that_are_known(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def away(run_id: int) -> list[Record]:
        raise LedgerUnavailable("away")

    world.promotion()
    world.records = away
    world.refreshing.hint(ENDED._replace(run_id=RUN + 1))
    world.refreshing.waits(RUN, "demo", NAME)
    world.refreshing.hint(ENDED)
    eventually(lambda: len(world.patches) == 3)
    assert "a turn failed" not in caplog.text


def test_without_the_right_the_log_says_once_what_to_give(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.server.forbidden = lambda user, path: True
    for number in range(5):
        world.refreshing.waits(RUN + number, "demo", f"{NAME}-{number}")
        with caplog.at_level(logging.WARNING, "gha_step"):
            world.refreshing.hint(ENDED._replace(run_id=RUN + number))
    eventually(lambda: world.counted("failed") >= 5)
    assert caplog.text.count("may not be refreshed") == 1
    assert "as in deploy/service/refresh" in caplog.text
    assert "verbs: [get, patch]" in caplog.text
    assert "verbs: [promote]" in caplog.text


@pytest.mark.parametrize("by", ["calls", "records"])
def test_many_promotions_that_claim_one_run_are_bounded(world: World, by: str) -> None:
    names = [f"p-{number}" for number in range(3 * MOST_OF_ONE_RUN)]
    for name in names:
        world.promotion(name, phase="Succeeded")
        if by == "calls":
            world.refreshing.waits(RUN, "demo", name)
    if by == "records":
        world.records = lambda run_id: [_recorded(name) for name in names if run_id == RUN]
    world.refreshing.hint(ENDED)
    eventually(lambda: world.counted("unneeded") >= MOST_OF_ONE_RUN)
    world.another_is_refreshed()
    assert world.counted("unneeded") == MOST_OF_ONE_RUN


def test_what_may_never_be_refreshed_is_asked_for_once() -> None:
    asked: Counter[str] = Counter()

    def refusing(project: str, promotion: str, unless: object) -> object:
        asked[promotion] += 1
        if promotion == NAME:
            raise NotAllowed("no")
        return 1

    refreshing = Refreshing(
        refusing,
        lambda run_id: [],
        clock=SystemClock(),
        workers=ThreadWorkers,
        telemetry=Telemetry(),
        presses=(0.05, 0.05),
    )
    refreshing.start()
    refreshing.waits(RUN, "demo", NAME)
    refreshing.hint(ENDED)
    eventually(lambda: asked[NAME])
    refreshing.waits(1, "demo", "another")
    refreshing.hint(ENDED._replace(run_id=1))
    eventually(lambda: asked["another"] == 3)
    refreshing.stop()
    assert asked[NAME] == 1
