"""Large bodies share one room, of which no project takes all; and values are counted before they are made."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from gha_step.contract.json_text import parse_json
from gha_step.inbound.room import ROOM, SHARE, NoRoom, Room

NOW = 0.01  # seconds to wait where nothing is to come


def in_a_loop(play: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await play()

    asyncio.run(whole())


def test_there_is_room_for_so_many_bytes_until_their_calls_are_answered() -> None:
    async def play() -> None:
        room = Room()
        with room.place("a") as whole:
            await whole.grow(ROOM, NOW)
            with room.place("b") as other, pytest.raises(NoRoom):
                await other.grow(1, NOW)
        with room.place("b") as other:
            await other.grow(ROOM, NOW)
            await other.grow(ROOM, NOW)  # it has it already

    in_a_loop(play)


def test_who_waits_goes_on_when_another_has_done() -> None:
    async def play() -> None:
        room = Room()
        with room.place("b") as other:
            with room.place("a") as whole:
                await whole.grow(ROOM, NOW)
                waits = asyncio.create_task(other.grow(1, 30))
                await asyncio.sleep(0)
                assert not waits.done()
            await waits

    in_a_loop(play)


def test_a_project_gets_no_more_than_its_share_while_another_waits() -> None:
    async def play() -> None:
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

    in_a_loop(play)


def test_what_was_given_up_or_is_answered_leaves_nothing_behind() -> None:
    async def play() -> None:
        room = Room()
        for number in range(100):
            with room.place(f"p{number}") as place:
                await place.grow(1, NOW)
        assert not room._held
        assert not room._waiting

    in_a_loop(play)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "text",
    [b"[" + b"[]," * 100 + b"1]", b'{"a":' * 60 + b"1" + b"}" * 60, b'["a"' + b',""' * 101 + b"]", b'["' * 1000],
)
def test_more_values_than_may_come_are_refused_before_any_is_made(text: bytes) -> None:
    with pytest.raises(ValueError, match="more than 100 values"):
        parse_json(text, most=100)


def test_marks_within_strings_are_no_values() -> None:
    text = '{"a": "' + ',:[{\\\\\\"' * 1000 + '", "b": "' + "\\\\" * 3 + '"}'
    assert set(parse_json(text.encode(), most=10)) == {"a", "b"}


def test_after_work_on_a_large_body_the_next_one_waits_and_a_small_one_does_not() -> None:
    async def play() -> None:
        room = Room()
        with room.place("a") as large, room.place("a") as small, room.place("b") as next_one:
            with small.reading():
                time.sleep(0.02)
            await large.grow(1, NOW)
            with large.reading():
                time.sleep(0.02)
            with pytest.raises(NoRoom):
                await next_one.grow(1, NOW)
            await next_one.grow(1, 30)

    in_a_loop(play)
