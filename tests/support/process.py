"""The real server as a real process, on loopback; everything it writes is kept to be searched."""

import gc
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gha_step.cli import main
from gha_step.telemetry import log
from tests.support.calls import BEARER
from tests.support.clock import LONG
from tests.support.clock_ahead import AHEAD
from tests.support.forks import Fork

START_WITHIN = 240.0  # seconds; it takes 0.3
SERVE: Final = ("gha_step", "serve")
BY_A_CLOCK_AHEAD: Final = ("tests.support.clock_ahead",)


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings and proxies, and with these variables."""
    dropped = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in dropped and not name.startswith("GHA_STEP_")
    }
    return kept | variables


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    returncode: object
    stdout: str
    stderr: str


def run_command(*arguments: str, **variables: str) -> Ended:
    """``gha-step …`` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "gha_step", *arguments],
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=START_WITHIN,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def run_here(*arguments: str, **variables: str) -> Ended:
    """``gha-step …`` to its end in this process, which saves the start of another: for what ends by itself."""
    before, root = dict(os.environ), logging.getLogger()
    handlers, levels = list(root.handlers), [(logger, logger.level) for logger in (root, log)]
    out, err = io.StringIO(), io.StringIO()
    code: object
    try:
        os.environ.clear()
        os.environ.update(clean_environment(**variables))
        with redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
    except SystemExit as end:  # argparse's way
        code = end.code
    finally:
        os.environ.clear()
        os.environ.update(before)
        root.handlers[:] = handlers
        for logger, level in levels:
            logger.setLevel(level)
        gc.unfreeze()
    return Ended(code, out.getvalue(), err.getvalue())


def on_a_terminal(*command: str, **variables: str) -> str:
    """All that a command shows on a terminal of its own, until it ends."""
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=clean_environment(TERM="xterm", **variables)
        )
    finally:
        os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # EIO, as Linux says that nobody has the other end any more
        pass
    finally:
        os.close(ours)
        process.wait()
    return shown.decode()


class Served:
    """A running ``gha-step serve``: a fork, or ``fresh``, for those who ask what a start or a process costs."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], command: Sequence[str] = SERVE, *, fresh: bool = False
    ) -> None:
        self.folder = folder
        self._ahead = folder / "ahead"
        self.secrets = folder / "secrets"
        self.secrets.mkdir(parents=True, exist_ok=True)
        self.ledger = folder / "ledger.db"
        self.log = folder / "stderr.log"
        (folder / "token").write_text(BEARER)
        self._ahead.touch()
        settings = {
            "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
            "GHA_STEP_TOKEN_FILE": str(folder / "token"),
            "GHA_STEP_SECRETS": f"dir:{self.secrets}",
            "GHA_STEP_LEDGER": f"sqlite:{self.ledger}",
            "GHA_STEP_SETTLE": "1s",
            "GHA_STEP_LOG_LEVEL": "debug",
        }
        self.log.touch()
        begun = self.log.stat().st_size
        variables = clean_environment(**(settings | {AHEAD: str(self._ahead)} | dict(environment)))
        self.process: Fork | subprocess.Popen[bytes]
        if fresh:
            with self.log.open("ab") as log:
                whole = [sys.executable, "-m", *command]
                self.process = subprocess.Popen(whole, env=variables, stdout=log, stderr=log)
        else:
            self.process = Fork(command, variables, self.log)
        self.url = self._await_url(begun)

    def _await_url(self, begun: int) -> str:
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_bytes()[begun:].rpartition(b"\n")[0].decode().splitlines():
                if "listening on http" in line:
                    said = json.loads(line)["message"] if line.startswith("{") else line
                    return str(said).partition("listening on ")[2].split()[0]
            time.sleep(0.01)
        self.kill()
        raise AssertionError("the server did not start: " + self.log.read_text())

    @property
    def grpc_target(self) -> str:
        """Where gRPC answers."""
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline:
            for line in self.log.read_text().splitlines():
                if "listening on grpc" in line:
                    return line.partition("://")[2].partition('"')[0]
            time.sleep(0.01)
        raise AssertionError("it does not listen for gRPC: " + self.log.read_text())

    def ask(
        self, method: str = "GET", path: str = "/readyz", body: Any = None, token: str | None = BEARER
    ) -> tuple[int, bytes]:
        """One request; (0, b"") if the server is gone."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=35)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()

    def forward(self, seconds: int) -> None:
        """Put the clock of a server forward that runs by `BY_A_CLOCK_AHEAD`."""
        with self._ahead.open("ab") as file:
            file.write(bytes(seconds))

    def terminate(self) -> None:
        """SIGTERM, and no waiting."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self, within: float = LONG) -> int:
        """SIGTERM; gives the exit code. :raises subprocess.TimeoutExpired: it does not end."""
        self.terminate()
        return self.process.wait(within)

    def kill(self) -> None:
        """As a crash: no goodbye."""
        self.process.kill()
        self.process.wait()

    def written(self) -> dict[str, bytes]:
        """All that the process wrote: its log and its ledger's files."""
        files = [self.log, *self.folder.glob("ledger.db*")]
        return {file.name: file.read_bytes() for file in files}

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def served(folder: Path, command: Sequence[str] = SERVE, /, **environment: str) -> Iterator[Served]:
    """The server while the block runs; killed at its end if it is still there."""
    server = Served(folder, environment, command)
    try:
        yield server
    finally:
        server.kill()
