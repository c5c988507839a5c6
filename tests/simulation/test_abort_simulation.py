"""Some schedules with cancelOnAbort; `make soak` runs thousands."""

import pytest

from .abort_schedule import AbortSchedule
from .schedule import Broken, describe

CHUNK = 30


@pytest.mark.parametrize("first", range(0, 120, CHUNK))
def test_no_schedule_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + CHUNK):
        schedule = AbortSchedule(seed)
        try:
            schedule.run()
        except Broken as error:
            again = f"replay: python -m tests.simulation --abort --seed {seed}"
            pytest.fail(f"{describe(schedule)}\n{error}\n{again}", pytrace=False)


def test_the_schedules_reach_most_ways_to_close_a_duty() -> None:
    missing = {"succeeded", "cancelled", "force-cancelled", "another-attempt", "not-dispatched", "unknown-run"}
    for seed in range(200):
        schedule = AbortSchedule(seed)
        schedule.run()
        missing -= set(schedule.ends())
        if not missing:
            break
    assert not missing
