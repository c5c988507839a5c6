"""The programs that are compared: how each is started, asked, measured from outside, and ended."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

PEERS: Final = Path(__file__).with_name("peers")
TOKEN: Final = "bench-token"
PROJECT: Final = "kargo-bench"
START_WITHIN: Final = 60.0  # seconds
INPUTS: Final = {"environment": "test", "image_tag": "v1.2.3"}

_promotions = count(1)


class BenchFailed(Exception):
    """A program did not do what is to be measured."""


class Room:
    """One temporary directory with what the servers read; each server started gets a ledger of its own."""

    def __init__(self, folder: Path, github: "StandIn") -> None:
        self.folder = folder
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN)
        self.secrets = folder / "secrets"
        secret = self.secrets / PROJECT / "github-credentials"
        secret.mkdir(parents=True)
        (secret / "accessToken").write_text("a-token")
        (secret / "baseURL").write_text(github.url)
        self._ledgers = count(1)

    def new_ledger(self) -> Path:
        """The path of a ledger that is not there yet."""
        return self.folder / f"ledger-{next(self._ledgers)}.db"


@dataclass(frozen=True)
class Program:
    """One of the servers. ``command`` makes its command line from the room, a port and a ledger."""

    name: str
    command: Callable[[Room, int, Path], list[str]] = field(repr=False)


def gha_step(room: Room, port: int, **settings: str) -> list[str]:
    """`gha-step serve` with these settings, from the environment as in a container."""
    common = {"http_listen": f"127.0.0.1:{port}", "token_file": str(room.token_file)}
    variables = [f"GHA_STEP_{name.upper()}={value}" for name, value in (common | settings).items()]
    return ["env", *variables, str(Path(sys.executable).with_name("gha-step")), "serve"]


def _gha_step(room: Room, port: int, ledger: Path) -> list[str]:
    return gha_step(room, port, secrets=f"dir:{room.secrets}", ledger=f"sqlite:{ledger}")


def _relay(room: Room, port: int, ledger: Path) -> list[str]:
    program = str(PEERS / "stdlib_relay.py")
    return [sys.executable, program, str(port), str(room.token_file), str(room.secrets), str(ledger)]


def _bare(room: Room, port: int, ledger: Path) -> list[str]:
    del room, ledger
    return [sys.executable, str(PEERS / "bare_server.py"), str(port)]


def _natural(room: Room, port: int, ledger: Path) -> list[str]:
    del ledger
    program = str(PEERS / "natural_stack.py")
    return [str(natural_python()), program, str(port), str(room.token_file), str(room.secrets)]


def natural_python() -> Path:
    """The interpreter of the environment that holds FastAPI besides; `make bench` makes it."""
    return Path(sys.prefix) / "bench" / "bin" / "python"


GHA_STEP: Final = Program("gha-step", _gha_step)
RELAY: Final = Program("stdlib relay", _relay)
NATURAL: Final = Program("natural stack", _natural)
BARE: Final = Program("http.server", _bare)  # answers /readyz, and no dispatch
ALL: Final = (GHA_STEP, RELAY, NATURAL)


class Kept:
    """One connection for one request after another."""

    def __init__(self, address: str) -> None:
        self._connection = HTTPConnection(address, timeout=60)

    def ask(self, method: str, path: str, body: str) -> tuple[int, bytes]:
        """Status and body. A server may close it when it has answered: then the next request opens another."""
        self._connection.request(method, path, body, {**HEADERS, "Connection": "keep-alive"})
        response = self._connection.getresponse()
        return response.status, response.read()


class Server:
    """A program that runs. Times are seconds, sizes MiB."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self._process = process
        self._log = log
        self.port = port
        self.start_seconds = 0.0
        self._kept = Kept(f"127.0.0.1:{port}")

    def dispatch(self) -> float:
        """Seconds from the request, over a kept connection, to the answer that tells the run of a new promotion."""
        body = json.dumps(step_request())
        begun = time.perf_counter()
        status, text = self._kept.ask("POST", "/api/v1/step.execute", body)
        if status != 200:
            raise BenchFailed(f"{status} {text!r}\n{self.log()}")
        answer = json.loads(text)
        seconds = time.perf_counter() - begun
        if answer.get("status") != "Succeeded" or not isinstance(answer["output"].get("runID"), int):
            raise BenchFailed(f"no run: {answer}\n{self.log()}")
        return seconds

    def ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        """The JSON answer to one request over a connection of its own, as a new promotion's agent would send it."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, HEADERS)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise BenchFailed(f"{method} {path}: {response.status} {text!r}\n{self.log()}")
        return json.loads(text) if text.startswith(b"{") else {}

    def wait_until_ready(self, begun: float) -> None:
        """Ask for /readyz until it answers 200."""
        while True:
            try:
                self.ask("GET", "/readyz")
            except (OSError, BenchFailed):
                if self._process.poll() is not None or time.perf_counter() - begun > START_WITHIN:
                    raise BenchFailed(f"it did not start:\n{self.log()}") from None
                time.sleep(0.001)
            else:
                self.start_seconds = time.perf_counter() - begun
                return

    def memory(self) -> tuple[float, float]:
        """Resident now, and the most so far."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        sizes = {name: text.split()[0] for name, _, text in (line.partition(":") for line in lines) if text.split()}
        return int(sizes["VmRSS"]) / 1024, int(sizes["VmHWM"]) / 1024

    def cpu_seconds(self) -> float:
        """User and system time so far, in steps of 10 ms."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """The last that it wrote."""
        return self._log.read_text(errors="replace")[-2000:]


@contextmanager
def running(program: Program, room: Room, ledger: Path | None = None) -> Iterator[Server]:
    """The program, ready to be asked; ended when the block is left."""
    port, log = _free_port(), room.folder / "log"
    command = program.command(room, port, ledger or room.new_ledger())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GHA_STEP_", "PYTHON"))}
    # Compiled once, as an installation is, whatever the environment says; and nothing is left beside the sources.
    environment["PYTHONPYCACHEPREFIX"] = str(room.folder / "bytecode")
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=room.folder, env=environment
        )
    try:
        server = Server(process, port, log)
        server.wait_until_ready(begun)
        yield server
    finally:
        end(process)


def end(process: "subprocess.Popen[Any]") -> None:
    """SIGTERM, and if need be SIGKILL."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


