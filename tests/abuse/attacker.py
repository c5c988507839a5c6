"""What attackers do over connections of their own. A program: ``attacker NAME ARGUMENTS``; runs until it is ended.

Where ABUSE_CA names a file, they speak TLS.
"""

import json
import os
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from tests.abuse.http2 import Raw


def allow_many_files() -> None:
    """For thousands of connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _address(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host, int(port)


def _tls() -> ssl.SSLContext | None:
    if not (authority := os.environ.get("ABUSE_CA")):
        return None
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2"])
    return context


def _channel(target: str) -> grpc.Channel:
    """Of a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if not (authority := os.environ.get("ABUSE_CA")):
        return grpc.insecure_channel(target, options)
    with open(authority, "rb") as file:
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()), options)


def pipeline(target: str) -> None:
    """One connection, opened anew when it is closed, and ever more requests on it."""
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2000

    def read(sock: socket.socket) -> None:
        with suppress(OSError):
            while sock.recv(65536):
                pass

    while True:
        with suppress(OSError), socket.create_connection(_address(target)) as sock:
            threading.Thread(target=read, args=(sock,), daemon=True).start()
            while True:
                sock.sendall(request)


def heads(target: str, count: str) -> None:
    """Connections on which no head ever ends, opened anew when they are closed."""
    allow_many_files()
    _hold(target, int(count), b"GET /healthz HTTP/1.1\r\nHost: ")


def idle(target: str, count: str) -> None:
    """Connections on which nothing comes at all."""
    allow_many_files()
    _hold(target, int(count), b"")


def _hold(target: str, count: int, first: bytes) -> None:
    held: list[socket.socket] = []
    tls = _tls()
    while True:
        for _ in range(min(500, count - len(held))):
            try:
                sock = socket.create_connection(_address(target), timeout=2)
                if tls is not None:
                    sock = tls.wrap_socket(sock, server_hostname="localhost")
                sock.sendall(first)
                sock.setblocking(False)
                held.append(sock)
            except OSError:
                time.sleep(0.01)
        kept = []
        for sock in held:
            try:
                closed = sock.recv(65536) == b""
            except (BlockingIOError, ssl.SSLWantReadError):
                closed = False
            except OSError:
                closed = True
            if closed:
                sock.close()
            else:
                kept.append(sock)
        held = kept
        time.sleep(0.05)


def posts(target: str, path: str, token: str, file: str, threads: str) -> None:
    """The same body again and again."""
    import http.client

    content = open(file, "rb").read()  # noqa: SIM115
    method = "PUT" if "/projects/" in path else "POST"

    def post() -> None:
        while True:
            connection = http.client.HTTPConnection(target, timeout=60)
            try:
                connection.request(method, path, content, {"Authorization": f"Bearer {token}"})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            finally:
                connection.close()

    _in_threads(post, int(threads))


def guesses(target: str, per_second: str) -> None:
    """Wrong tokens for ever other projects."""
    import http.client

    def guess(worker: int) -> None:
        number = 0
        while True:
            number += 1
            connection = http.client.HTTPConnection(target, timeout=10)
            try:
                path = f"/api/v1/projects/p{worker}-{number}/dispatches/p/a"
                connection.request("PUT", path, b"{}", {"Authorization": "Bearer guess"})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(50 / float(per_second))

    numbers = iter(range(1000))
    _in_threads(lambda: guess(next(numbers)), 50)


def _in_threads(work: Callable[[], None], count: int) -> None:
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(3600)


def runs(target: str, token: str, file: str, count: str) -> None:
    """Run, many at once, of steps that go on."""
    from gha_step.pb.v1 import step_pb2 as pb
    from gha_step.pb.v1 import step_pb2_grpc

    body = json.loads(open(file, "rb").read())  # noqa: SIM115
    channels = [_channel(target) for _ in range(8)]
    waits = []
    for number in range(int(count)):
        message = pb.RunRequest()
        message.context.project = body["context"]["project"]
        message.context.promotion_uid = f"run-{number}"
        message.context.alias = "a"
        message.step.kind = body["step"]["kind"]
        message.step.config.update(body["step"]["config"])
        stub = step_pb2_grpc.StepServiceStub(channels[number % len(channels)])
        waits.append(stub.Run(message, metadata=(("authorization", f"Bearer {token}"),)))
    time.sleep(3600)


def withheld(target: str, path: str, token: str, connections: str, streams: str) -> None:
    """gRPC calls that never send the last byte of their message of 4 MiB."""

    async def begin(raw: "Raw") -> None:
        for _ in range(int(streams)):
            await raw.call(path, token, size=4 << 20, sent=(4 << 20) - 1)

    _over_connections(target, int(connections), begin)


def silent(target: str, path: str, token: str, connections: str, streams: str) -> None:
    """gRPC calls in which no message comes at all."""

    async def begin(raw: "Raw") -> None:
        await raw.greeted()
        for _ in range(int(streams)):
            raw.begin(path, token)

    _over_connections(target, int(connections), begin)


def _over_connections(target: str, count: int, begin: "Callable[[Raw], Awaitable[None]]") -> None:
    """So many connections on which something has begun; each that the server closes is replaced."""
    import asyncio

    from tests.abuse.http2 import Raw

    async def one() -> None:
        while True:
            try:
                raw = await Raw.connect(*_address(target), _tls())
                await begin(raw)
                await raw.until_closed()
            except OSError:
                await asyncio.sleep(0.05)

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(count)))

    asyncio.run(all_of_them())


