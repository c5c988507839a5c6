"""Large bodies share one room, of which no project takes all; and values are counted before they are made."""

import asyncio
import time

import pytest

from gha_step.contract.json_text import parse_json
from gha_step.inbound.body import read_body
from gha_step.inbound.room import ROOM, SHARE, SMALL, NoRoom, Room, rest_after
from gha_step.inbound.web import WHOLE, Message, Request
from tests.support.loops import in_a_loop

NOW = 0.01  # seconds to wait where nothing is to come


@in_a_loop
async def test_there_is_room_for_so_many_bytes_until_their_calls_are_answered() -> None:
    room = Room()
    with room.place("a") as whole:
        await whole.grow(ROOM, NOW)
        with room.place("b") as other, pytest.raises(NoRoom):
            await other.grow(1, NOW)
    with room.place("b") as other:
        await other.grow(ROOM, NOW)
        await other.grow(ROOM, NOW)  # it has it already


@in_a_loop
async def test_who_waits_goes_on_when_another_has_done() -> None:
    room = Room()
    with room.place("b") as other:
        with room.place("a") as whole:
            await whole.grow(ROOM, NOW)
            waits = asyncio.create_task(other.grow(1, 30))
            await asyncio.sleep(0)
            assert not waits.done()
        await waits


@in_a_loop
async def test_a_project_gets_no_more_than_its_share_while_another_waits() -> None:
    room = Room()
    held = [room.place("greedy") for _ in range(ROOM // SHARE)]
    for one in held:
        await one.__enter__().grow(SHARE, NOW)
    with room.place("other") as other, room.place("greedy") as more:
        waits = asyncio.create_task(other.grow(SHARE, 30))
        again = asyncio.create_task(more.grow(SHARE, 30))
        await asyncio.sleep(0)
        held.pop().__exit__(None, None, None)
        await waits
        await asyncio.sleep(0)
        assert not again.done()
        for one in held:
            one.__exit__(None, None, None)
        await again


@in_a_loop
async def test_a_large_body_that_is_refused_gives_its_room_back_before_its_caller_hears() -> None:
    room = Room()
    with room.place("a") as large, room.place("b") as small, room.place("c") as next_one:
        await small.put_off()
        await large.grow(ROOM, NOW)
        refused = asyncio.create_task(large.put_off())
        await next_one.grow(ROOM, 30)
        assert not refused.done()
        refused.cancel()


@in_a_loop
async def test_what_was_given_up_or_is_answered_leaves_nothing_behind() -> None:
    room = Room()
    for number in range(100):
        with room.place(f"p{number}") as place:
            await place.grow(1, NOW)
    assert not room._held
    assert not room._waiting


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * 100 + b"1]",
        b'{"a":' * 60 + b"1" + b"}" * 60,
        b'["a"' + b',""' * 101 + b"]",
        b'["' * 1000,
        b'["' + b"," * 1000 + b'"' + b",1" * 101 + b"]",
    ],
)
def test_more_values_than_may_come_are_refused_before_any_is_made(text: bytes) -> None:
    with pytest.raises(ValueError, match="more than 100 values"):
        parse_json(text, most=100)


def test_marks_within_strings_are_no_values() -> None:
    text = '{"a": "' + ',:[{\\\\\\"' * 1000 + '", "b": "' + "\\\\" * 3 + '"}'
    assert set(parse_json(text.encode(), most=10)) == {"a", "b"}


@in_a_loop
async def test_large_bodies_are_read_one_after_the_other_with_a_rest_between_and_a_small_one_at_once() -> None:
    made = []
    room = Room()

    async def make(size: int) -> None:
        with room.place("a") as place:
            if size:
                await place.grow(size, 30)
            async with place.reading(30):
                begun = time.monotonic()
                time.sleep(0.005 if size else 0.0)
                made.append((size, begun, time.monotonic()))

    await asyncio.gather(make(1), make(2), make(3), make(0))
    assert [size for size, *_ in made] == [0, 1, 2, 3]
    _, (_, _, first), (_, second, ended), (_, third, _) = made
    assert min(second - first, third - ended) >= 0.015


@pytest.mark.parametrize(("worked", "rest"), [(0.001, 0.004), (0.006, 0.024), (0.03, 0.6), (0.1, 1.0)])
def test_what_takes_long_is_followed_by_a_rest_that_is_longer_than_in_proportion(worked: float, rest: float) -> None:
    assert rest_after(worked) == pytest.approx(rest)


@in_a_loop
async def test_a_small_body_of_many_values_is_read_in_turn_like_a_large_one() -> None:
    room, sizes = Room(), []
    for body in (b'"' + b"," * 60_000 + b'"', b"[" + b"1," * 999 + b"1]", b"[" + b"[]," * 2_000 + b"1]"):
        for whole in (True, False):

            async def receive(body: bytes = body) -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            request = Request({"method": "PUT", "headers": [], WHOLE: whole}, receive)
            with room.place("a") as place:
                assert await read_body(request, 30, place=place) == body
                sizes.append(place.size)
    assert sizes == [0, 0, 0, 0, SMALL, SMALL]


@in_a_loop
async def test_whose_turn_does_not_come_is_refused_and_takes_nobody_elses() -> None:
    room = Room()
    with room.place("a") as large, room.place("b") as late:
        await large.grow(1, NOW)
        await late.grow(1, NOW)
        async with large.reading(NOW):
            with pytest.raises(NoRoom):
                async with late.reading(NOW):
                    pass
        async with late.reading(30):
            pass