HEADERS: Final = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Connection": "close"}


def step_request() -> dict[str, Any]:
    """The request of a promotion that nobody has seen yet."""
    number = next(_promotions)
    config = {
        "credentials": {"secretName": "github-credentials"},
        "owner": "myorg",
        "repo": "my-app",
        "workflowFile": "deploy.yml",
        "ref": "main",
        "inputs": INPUTS,
        "timeout": "120",
    }
    return {
        "context": {
            "uiBaseURL": "https://kargo.example.com",
            "workDir": "/workspace",
            "alias": "dispatch",
            "project": PROJECT,
            "stage": "test",
            "promotion": f"test.01jbench.{number:07d}",
            "promotionUID": f"2f1c1e0a-0000-4e5b-9d3c-{number:012d}",
            "sharedState": {},
            "config": config,
            "freight": {},
            "targetFreightRef": {},
        },
        "step": {"kind": "gha-dispatch-workflow", "alias": "dispatch", "config": config},
    }


class StandIn:
    """The GitHub of all of them; see `tests.bench.stand_in`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = urlsplit(url).netloc
        self._kept = Kept(self._address)

    def hold_back(self, seconds: float) -> None:
        """Have every answer of its API wait so long."""
        self._ask("PUT", f"/delay/{seconds}")

    def requests(self) -> int:
        """How many requests came since this was last asked."""
        return int(self._ask("GET", "/requests"))

    def dispatch(self) -> float:
        """The raw POST over a connection that is kept: seconds from the request to the end of the answer."""
        body = json.dumps({"ref": "main", "inputs": INPUTS, "return_run_details": True})
        begun = time.perf_counter()
        self._kept.ask("POST", "/api/v3/repos/myorg/my-app/actions/workflows/deploy.yml/dispatches", body)
        return time.perf_counter() - begun

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        connection = HTTPConnection(self._address, timeout=60)
        try:
            connection.request(method, path, body, HEADERS)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise BenchFailed(f"{method} {path}: {response.status} {text!r}")
        return text


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """It, in a process of its own."""
    program = str(Path(__file__).with_name("stand_in.py"))
    process = subprocess.Popen([sys.executable, program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield StandIn(process.stdout.readline().strip())
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()
