"""A few schedules with cancelOnAbort; `make soak` runs thousands."""

import pytest

from .abort_schedule import AbortSchedule
from .schedule import Broken, describe

CHUNK = 16


@pytest.mark.parametrize("first", range(0, 32, CHUNK))
def test_no_schedule_breaks_an_invariant(first: int) -> None:
    ends: set[str] = set()
    for seed in range(first, first + CHUNK):
        schedule = AbortSchedule(seed)
        try:
            schedule.run()
        except Broken as error:
            again = f"replay: python -m tests.simulation --abort --seed {seed}"
            pytest.fail(f"{describe(schedule)}\n{error}\n{again}", pytrace=False)
        ends.update(schedule.ends())
    assert ends >= {"succeeded", "cancelled", "unknown-run"}, "schedules that come to nothing prove nothing"