def dense(target: str, token: str) -> None:
    """gRPC messages of 3.8 MB that are nothing but empty values, two bytes each."""
    from google.protobuf.struct_pb2 import Value

    from gha_step.pb.v1 import step_pb2 as pb

    message = pb.ExecuteRequest()
    message.context.project, message.context.promotion_uid, message.context.alias = "attacker", "u", "a"
    message.step.kind = "gha-dispatch-workflow"
    message.step.config.fields["x"].list_value.values.extend([Value()] * 1_900_000)
    content = message.SerializeToString()
    execute: Any = _channel(target).unary_unary("/gha_step.v1.StepService/Execute")

    def again() -> None:
        while True:
            with suppress(grpc.RpcError):
                execute(content, timeout=30, metadata=(("authorization", f"Bearer {token}"),))

    _in_threads(again, 16)


def pieces(target: str, token: str, head: str, piece: str) -> None:
    """What comes in tiny pieces after the first lines of a request, for as long as the server reads it."""

    def send() -> None:
        begin = f"POST /api/v1/step.execute HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{head}"
        while True:
            with suppress(OSError), socket.create_connection(_address(target), timeout=10) as sock:
                sock.sendall(begin.encode())
                while True:
                    sock.sendall(piece.encode() * 2000)

    _in_threads(send, 16)


def slow_bodies(target: str, token: str, count: str) -> None:
    """Connections with a valid bearer, each of a body whose last byte never comes."""
    allow_many_files()
    head = f"POST /api/v1/step.execute HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    _hold(target, int(count), f"{head}Content-Length: 300001\r\n\r\n".encode() + b" " * 300_000)


def frames(target: str, token: str, kind: str) -> None:
    """HTTP/2 frames of one kind without end, over four connections."""
    from tests.abuse import http2

    pieces = {
        "ping": http2._frame(6, 0, 0, bytes(8)),
        "settings": http2._frame(4, 0, 0, b"\0\4" + (65_535).to_bytes(4, "big")),
        "window": http2._frame(8, 0, 0, (1).to_bytes(4, "big")),
        "priority": http2._frame(2, 0, 1, bytes(5)),
        "data": http2._frame(0, 0, 1),
        "continuation": http2._frame(9, 0, 1, http2._literal("x", "y")),
        "unknown": http2._frame(99, 0, 0),
    }

    async def begin(raw: "Raw") -> None:
        await raw.greeted()
        flags = 0 if kind == "continuation" else 4
        raw.begin("/gha_step.v1.StepService/Execute", token, flags)
        while not raw.gone:
            raw._writer.write(pieces[kind] * 2000)
            await raw._writer.drain()

    _over_connections(target, 4, begin)


def cancelled_runs(target: str, token: str, file: str) -> None:
    """Runs that are taken back as soon as they are sent."""
    from gha_step.pb.v1 import step_pb2 as pb
    from gha_step.pb.v1 import step_pb2_grpc

    body = json.loads(open(file, "rb").read())  # noqa: SIM115
    message = pb.RunRequest()
    message.context.project, message.context.promotion_uid, message.context.alias = body["context"]["project"], "u", "a"
    message.step.kind = body["step"]["kind"]
    message.step.config.update(body["step"]["config"])

    def again() -> None:
        stub = step_pb2_grpc.StepServiceStub(_channel(target))
        while True:
            run = stub.Run(message, metadata=(("authorization", f"Bearer {token}"),))
            time.sleep(0.002)
            run.cancel()

    _in_threads(again, 8)


def requests(target: str, source: str, file: str, threads: str, reads: str) -> None:
    """The same bytes, each time over a connection of its own. Without ``reads`` no answer is read, and ever more sent.

    :param source: the address from which they come.
    """
    content = open(file, "rb").read()  # noqa: SIM115

    def request() -> None:
        while True:
            with suppress(OSError), socket.create_connection(_address(target), 20, (source, 0)) as sock:
                sock.sendall(content)
                if reads:
                    while sock.recv(65536):
                        pass
                while not reads:
                    sock.sendall(content)

    _in_threads(request, int(threads))


def resets(target: str, token: str) -> None:
    """Calls that are taken back at once, as many as one connection takes."""
    import asyncio

    from tests.abuse.http2 import Raw

    async def one() -> None:
        while True:
            try:
                raw = await Raw.connect(*_address(target), _tls())
                while True:
                    await raw.call_and_reset("/grpc.health.v1.Health/Check", token)
            except OSError:
                await asyncio.sleep(0.01)

    asyncio.run(one())


def refused(target: str) -> None:
    """Calls without a bearer, as many as one connection takes."""
    call: Any = _channel(target).unary_unary("/gha_step.v1.StepService/Execute")

    def again() -> None:
        while True:
            with suppress(grpc.RpcError):
                call(b"", timeout=5)

    _in_threads(again, 16)


def scrapes(target: str, threads: str) -> None:
    """/metrics without a pause."""
    import http.client

    def scrape() -> None:
        while True:
            connection = http.client.HTTPConnection(target, timeout=60)
            try:
                connection.request("GET", "/metrics")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            finally:
                connection.close()

    _in_threads(scrape, int(threads))


ATTACKS: dict[str, Callable[..., None]] = {
    made.__name__: made
    for made in (
        pipeline,
        heads,
        idle,
        posts,
        guesses,
        runs,
        withheld,
        silent,
        dense,
        pieces,
        resets,
        refused,
        scrapes,
        requests,
        slow_bodies,
        frames,
        cancelled_runs,
    )
}

if __name__ == "__main__":
    with suppress(OSError):
        ATTACKS[sys.argv[1]](*sys.argv[2:])
