"""A GitHub that costs next to nothing: fixed bytes for each request, after a delay that can be set.

A program; prints its URL, and serves until it is ended. Besides GitHub's API (under /api/v3):

    PUT /delay/SECONDS    every answer of the API is held back for so long from now on
    GET /requests         how many requests to the API came since this was last asked
"""

import asyncio
import json
import re
from email.utils import formatdate
from typing import Any

RUN_ID = 1_000_000_001
DISPATCH = re.compile(r"(/api/v3/repos/[^/]+/[^/]+)/actions/workflows/[^/]+/dispatches")


class GitHub:
    """What the answers depend on."""

    def __init__(self) -> None:
        self.url = ""
        self.delay = 0.0
        self.requests = 0
        self.runs = 0

    def answer(self, method: str, path: str, body: bytes) -> tuple[float, int, Any]:
        """Delay in seconds, HTTP status, JSON body (``None``: no body)."""
        if path == "/requests":
            count, self.requests = self.requests, 0
            return 0.0, 200, count
        if path.startswith("/delay/"):
            self.delay = float(path.removeprefix("/delay/"))
            return 0.0, 200, self.delay
        self.requests += 1
        return self.delay, *self._api(method, path.partition("?")[0], body)

    def _api(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if method == "POST" and (found := DISPATCH.fullmatch(path)):
            self.runs += 1
            if b"return_run_details" not in body:
                return 204, None
            run = self._run(found[1])
            return 200, {"workflow_run_id": run["id"], "run_url": run["url"], "html_url": run["html_url"]}
        if path.endswith("/runs"):
            repo = path.partition("/actions/")[0]
            return 200, {"total_count": self.runs, "workflow_runs": [self._run(repo)] if self.runs else []}
        if "/actions/workflows/" in path:
            return 200, {"id": 1, "name": "deploy", "path": ".github/workflows/deploy.yml", "url": self.url + path}
        owner, _, name = path.removeprefix("/api/v3/repos/").partition("/")
        return 200, {"id": 1, "name": name, "full_name": f"{owner}/{name}", "url": self.url + path}

    def _run(self, repo: str) -> dict[str, Any]:
        number = RUN_ID + self.runs
        return {
            "id": number,
            "url": f"{self.url}{repo}/actions/runs/{number}",
            "html_url": f"{self.url}/runs/{number}",
            "event": "workflow_dispatch",
            "head_branch": "main",
            "created_at": "2026-01-01T00:00:00Z",
            "display_title": "deploy",
            "actor": {"login": "bench"},
        }


class Connection(asyncio.Protocol):
    """One caller, request by request."""

    transport: asyncio.Transport

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._data = rest[length:]
        method, path, _ = lines[0].split(" ")
        delay, status, content = self._github.answer(method, path, rest[:length])
        answer = _encode(status, content, close=headers.get("connection", "").lower() == "close")
        if delay:
            asyncio.get_running_loop().call_later(delay, self._reply, *answer)
        else:
            self._reply(*answer)

    def _reply(self, answer: bytes, close: bool) -> None:
        self.transport.write(answer)
        if close:
            self.transport.close()


def _encode(status: int, content: Any, *, close: bool) -> tuple[bytes, bool]:
    body = b"" if content is None else json.dumps(content).encode()
    head = [
        f"HTTP/1.1 {status} OK",
        f"Date: {formatdate(usegmt=True)}",
        "Content-Type: application/json; charset=utf-8",
        f"Connection: {'close' if close else 'keep-alive'}",
        *([] if content is None else [f"Content-Length: {len(body)}"]),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body, close


async def main() -> None:
    """Serve."""
    github = GitHub()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(github), "127.0.0.1", 0, backlog=1024)
    github.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(github.url, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
