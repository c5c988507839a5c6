"""Many callers at once against one server. Times are seconds; whatever is not a run in the end is an error."""

import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from gha_step.contract.duration import parse_duration

from .programs import HEADERS, step_request

GIVE_UP: Final = 60.0  # seconds for one promotion
Ask = Callable[[bytes], Awaitable[dict[str, Any]]]


@dataclass
class Load:
    """What became of it: one time per promotion that has its run, and what went wrong for the others."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    calls: int = 0
    errors: list[str] = field(default_factory=list)


def throughput(port: int, connections: int, seconds: float) -> Load:
    """``connections`` callers that each keep a connection and dispatch one promotion after another for so long."""
    return asyncio.run(_throughput(port, connections, seconds))


async def _throughput(port: int, connections: int, seconds: float) -> Load:
    load, begun = Load(), time.perf_counter()

    async def caller() -> None:
        async def work(ask: Ask) -> None:
            while time.perf_counter() - begun < seconds:
                await _promotion(ask, load)

        await _connected(port, work, load)

    await asyncio.gather(*(caller() for _ in range(connections)))
    load.seconds = time.perf_counter() - begun
    return load


def in_flight(port: int, promotions: int, connections: int) -> Load:
    """So many promotions, each followed to its end; each connection takes the next one when it is free."""
    return asyncio.run(_in_flight(port, promotions, connections))


async def _in_flight(port: int, promotions: int, connections: int) -> Load:
    load, begun, left = Load(), time.perf_counter(), iter(range(promotions))

    async def work(ask: Ask) -> None:
        for _ in left:
            await _promotion(ask, load)

    await asyncio.gather(*(_connected(port, work, load) for _ in range(connections)))
    load.seconds = time.perf_counter() - begun
    return load


def at_once(port: int, promotions: int) -> Load:
    """So many promotions at the same moment, each over a connection of its own, each followed to its end."""
    return asyncio.run(_at_once(port, promotions))


async def _at_once(port: int, promotions: int) -> Load:
    load, begun = Load(), time.perf_counter()

    async def work(ask: Ask) -> None:
        await _promotion(ask, load)

    await asyncio.gather(*(_connected(port, work, load) for _ in range(promotions)))
    load.seconds = time.perf_counter() - begun
    return load


def allow_many_files(promotions: int) -> None:
    """For the callers' sockets; gha-step, which is started before, sees to its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * promotions if hard == resource.RLIM_INFINITY else min(4 * promotions, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _connected(port: int, work: Callable[[Ask], Awaitable[None]], load: Load) -> None:
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), GIVE_UP)
    except OSError as error:
        load.errors.append(f"no connection: {error}")
        return

    async def ask(request: bytes) -> dict[str, Any]:
        load.calls += 1
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        status = head[0].split(" ")[1]
        if status != "200":
            raise OSError(f"HTTP {status}: {body[:200]!r}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    try:
        await work(ask)
    except (OSError, asyncio.IncompleteReadError) as error:
        load.errors.append(f"{type(error).__name__}: {error}")
    finally:
        writer.close()


async def _promotion(ask: Ask, load: Load) -> None:
    """One promotion, as a host follows it: again and again until the answer is final."""
    request, begun = _request(), time.perf_counter()
    answer = await asyncio.wait_for(ask(request), GIVE_UP)
    while answer["status"] == "Running" and time.perf_counter() - begun < GIVE_UP:
        await asyncio.sleep(parse_duration(answer["retryAfter"]))
        answer = await asyncio.wait_for(ask(request), GIVE_UP)
    if answer["status"] == "Succeeded":
        load.times.append(time.perf_counter() - begun)
    else:
        load.errors.append(f"{answer['status']}: {answer.get('message')}")


def _request() -> bytes:
    body = json.dumps(step_request()).encode()
    headers = {**HEADERS, "Host": "127.0.0.1", "Content-Length": str(len(body)), "Connection": "keep-alive"}
    lines = ["POST /api/v1/step.execute HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body
