"""One HTTP request and one answer over ASGI, as far as this server needs them. It knows no path and no body.

A library's own would cost a tenth of a start and of its memory, most of it for forms, cookies and templates.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from functools import cached_property
from typing import Any, Final, Protocol, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON: Final = "application/json"
WHOLE: Final = "gha_step.whole"  # in a scope: the body has arrived already, and is small
AT_ONCE: Final = "gha_step.at_once"  # in a scope: sends a start and a body together, and tells whether it could

INCOMING: Final = "gha_step.incoming"  # in a scope: the `Incoming` of its request


class ClientDisconnect(Exception):
    """The client has left before its body was complete."""


class Incoming(Protocol):
    """What still comes of a body."""

    def widen(self) -> None:
        """There is room for it: it may come in larger parts."""

    def forget(self) -> None:
        """What has arrived of it is of no use."""

    async def drop(self) -> None:
        """Nor is the rest; the answer is on its way, and ends the connection."""


class Headers:
    """A request's headers; names in lower case."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def getlist(self, name: str) -> list[str]:
        """All values under a name."""
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for one, value in self._raw if one == wanted]

    def get(self, name: str, default: str = "") -> str:
        """The first value under a name."""
        return next(iter(self.getlist(name)), default)


async def read_already() -> Message:
    """The `Receive` of a request whose body whoever asks has in hand."""
    return {"type": "http.disconnect"}


class Request:
    """A request whose body has not been read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.client: tuple[str, int] | None = scope.get("client")
        self._receive = receive

    @cached_property
    def headers(self) -> Headers:
        return Headers(self.scope["headers"])

    @property
    def whole(self) -> bool:
        """Whether `read` waits for nothing."""
        return bool(self.scope.get(WHOLE))

    @property
    def incoming(self) -> Incoming | None:
        """Its body, where it may come in parts."""
        return self.scope.get(INCOMING)

    async def read(self) -> bytes:
        """The body of a request that is `whole`. :raises ClientDisconnect: the client has left."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return bytes(message["body"])

    async def stream(self) -> AsyncIterator[bytes]:
        """The body, part by part. :raises ClientDisconnect: it ends before its end."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if part := message.get("body", b""):
                yield part
            if not message.get("more_body", False):
                return


class Response:
    """An answer."""

    def __init__(
        self, content: str | bytes, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = JSON
    ) -> None:
        self.body = content.encode() if isinstance(content, str) else content
        self.status = status
        self.headers = {"content-length": str(len(self.body)), "content-type": media_type, **(headers or {})}

    def start(self) -> Message:
        """What ASGI sends before the body."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    async def send(self, send: Send) -> None:
        """Send it whole."""
        await send(self.start())
        await send({"type": "http.response.body", "body": self.body})


AtOnce: TypeAlias = Callable[[Scope, bytes, Callable[[Response], None]], bool]
"""Begins to answer a request whose body is whole, without a task of the loop; whether it does. Gives the answer once,
later or now."""
