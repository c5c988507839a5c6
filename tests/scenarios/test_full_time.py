"""In full time, as people meet it: S = 20 s, the reply limit of 5 s, a GitHub that takes seconds to list a run.

`make soak` runs these; `make test` plays the same scaled down.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gha_step.emulator import Delay, Run
from tests.support.github import MARKED, NAMED, PLAIN

from .plays import OLD, at_once, posts_of
from .site import MARKED_BY, Followed, Site, as_told, every_ten_seconds, site

pytestmark = pytest.mark.soak
SETTLE = 20.0
HOSTS = pytest.mark.parametrize(
    ("wait", "within"), [(as_told, 40.0), (every_ten_seconds, 100.0)], ids=["honours retryAfter", "every 10 s"]
)
each = pytest.mark.parametrize("generation", OLD)


def slowly(seed: int) -> Callable[[Run], float]:
    """A lag that differs from run to run, up to 2 s."""
    dice = random.Random(seed)
    return lambda run: dice.uniform(0.2, 2.0)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Makes sites at full time."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        numbers = itertools.count()
        yield lambda generation: stack.enter_context(
            site(
                tmp_path / str(next(numbers)),
                generation,
                settle=SETTLE,
                reply_within=5.0,
                creation_lag=slowly(1),
                listing_lag=slowly(2),
            )
        )


Full = Callable[[str], Site]


@each
@HOSTS
def test_five_promotions_at_once_are_told_apart_by_their_names_in_time(
    full: Full, generation: str, wait: Callable[..., float], within: float
) -> None:
    made = full(generation)
    promotions = {str(number): made.promotion() for number in range(5)}
    file = made.workflow("named.yml", NAMED)
    steps = {name: made.named(promotion, file, timeout="60") for name, promotion in promotions.items()}
    ended = made.follow_all(steps, promotions, wait=wait, within=200.0)
    assert {followed.source for followed in ended.values()} == {"promotion-name"}
    assert posts_of(made, file) == 5
    slowest = max(followed.seconds for followed in ended.values())
    print(f"{generation}: five at once in {slowest:.1f} s")
    assert slowest <= within


@each
@pytest.mark.parametrize("wait", [as_told, every_ten_seconds], ids=["honours retryAfter", "every 10 s"])
def test_one_quiet_dispatch_without_any_mark_is_right_within_35_s(
    full: Full, generation: str, wait: Callable[..., float]
) -> None:
    made = full(generation)
    ended = at_once(made, made.workflow("quiet.yml", PLAIN), 1, wait=wait, timeout="60")
    assert ended.sources == {"only-candidate"}
    print(f"{generation}: one quiet dispatch in {ended.only.seconds:.1f} s")
    assert ended.only.seconds <= 35.0


@each
def test_without_any_mark_among_strangers_every_end_is_right_or_ambiguous(full: Full, generation: str) -> None:
    made = full(generation)
    file = made.workflow("plain.yml", PLAIN)
    promotions = {str(number): made.promotion() for number in range(3)}
    steps = {name: made.step(promotion, file, timeout="60") for name, promotion in promotions.items()}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(made.follow_all, steps, promotions, within=200.0)
        time.sleep(8.0)
        stranger = made.stranger(file)
        ended: dict[str, Followed] = under_way.result()  # `follow` has judged each
    statuses = sorted(followed.end.status for followed in ended.values())
    print(f"{generation}: {statuses}")
    for followed in ended.values():
        assert followed.end.run_id != stranger.id
        if followed.end.status == "Failed":
            assert "could not be identified" in followed.end.message
            assert stranger.url_path in followed.end.message
    assert "Succeeded" in statuses  # not all of them met the stranger


@each
def test_marked_dispatches_at_once_take_seconds(full: Full, generation: str) -> None:
    made = full(generation)
    ended = at_once(made, made.workflow("marked.yml", MARKED), 5, correlationInput=MARKED_BY, timeout="60")
    assert ended.sources == {"marker"}
    slowest = max(followed.seconds for followed in ended.followed)
    print(f"{generation}: five marked in {slowest:.1f} s")
    assert slowest <= 20.0


def test_an_answer_that_comes_after_half_a_minute_of_silence_counts(full: Full) -> None:
    made = full("github.com")
    made.github.faults.add(Delay(36.0), "dispatch")
    ended = at_once(made, made.workflow("slow.yml", PLAIN), 1, timeout="60")
    assert ended.sources == {"response"}
    assert ended.posts == 1
    assert 30 < ended.only.seconds < 60
    assert all("may have been dispatched" in heard.message for heard in ended.only.heard[:-1])


def test_an_answer_that_comes_after_the_end_mends_it(full: Full) -> None:
    made = full("github.com")
    made.github.faults.add(Delay(85.0), "dispatch")  # silence for 30 s, then a search for 30 s
    file = made.workflow("slow.yml", PLAIN)
    promotion = made.promotion()
    step = made.step(promotion, file)
    first = made.follow(promotion, step)
    assert first.end.status == "Failed"
    assert 30 < first.seconds < 85
    assert "has not answered within 30 s; no matching run appeared in time" in first.end.message
    made.await_state(promotion, step, "accepted", within=60.0)
    promotion.lose_pod()
    again = made.follow(promotion, step)
    assert again.source == "response"
    assert posts_of(made, file) == 1
