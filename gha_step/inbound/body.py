"""A call's body in, a JSON answer out, and what is left of the body when the answer comes early. It knows no call."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from gha_step.contract.json_text import has_more_values
from gha_step.inbound import room
from gha_step.inbound.receiving import GivenAway
from gha_step.inbound.room import SMALL, NoRoom, Place
from gha_step.inbound.web import AT_ONCE, INCOMING, ClientDisconnect, Incoming, Receive, Request, Response, Scope, Send

MAX_BODY: Final = 4 << 20
ONE_READ: Final = 1 << 13  # bytes of a connection
MAX_VALUES: Final = 50_000  # in a body, and keys: to make them all takes 25 ms, for which nobody else is served
CROWDED: Final = "too many large bodies at once; call again"
_AT_ONCE: Final = nullcontext()


class BodyRefused(Exception):
    """The body cannot be read, and the connection cannot be used again. ``status``: what HTTP calls it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def peer_of(request: Request) -> str:
    """The address of whoever has connected, without its port: a caller, or a proxy before it."""
    return request.client[0] if request.client is not None else "unknown"


async def read_body(
    request: Request, within: float, most: int = MAX_BODY, *, place: Place | None = None
) -> bytes | bytearray:
    """The whole body.

    :param within: seconds.
    :param most: bytes.
    :param place: where a large body gets room; `None`: whoever asks sees to it that there is some.
    :raises BodyRefused: it is too large, too slow, there is no room for it, or the client has left.
    """
    too_large = BodyRefused(413, f"the body is larger than {most >> 20} MiB")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise too_large
    body = bytearray()
    try:
        if request.whole and most >= SMALL:
            whole = await request.read()
            await _take_turn(whole, within, place)
            return whole
        size = int(length) if length.isdigit() else most
        received = _AT_ONCE if place is None or size <= ONE_READ else place.receiving(f"{request.client}")
        incoming = request.incoming
        async with asyncio.timeout(within), received:
            if incoming is not None and place is not None:
                incoming.widen()
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise too_large
                if len(body) > SMALL and place is not None:
                    await place.grow(size, within)
        await _take_turn(body, within, place)
    except ClientDisconnect:
        raise BodyRefused(400, "the client closed the connection before the body was complete") from None
    except (NoRoom, GivenAway) as error:
        if place is not None:
            place.withheld = isinstance(error, GivenAway)
            if incoming is not None:
                incoming.forget()
        raise BodyRefused(503, CROWDED) from None
    except TimeoutError:
        raise BodyRefused(503, f"the body did not arrive within {within:g} s; call again") from None
    return body


def is_light(body: bytes | bytearray) -> bool:
    """Whether values are made of it in no time."""
    return room.is_light(body, has_more_values)


async def _take_turn(body: bytes | bytearray, within: float, place: Place | None) -> None:
    """A small body of many values is treated as a large one."""
    if place is not None and not is_light(body):
        await place.grow(SMALL, within)


def making(place: Place, within: float) -> AbstractAsyncContextManager[None]:
    """Values are made of a body. :raises BodyRefused: others' large bodies take too long."""
    return _in_turn(place, within) if place.size else _AT_ONCE


@asynccontextmanager
async def _in_turn(place: Place, within: float) -> AsyncIterator[None]:
    try:
        async with place.reading(within):
            yield
    except NoRoom:
        raise BodyRefused(503, CROWDED) from None


def json_answer(status: int, content: Mapping[str, Any], *, close: bool = False) -> Response:
    """``content`` as JSON. ``close``: the connection ends with it, because some of the body may still be on its way."""
    return Response(json.dumps(content), status, {"connection": "close"} if close else None)


async def give(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the answer; if it ends the connection, drop what still comes, so that the answer arrives."""
    del receive
    if response.headers.get("connection") != "close":
        at_once = scope.get(AT_ONCE)
        if at_once is None or not at_once(response.start(), response.body):
            await response.send(send)
        return
    await send(response.start())
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    incoming: Incoming | None = scope.get(INCOMING)
    if incoming is not None and not any(name == b"expect" for name, _ in scope["headers"]):  # who sends nothing now
        await incoming.drop()
    await send({"type": "http.response.body", "body": b"", "more_body": False})
