"""What gRPC callers may hold at once: messages that do not end, and Runs that wait."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from gha_step.inbound.grpc import accepting, server
from gha_step.inbound.grpc import messages as service
from gha_step.inbound.grpc.accepting import BYTES, EXECUTE, EXECUTES, OTHERS, RUN, RUNS
from gha_step.inbound.grpc.server import MAX_OPEN_MESSAGE, MAX_RUNS, _Places, _Reading
from gha_step.inbound.receiving import GivenAway, Places
from gha_step.inbound.room import SMALL
from gha_step.pb.v1 import step_pb2 as pb
from tests.abuse.http2 import Raw
from tests.inbound.channels import PROOF, SERVICE, channel, live, request, stub
from tests.support.calls import BEARER, body, config
from tests.support.clock import LONG
from tests.support.loops import in_a_loop

HEALTH = "/grpc.health.v1.Health/Check"
KINDS = f"/{SERVICE}/ListKinds"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


async def saying(message: Any) -> AsyncIterator[Any]:
    yield message


async def silent(free: asyncio.Event) -> AsyncIterator[Any]:
    await free.wait()
    yield pb.ListKindsRequest()


@pytest.mark.parametrize(("bound", "whose"), [("MESSAGE_WITHIN", "a"), ("GRACE", "b")], ids=["own", "just begun"])
@in_a_loop
async def test_so_many_messages_are_received_at_once_and_others_wait_for_a_while(
    monkeypatch: pytest.MonkeyPatch, bound: str, whose: str
) -> None:
    """For the same caller's message, and for another's that has just begun."""
    monkeypatch.setattr(server, bound, 30.0)
    reading, free = _Reading(1, 100, proved=True), asyncio.Event()
    first = asyncio.create_task(reading.only(silent(free), "a"))
    await asyncio.sleep(0)
    second = asyncio.create_task(reading.only(saying(pb.ListKindsRequest()), whose))
    await asyncio.sleep(0.01)
    assert not second.done()
    free.set()
    assert await first == await second


@in_a_loop
async def test_who_gets_no_turn_is_told_to_call_again_and_who_says_nothing_that_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "OPEN_MESSAGE_WITHIN", 0.05)
    reading, free = _Reading(1, 100, proved=False), asyncio.Event()
    with pytest.raises(service.Malformed, match=r"within 0\.05 s"):
        await reading.only(silent(free), "a")
    async with reading._places.one("a"):
        with pytest.raises(service.Refused) as caught:
            await reading.only(silent(free), "a")
    assert caught.value.code is EXHAUSTED
    assert await reading.only(saying(pb.ListKindsRequest()), "a") == pb.ListKindsRequest()


@in_a_loop
async def test_who_withholds_messages_gives_up_a_place_for_who_has_none_and_not_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MESSAGE_WITHIN", 30.0)
    monkeypatch.setattr(server, "GRACE", 0.1)
    reading, never = _Reading(3, 100, proved=True), asyncio.Event()
    withheld = [asyncio.create_task(reading.only(silent(never), "many")) for _ in range(6)]
    alone = asyncio.create_task(reading.only(silent(never), "alone"))
    await asyncio.sleep(0.3)  # one of three places went to the one that came last
    assert [one.done() for one in (*withheld, alone)] == [True] + [False] * 6
    assert await reading.only(saying(pb.ListKindsRequest()), "good") == pb.ListKindsRequest()
    assert [one.done() for one in (*withheld, alone)] == [True, True] + [False] * 5
    for one in withheld[:2]:
        with pytest.raises(service.Refused) as caught:
            one.result()
        assert caught.value.code is EXHAUSTED
    never.set()
    for one in (*withheld[2:], alone):
        assert await one == pb.ListKindsRequest()
    assert await reading.only(saying(pb.ListKindsRequest()), "good") == pb.ListKindsRequest()


@in_a_loop
async def test_places_go_from_callers_that_have_one_each_to_more_than_there_are_places() -> None:
    places, never = Places(2, 0.05, 10), asyncio.Event()

    async def hold(whose: str, until: asyncio.Event | None) -> str:
        async with places.one(whose):
            if until is not None:
                await until.wait()
        return whose

    withheld = [asyncio.create_task(hold(whose, never)) for whose in "ab"]
    await asyncio.sleep(0.1)
    assert await asyncio.gather(*(hold(whose, None) for whose in "cdefg")) == list("cdefg")
    never.set()
    assert isinstance((await asyncio.gather(*withheld, return_exceptions=True))[0], GivenAway)


@in_a_loop
async def test_no_more_than_may_wait_for_a_place() -> None:
    places = Places(1, 30, 1)

    async def hold(whose: str) -> str:
        async with places.one(whose):
            return whose

    async with places.one("a"):
        waiting = asyncio.create_task(hold("b"))
        await asyncio.sleep(0)
        with pytest.raises(GivenAway):
            await hold("c")
    assert await waiting == "b"


@in_a_loop
async def test_a_message_that_is_read_is_not_kept_for_as_long_as_the_call_takes() -> None:
    messages: Any = saying(pb.ListKindsRequest())
    assert await _Reading(1, 100, proved=True).only(messages, "") == pb.ListKindsRequest()
    assert messages.ag_frame is None


def test_a_message_to_a_method_for_everyone_names_a_service_and_has_no_more_bytes_than_that() -> None:
    reading = _Reading(1, MAX_OPEN_MESSAGE, proved=False)
    request = pb.ExecuteRequest()
    request.context.project = "x" * MAX_OPEN_MESSAGE
    with pytest.raises(service.Malformed, match="4096 bytes"):
        asyncio.run(reading.only(saying(request), "a"))


@in_a_loop
async def test_a_conversation_in_which_nothing_is_said_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MESSAGE_WITHIN", 0.05)
    assert [one async for one in _Reading(1, 100, proved=False).each(silent(asyncio.Event()))] == []


def test_the_runs_of_one_project_leave_places_to_the_others() -> None:
    runs = _Places(MAX_RUNS, "Runs")
    with ExitStack() as stack:
        for _ in range(MAX_RUNS * 3 // 4):
            stack.enter_context(runs.one("greedy"))
        with pytest.raises(service.Refused) as caught, runs.one("greedy"):
            pass
        assert caught.value.code is EXHAUSTED
        for _ in range(MAX_RUNS // 4):
            stack.enter_context(runs.one("other"))
    with runs.one("greedy"):
        pass


def test_what_the_configs_of_waiting_runs_take_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEPT_BY_RUNS", 20_000)
    with live(tmp_path) as running, stub(running.target) as caller:

        def ended(inputs: str) -> grpc.StatusCode:
            run = caller.Run(request(pb.RunRequest, body(config(inputs={"x": inputs}))), metadata=PROOF, timeout=LONG)
            try:
                for _ in run:
                    pass
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        assert ended("y" * 20_000) is EXHAUSTED
        assert [ended("y" * 10_000) for _ in range(3)] == [grpc.StatusCode.OK] * 3


def test_runs_are_accepted_slowly_and_executes_at_once_unless_many_send_no_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepting, "AT_ONCE", 3)
    withheld = False
    pauses = accepting.Pauses(lambda: withheld)

    def told(method: str, now: float) -> list[float]:
        return [pauses.before(method, now) for _ in range(5)]

    assert told(EXECUTE, 100.0) == [0] * 5
    withheld = True
    assert told(EXECUTE, 100.0) == pytest.approx([0, 0, 0, 1 / EXECUTES, 2 / EXECUTES])
    for now in (100.0, 200.0):
        assert told(RUN, now) == pytest.approx([0, 0, 0, 1 / RUNS, 2 / RUNS])
    assert told(HEALTH, 100.0)[-1] + 1 / OTHERS == pytest.approx(pauses.before("", 100.0))


@pytest.mark.parametrize(("size", "counts"), [(0, 1), (BYTES // 2, 1.5), (4 << 20, 1 + SMALL / BYTES)])
def test_a_run_with_a_large_message_counts_as_more_and_no_other_call(size: int, counts: float) -> None:
    pauses = accepting.Pauses(lambda: True)
    for method, more in ((RUN, counts), (EXECUTE, 0)):
        for _ in range(accepting.AT_ONCE):
            pauses.before(method, 100.0)
        before = pauses.before(method, 100.0)
        pauses.received(method, size)
        each = pauses.before(method, 100.0) - before
        assert each == pytest.approx((1 + more) / (RUNS if method == RUN else EXECUTES))


@in_a_loop
async def test_many_calls_that_wait_for_their_message_delay_those_that_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "AT_ONCE", 0)
    monkeypatch.setattr(server, "WITHHELD", 1)
    nobody: Any = None
    edge, free = server._Edge(None, nobody, nobody, nobody), asyncio.Event()
    calls, paused = [], []
    for _ in range(server.READING + 2):
        calls.append(asyncio.create_task(edge._proved.only(silent(free), "a")))
        await asyncio.sleep(0)
        paused.append(edge.pauses.before(EXECUTE, 100.0) > 0)
    free.set()
    await asyncio.gather(*calls)
    assert paused == [False] * (server.READING + 1) + [True]
    assert edge.pauses.before(EXECUTE, 100.0) == 0


def test_runs_with_large_messages_hold_runs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "AT_ONCE", 1)
    monkeypatch.setattr(accepting, "BYTES", 10)
    with live(tmp_path) as running, channel(running.target) as caller:
        run: Any = caller.unary_stream(RUN)
        begun = time.monotonic()
        for _ in range(5):
            with pytest.raises(grpc.RpcError, match="not a valid"):
                list(run(b"\xff" * 200, timeout=LONG, metadata=PROOF))
        assert time.monotonic() - begun > 0.25  # the first two, and three of a tenth


def test_the_server_of_grpcio_accepts_calls_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "OTHERS", 10)
    with live(tmp_path) as running, channel(running.target) as caller:
        check: Any = caller.unary_unary(HEALTH)
        begun = time.monotonic()
        for _ in range(accepting.AT_ONCE + 5):
            check(b"", timeout=LONG)
        assert time.monotonic() - begun > 0.3


def test_a_grpcio_that_is_another_inside_accepts_whatever_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "_ASKED", ("is_gone",))
    with live(tmp_path) as running, channel(running.target) as caller:
        check: Any = caller.unary_unary(HEALTH)
        assert check(b"", timeout=LONG)
    assert "calls cannot be paced with this version of grpcio" in caplog.text


def limited(monkeypatch: pytest.MonkeyPatch, option: str, constant: int, most: int) -> None:
    """A server with a smaller limit. It is the option's real one that is in the table of docs/security.md."""
    assert dict(server.OPTIONS)[option] == constant
    monkeypatch.setattr(server, "OPTIONS", tuple((dict(server.OPTIONS) | {option: most}).items()))


