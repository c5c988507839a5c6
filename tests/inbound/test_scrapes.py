"""Scrapes: many at once are one, and nobody hears what was true before he asked."""

import asyncio
import threading
import time

import pytest

from gha_step.inbound.scrapes import Scrapes
from tests.support.clock import LONG
from tests.support.loops import in_a_loop


@in_a_loop
async def test_all_who_ask_at_once_get_the_same_and_who_asks_later_gets_what_is_made_later() -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[bytes] = []

    def collect() -> bytes:
        made.append(b"%d" % (len(made) + 1))
        begun.set()
        go_on.wait(LONG)
        return made[-1]

    scrapes = Scrapes(collect)
    first = [asyncio.create_task(scrapes.read()) for _ in range(50)]
    await asyncio.to_thread(begun.wait, LONG)
    later = [asyncio.create_task(scrapes.read()) for _ in range(50)]
    first.pop().cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert set(await asyncio.gather(*first[:-1])) == {b"1"}
    assert set(await asyncio.gather(*later)) == {b"2"}
    assert len(made) == 2


@pytest.mark.parametrize(("took", "reads", "rests"), [(0.05, 2, 0.2), (0.005, 5, 0.3)])
@in_a_loop
async def test_after_each_there_is_a_rest_that_grows_while_somebody_asks_during_it(
    took: float, reads: int, rests: float
) -> None:
    def collect() -> bytes:
        time.sleep(took)
        return b""

    scrapes, begun = Scrapes(collect), time.monotonic()
    for _ in range(reads):
        await scrapes.read()
    assert time.monotonic() - begun >= rests  # without growth: 0.1 s


@in_a_loop
async def test_what_goes_wrong_is_told_to_those_who_asked_and_the_next_may_do_better() -> None:
    answers: list[bytes | OSError] = [OSError("no"), b"fine"]

    def collect() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    scrapes = Scrapes(collect)
    with pytest.raises(OSError, match="no"):
        await scrapes.read()
    assert await scrapes.read() == b"fine"
