"""Some schedules; `make soak` runs ten thousand and more."""

import itertools

import pytest

from .schedule import Broken, Schedule, describe

CHUNK = 20


@pytest.mark.parametrize("first", range(0, 100, CHUNK))
def test_no_schedule_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + CHUNK):
        schedule = Schedule(seed)
        try:
            schedule.run()
        except Broken as error:
            pytest.fail(
                f"{describe(schedule)}\n{error}\nreplay: python -m tests.simulation --seed {seed}", pytrace=False
            )


def test_a_seed_decides_everything() -> None:
    traces = []
    for _ in range(2):
        schedule = Schedule(1234)
        schedule.run()
        traces.append(describe(schedule))
    assert traces[0] == traces[1]


def test_the_schedules_reach_every_way_to_end() -> None:
    missing = {"response", "marker", "promotion-name", "only-candidate", "Failed"}
    for seed in itertools.takewhile(lambda seed: missing and seed < 150, itertools.count()):
        schedule = Schedule(seed)
        schedule.run()
        for promotion in schedule.promotions:
            assert promotion.ended is not None
            missing.discard(getattr(promotion.ended.output, "run_id_source", None) or promotion.ended.status)
    assert not missing
