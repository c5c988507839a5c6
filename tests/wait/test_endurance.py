"""An hour of waiting: what it costs GitHub, and what it survives."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from gha_step.contract.result import Status, StepResult
from gha_step.emulator import Answer, Close, Fault, Reset, Response, Truncate, bad_gateway

from .follower import Follower, told

HOUR: Final = 3_600
FAULTS: Final[tuple[Fault, ...]] = (
    bad_gateway("before"),
    bad_gateway("after"),
    Answer(Response.of(500, {"message": "Server Error"})),
    Answer(Response.of(503, {"message": "Unavailable"}, {"Retry-After": "7"})),
    Answer(Response.of(504, None)),
    Reset("before"),
    Reset("after"),
    Close(),
    Truncate(),
    Truncate(reset=True),
)


def test_an_hour_costs_only_conditional_requests_after_the_first(here: Follower) -> None:
    run = here.run()
    for _ in range(HOUR // 30):
        result = here.call(pollInterval="30s", expectedConclusion="success")
        assert (result.status, result.retry_after) == ("Running", 30.0)
        (window,) = here.github._windows.values()
        assert window.used == 1  # of 5,000 in this hour
        here.clock.sleep(30)
    run.finish()
    assert here.call(expectedConclusion="success").status == "Succeeded"
    assert here.statuses() == [200, *[304] * 119, 200]
    assert here.github.count() == 121


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 10))])
def test_fifty_troubles_within_an_hour_neither_fail_the_step_nor_make_it_storm(here: Follower, seed: int) -> None:
    chance = random.Random(seed)
    run = here.run()
    begun = here.clock.now()
    troubles = 0
    holds = 0
    results: list[StepResult] = []
    held_until = 0.0
    while here.clock.now() < begun + HOUR or troubles < 50:
        asked = here.github.count()
        if troubles < 50 and held_until <= here.clock.now() and chance.random() < 0.4:
            if chance.random() < 0.25:
                seconds = chance.uniform(1, 40)
                secondary = chance.random() < 0.5
                here.github.limit_rate(seconds, secondary=secondary, status=chance.choice((403, 429)))
                held_until = here.clock.now() + seconds
                holds += 1
            else:
                here.github.faults.clear()
                here.github.faults.add(chance.choice(FAULTS))
            troubles += 1
        results.append(here.call(pollInterval="10s", expectedConclusion="success"))
        assert results[-1].status == "Running", results[-1]
        assert results[-1].retry_after is not None
        assert 1 <= results[-1].retry_after <= 60
        assert here.github.count() <= asked + 1
        # A host that is impatient now and then: some call comes long before it is due.
        here.clock.sleep(results[-1].retry_after * chance.choice((1.0, 1.0, 1.0, 0.1)))
    here.github.faults.clear()
    run.finish()
    final = here.follow(expectedConclusion="success")[-1]
    assert (final.status, told(final)["output"]["conclusion"]) == ("Succeeded", "success")
    assert holds > 3
    assert here.github.count() < 2 * HOUR / 10
    assert here.statuses().count(200) <= 5  # the run itself, its end, and none for the troubles in between
    times = [entry.at for entry in here.log if entry.status in (403, 429)]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_thirty_waits_through_an_outage_of_ten_minutes_ask_a_bounded_number_of_times(here: Follower) -> None:
    runs = [here.run() for _ in range(30)]
    here.github.faults.add(bad_gateway("before"), times=None)
    begun = here.clock.now()
    due = {run.id: begun for run in runs}
    while here.clock.now() < begun + 600:
        for run_id, at in due.items():
            if at <= here.clock.now():
                result = here.call(runID=run_id)
                assert result.status == "Running"
                due[run_id] = here.clock.now() + (result.retry_after or 0)
        here.clock.forward(5)
    # Ten seconds apart it would be 1,800.
    assert here.github.count() < 30 * 14
    here.github.faults.clear()
    here.clock.forward(60)
    for run in runs:
        run.finish()
    ends = {here.follow(runID=run.id)[-1].status for run in runs}
    assert ends == {Status.SUCCEEDED}


def test_calls_from_many_threads_neither_fail_nor_ask_twice_at_once(here: Follower) -> None:
    runs = [here.run() for _ in range(8)]
    here.github.faults.add(bad_gateway(), times=4)
    with ThreadPoolExecutor(16) as pool:
        for _ in range(10):
            for result in pool.map(lambda run: here.call(runID=run.id), runs * 4):
                assert result.status == "Running"
            here.clock.forward(10)
    for run in runs:
        run.finish()
    here.clock.forward(60)
    with ThreadPoolExecutor(16) as pool:
        assert {result.status for result in pool.map(lambda run: here.call(runID=run.id), runs)} == {Status.SUCCEEDED}
