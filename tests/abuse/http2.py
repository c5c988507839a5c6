"""HTTP/2 by hand, as far as an attacker needs it: a head of literals, messages that are not finished, resets."""

import asyncio
import ssl
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    def text(given: str) -> bytes:
        raw = given.encode()
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        rest, made = len(raw) - 127, [127]
        while rest >= 128:
            made.append(rest % 128 + 128)
            rest //= 128
        return bytes([*made, rest]) + raw

    return b"\x00" + text(name) + text(value)


def head(path: str, token: str) -> bytes:
    """The fields of a gRPC call."""
    fields = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]  # fmt: skip
    if token:
        fields.append(("authorization", f"Bearer {token}"))
    return b"".join(_literal(*field) for field in fields)


class Raw:
    """One connection that does what HTTP/2 asks for, and no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._stream = -1
        self._window = 65535
        self._windows: dict[int, int] = {}
        self._initial = 65535
        self.most = 0  # streams at once, as the server says
        self._changed = asyncio.Event()
        self.gone = False
        self.resets: list[int] = []
        self.goaway = False
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, host: str, port: int, tls: ssl.SSLContext | None = None) -> "Raw":
        """``tls``: how the server is proved; ``None``: plaintext."""
        name = None if tls is None else "localhost"
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
        raw = cls(reader, writer)
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0))
        return raw

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream = int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
                payload = await self._reader.readexactly(size)
                if kind == _SETTINGS and not flags & 1:
                    for at in range(0, size, 6):
                        name, value = struct.unpack(">HI", payload[at : at + 6])
                        if name == 3:
                            self.most = value
                        if name == 4:
                            for one in self._windows:
                                self._windows[one] += value - self._initial
                            self._initial = value
                    self._writer.write(_frame(_SETTINGS, 1, 0))
                elif kind == _PING and not flags & 1:
                    self._writer.write(_frame(_PING, 1, 0, payload))
                elif kind == _WINDOW:
                    more = int.from_bytes(payload, "big")
                    if stream:
                        self._windows[stream] = self._windows.get(stream, 0) + more
                    else:
                        self._window += more
                elif kind == _RESET:
                    self.resets.append(stream)
                    self._windows.pop(stream, None)
                elif kind == 7:
                    self.goaway = True
                self._changed.set()
        except (OSError, asyncio.IncompleteReadError):
            self.gone = True
            self._changed.set()

    def begin(self, path: str, token: str, flags: int = 4) -> int:
        """The head of a call."""
        self._stream += 2
        self._windows[self._stream] = self._initial
        self._writer.write(_frame(_HEADERS, flags, self._stream, head(path, token)))
        return self._stream

    async def call(self, path: str, token: str, size: int, sent: int) -> None:
        """A call whose message is to have ``size`` bytes, of which ``sent`` come, as the server lets them."""
        stream = self.begin(path, token)
        asyncio.get_running_loop().create_task(self._send(stream, b"\0" + struct.pack(">I", size) + bytes(sent)))
        await asyncio.sleep(0)

    async def _send(self, stream: int, data: bytes) -> None:
        while data and not self.gone and stream in self._windows:
            room = min(self._window, self._windows[stream], 16384, len(data))
            if room <= 0:
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), 1)
                except TimeoutError:
                    continue
                continue
            self._window -= room
            self._windows[stream] -= room
            self._writer.write(_frame(_DATA, 0, stream, data[:room]))
            data = data[room:]
            try:
                await self._writer.drain()
            except OSError:
                return

    async def whole(self, path: str, token: str) -> None:
        """A whole call with an empty message. :raises OSError: the connection is gone."""
        stream = self.begin(path, token)
        self._windows.pop(stream, None)
        self._writer.write(_frame(_DATA, 1, stream, b"\0\0\0\0\0"))
        if self.gone:
            raise OSError("gone")
        await self._writer.drain()

    async def close(self) -> None:
        """End the connection; over TLS a server need not say goodbye."""
        self._writer.transport.abort()
        await self._task

    async def call_and_reset(self, path: str, token: str) -> None:
        """A whole call that is taken back. :raises OSError: the connection is gone."""
        stream = self.begin(path, token)
        self._windows.pop(stream, None)
        self._writer.write(_frame(_DATA, 1, stream, b"\0\0\0\0\0") + _frame(_RESET, 0, stream, struct.pack(">I", 8)))
        if self.gone:
            raise OSError("gone")
        await self._writer.drain()
        await asyncio.sleep(0)

    async def greeted(self) -> None:
        """Wait for the server's settings, or the end of the connection."""
        while not (self.most or self.gone):
            self._changed.clear()
            await self._changed.wait()

    async def until_closed(self) -> None:
        """Wait for the server to end the connection."""
        await self._task
        self._writer.close()
        raise OSError("closed")
