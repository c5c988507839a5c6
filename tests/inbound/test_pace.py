"""Nobody gets ahead of others in the process's time, and whoever is alone never waits."""

import asyncio
import math
from collections import Counter

import pytest

from gha_step.inbound.pace import AHEAD, ANYBODYS, BUSY, ENOUGH, LATE, Pace, Uses, level
from tests.support.loops import in_a_loop

COST = 0.002  # seconds of each call before and after its step
PASS = 0.001  # seconds between two looks at who may begin
Demand = tuple[float, float]  # seconds for which a call has threads work, and calls that are wanted in a second


def rates(demands: dict[str, Demand], seconds: float = 30.0) -> dict[str, float]:
    """What each project gets of a processor's time in the second half, of what it wants."""
    uses, calls, late = Uses(), Counter[str](), Counter[str]()
    for step in range(int(seconds / PASS)):
        now = 100 + step * PASS
        for project, (work, rate) in demands.items():
            if calls[project] < rate * (now - 100):
                uses.called(project, now)
                if uses.may(project):
                    calls[project] += 1
                    late[project] += step * PASS > seconds / 2
                    uses.begin(project, COST)
                    uses.spend(project, work)
    return {project: late[project] * (COST + work) / (seconds / 2) for project, (work, _) in demands.items()}


@pytest.mark.parametrize("work", [0.0, 0.003, 0.08])
def test_who_calls_without_a_pause_gets_no_more_than_who_calls_next_most(work: float) -> None:
    had = rates({"hog": (work, 1000.0), "victim": (0.003, 70.0), "another": (0.003, 1.0)})
    assert had["victim"] == pytest.approx(0.35, rel=0.05)  # all that it asks for
    assert had["hog"] == pytest.approx(0.35, rel=0.15)


def test_a_quarter_is_anybodys() -> None:
    had = rates({"hog": (0.003, 1000.0), "victim": (0.003, 2.0)})
    assert had == pytest.approx({"hog": ANYBODYS, "victim": 0.01}, rel=0.05)


def test_who_wants_more_than_there_is_leaves_enough_to_others() -> None:
    had = rates({"hog": (0.003, 1000.0), "victim": (0.003, 96.0)})
    assert had["victim"] == pytest.approx(0.375, rel=0.05)
    assert sum(had.values()) == pytest.approx(ENOUGH, rel=0.05)


@pytest.mark.parametrize(
    ("used", "told"),
    [([5.0], math.inf), ([0.3, 5.0], 0.33), ([0.1, 5.0], ANYBODYS), ([0.5, 0.4, 0.3], 0.44), ([0.4, 0.4], 0.44)],
)
def test_whoever_uses_most_may_use_little_more_than_the_next(used: list[float], told: float) -> None:
    assert level(used) == pytest.approx(told)


def test_whoever_is_alone_never_waits_and_owes_nothing_later() -> None:
    uses = Uses()
    for step in range(5_000):
        now = 100 + step / 1000
        uses.called("busy", now)
        assert uses.may("busy")
        uses.begin("busy", COST)
        uses.spend("busy", 0.01)
    uses.called("new", now)
    assert uses.may("new")


@in_a_loop
async def test_what_has_begun_without_a_turn_counts_like_a_call() -> None:
    pace = Pace()
    pace._late = LATE
    for project in ("hog", "other"):
        assert await pace.turn(project, 1.0)
    for _ in range(100):
        pace.opened("hog")
    assert not await pace.turn("hog", 0.0)
    assert await pace.turn("other", 0.0)


@in_a_loop
async def test_what_is_left_goes_to_those_of_whom_fewest_calls_wait() -> None:
    pace = Pace()
    for project in ("hog", "other"):
        assert pace.at_once(project)
        pace.spend(project, 10.0)
    pace._uses.rate = BUSY  # whatever the loop says of it
    waiting = [asyncio.create_task(pace.turn(project, 60.0)) for project in ("hog", "hog", "other")]
    await asyncio.sleep(0)
    begun = []
    for rate in (ENOUGH, 0.0, 0.0):
        pace._uses.rate = rate
        pace._release()
        await asyncio.sleep(0)
        begun.append([task.done() for task in waiting])
    assert begun == [[False, False, False], [False, False, True], [True, False, True]]
    pace.open()
    assert await waiting[1]


def test_who_comes_back_has_saved_nothing_up() -> None:
    uses = Uses()
    for now in (100.0, 150.0, 199.0):
        for project in ("idle", "other"):
            uses.called(project, now)
            assert uses.may(project)
    begun = 0
    while uses.may("idle") and begun < 1_000:
        begun += 1
        uses.begin("idle", COST)
    assert begun * COST <= AHEAD + 2 * COST


@in_a_loop
async def test_a_turn_that_does_not_come_is_told_and_a_stop_waits_for_none() -> None:
    pace = Pace()
    pace._late = LATE  # as with too much to do
    for project in ("hog", "victim"):
        assert await pace.turn(project, 30.0)
    pace.spend("hog", 10_000.0)
    assert not await pace.turn("hog", 0.01)
    assert await pace.turn("victim", 30.0)
    waiting = asyncio.create_task(pace.turn("hog", 3_600.0))
    await asyncio.sleep(0)
    pace.open()
    assert await waiting
