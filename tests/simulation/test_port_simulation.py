"""Some schedules with Port as the host; `make soak` runs thousands."""

import pytest

from .port_schedule import PortSchedule, describe
from .schedule import Broken

CHUNK = 8


@pytest.mark.parametrize("first", range(0, 24, CHUNK))
def test_no_schedule_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + CHUNK):
        schedule = PortSchedule(seed)
        try:
            schedule.run()
        except Broken as error:
            again = f"replay: python -m tests.simulation --port --seed {seed}"
            pytest.fail(f"{describe(schedule)}\n{error}\n{again}", pytrace=False)


def test_a_seed_decides_everything() -> None:
    traces = []
    for _ in range(2):
        schedule = PortSchedule(202)
        schedule.run()
        traces.append(describe(schedule))
    assert traces[0] == traces[1]
