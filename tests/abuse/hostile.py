"""A hostile server in the place of a GitHub. A program: ``hostile KIND``; prints its URL, and serves until it is ended.

A thread for each connection, because it must keep many open at once and be slow on purpose.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

MIB = 1 << 20


def _head(status: str = "200 OK", length: int | None = None, extra: str = "") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"HTTP/1.1 {status}\r\nDate: Sun, 29 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n{size}\r\n"
        f"{extra}Connection: close\r\n\r\n"
    ).encode()


def _whole(body: bytes, status: str = "200 OK", extra: str = "") -> Iterator[bytes]:
    yield _head(status, len(body), extra)
    yield from (body[at : at + MIB] for at in range(0, len(body), MIB))


def arrays(path: str) -> Iterator[bytes]:
    """32 MiB of empty lists."""
    del path
    return _whole(b"[" + b"[]," * (32 * MIB // 3) + b"[]]")


def jobs(path: str) -> Iterator[bytes]:
    """32 MiB of empty lists for every other run; the others have failed, and have 4,900 jobs on each of their pages."""
    run_id = int(path.split("/runs/")[1].partition("/")[0])
    if run_id % 2:
        return arrays(path)
    if "/jobs" in path:
        return _whole(json.dumps({"total_count": 1_000_000, "jobs": [{"name": "a"}] * 4_900}).encode())
    return _whole(json.dumps({"id": run_id, "status": "completed", "conclusion": "failure"}).encode())


def arrays_within_bounds(path: str) -> Iterator[bytes]:
    """As many empty lists as the request's own bound lets through."""
    most = (4 if "/runs?" in path else 1) * MIB - 100
    return _whole(b"[" + b"[]," * (most // 3 - 2) + b"[]]")


def numbers(path: str) -> Iterator[bytes]:
    """As many numbers with many digits as an answer may have."""
    del path
    return _whole(b"[" + b",".join([b"1.234567890123456789e-300"] * 40_000) + b"]")


def escapes(path: str) -> Iterator[bytes]:
    """A listing whose titles are nothing but escapes."""
    title = "\\\\u005c" * 60_000
    runs = [_run(number, "TITLE") for number in range(8)]
    body = json.dumps({"total_count": 8, "workflow_runs": runs}).replace("TITLE", title)
    if "/dispatches" in path:
        return iter([b"HTTP/1.1 204 No Content\r\nDate: Sun, 29 Nov 2026 12:00:00 GMT\r\nConnection: close\r\n\r\n"])
    return _whole(body.encode())


def _run(number: int, title: str) -> dict[str, object]:
    return {
        "id": 1000 + number,
        "html_url": f"http://x/{number}",
        "event": "workflow_dispatch",
        "head_branch": "main",
        "created_at": "2030-01-01T00:00:00Z",
        "display_title": title,
        "actor": {"login": "x"},
        "padding": "x" * 200_000,
    }


def listings(path: str) -> Iterator[bytes]:
    """A 204, and then 22 MiB for each listing."""
    if "/dispatches" in path:
        return iter([b"HTTP/1.1 204 No Content\r\nDate: Sun, 29 Nov 2026 12:00:00 GMT\r\nConnection: close\r\n\r\n"])
    return _whole(json.dumps({"total_count": 100, "workflow_runs": [_run(n, "t") for n in range(100)]}).encode())


def long_name(path: str) -> Iterator[bytes]:
    """A name of just under 1 MiB wherever a text stands."""
    del path
    return _whole(json.dumps({"message": "x " * (MIB // 2 - 200), "status": "x" * 100}).encode(), "404 Not Found")


def long_link(path: str) -> Iterator[bytes]:
    """A run whose page has an address of 5,000 characters, longer than a record may hold."""
    del path
    run = {"workflow_run_id": 1000, "run_url": "http://x/1000", "html_url": "http://x/" + "x" * 5_000}
    return _whole(json.dumps(run).encode())


def nameless(path: str) -> Iterator[bytes]:
    """A 204, and a listing without runs."""
    if "/dispatches" in path:
        return iter([b"HTTP/1.1 204 No Content\r\nDate: Sun, 29 Nov 2026 12:00:00 GMT\r\nConnection: close\r\n\r\n"])
    return _whole(json.dumps({"total_count": 0, "workflow_runs": []}).encode())


def named(path: str) -> Iterator[bytes]:
    """A 204, and a listing of two runs that both name the promotions `fat` and `crowded`."""
    if "/dispatches" in path:
        return nameless(path)
    runs = [_run(number, "Deploy fat crowded") for number in range(2)]
    return _whole(json.dumps({"total_count": 2, "workflow_runs": runs}).encode())


def informational(path: str) -> Iterator[bytes]:
    """Nothing but 100 Continue, as fast as they are read."""
    del path
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 1000


def dripping(path: str) -> Iterator[bytes]:
    """A body byte by byte."""
    del path
    yield _head(length=100_000)
    for _ in range(100_000):
        yield b" "
        time.sleep(0.2)


def framed(path: str) -> Iterator[bytes]:
    """Without end: heads of 12,000 fields that announce an answer, or one byte after 64 KB of a chunk's extensions."""
    announced = path[-1] in "02468"
    if not announced:
        yield _head()
    while True:
        head = b"HTTP/1.1 103 Early Hints\r\n" + b"a:b\r\n" * 12_000 + b"\r\n"
        yield head if announced else b"1;" + b"x" * 65_000 + b"\r\n \r\n"


def silent(path: str) -> Iterator[bytes]:
    """No answer at all."""
    del path
    time.sleep(600)
    yield b""


KINDS: dict[str, Callable[[str], Iterator[bytes]]] = {
    made.__name__: made
    for made in (
        arrays,
        jobs,
        arrays_within_bounds,
        numbers,
        escapes,
        listings,
        long_name,
        long_link,
        nameless,
        named,
        informational,
        dripping,
        framed,
        silent,
    )
}


def _serve(connection: socket.socket, answer: Callable[[str], Iterator[bytes]]) -> None:
    try:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := connection.recv(65536)):
                    return
                head += data
            for part in answer(head.split(b" ")[1].decode()):
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(2)
            while connection.recv(65536):
                pass
    except OSError:
        return


def main() -> None:
    """Serve."""
    answer = KINDS[sys.argv[1]]
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, answer), daemon=True).start()


if __name__ == "__main__":
    main()