def test_there_are_no_more_connections_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, "grpc.max_allowed_incoming_connections", server.MAX_CONNECTIONS, 3)

    async def play(target: str) -> None:
        host, _, port = target.rpartition(":")
        held = [await Raw.connect(host, int(port)) for _ in range(3)]
        for one in held:
            await one.whole(KINDS, BEARER)
            await one.greeted()
        refused = await Raw.connect(host, int(port))
        with suppress(OSError):
            await refused.until_closed()
        assert refused.gone
        await refused.close()
        assert not any(one.gone for one in held)
        await held[0].close()
        async with asyncio.timeout(LONG):
            while True:  # until grpc has heard that one has left
                other = await Raw.connect(host, int(port))
                await other.greeted()
                if not other.gone:
                    break
                await other.close()
        for one in (*held[1:], other):
            await one.close()

    with live(tmp_path) as running:
        asyncio.run(play(running.target))


def test_no_more_calls_than_may_be_wait_to_be_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "OTHERS", 0.1)
    monkeypatch.setattr(accepting, "AT_ONCE", 10)
    for option in ("max_pending_requests", "max_pending_requests_hard_limit"):
        limited(monkeypatch, f"grpc.server.{option}", server.MAX_PENDING, 3)
    with live(tmp_path) as running, channel(running.target) as caller:
        check: Any = caller.unary_unary(HEALTH)
        calls = [check.future(b"", timeout=LONG) for _ in range(30)]
        refused = next(call for call in as_done(calls) if call.code() is not grpc.StatusCode.OK)
        for call in calls:
            call.cancel()
    assert refused.code() is grpc.StatusCode.CANCELLED  # which is all that grpc says


def as_done(calls: list[Any]) -> Iterator[Any]:
    """Calls, those that are answered first."""
    ended: SimpleQueue[Any] = SimpleQueue()
    for call in calls:
        call.add_done_callback(ended.put)
    for _ in calls:
        yield ended.get(timeout=LONG)


def test_there_are_no_more_calls_on_one_connection_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, "grpc.max_concurrent_streams", server.MAX_STREAMS, 4)

    async def play(target: str) -> None:
        host, _, port = target.rpartition(":")
        raw = await Raw.connect(host, int(port))
        await raw.greeted()
        assert raw.most == 4
        for _ in range(5):  # which is more than it was told
            await raw.call(EXECUTE, BEARER, size=100, sent=99)
        async with asyncio.timeout(LONG):
            while not raw.resets:
                await asyncio.sleep(0.01)
        assert raw.resets == [9]
        await raw.close()

    with live(tmp_path) as running:
        asyncio.run(play(running.target))
