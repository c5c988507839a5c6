"""One server, a well-behaved project that it serves, and what is measured of both."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.bench.programs import StandIn, stand_in
from tests.support.process import Served
from tests.support.secrets import write_secret

VICTIM: Final = "victim"
PROJECT_TOKEN: Final = "the-victims-own-project-token"
THREADS: Final = 4  # of the victim


@dataclass
class Measured:
    """What the victim and a probe saw. Times in seconds, memory in MiB."""

    times: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    health: float = 0.0
    memory: float = 0.0

    @property
    def p95(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.95)] if self.times else float("inf")


class Site:
    """A server with its victim."""

    def __init__(self, server: Served, github: StandIn, folder: Path) -> None:
        self.server = server
        self.github = github
        self.folder = folder
        self.rest = False
        self.address = urlsplit(server.url).netloc
        self._number = 0
        self._lock = threading.Lock()
        self.refusals: Counter[str] = Counter()

    def secret(self, project: str, url: str, **more: str) -> None:
        """Credentials of a project."""
        write_secret(self.server.secrets, project, accessToken="a-token-of-many-characters", baseURL=url, **more)

    def body(self, project: str, alias: str = "dispatch", **changes: Any) -> dict[str, Any]:
        """A step.execute request for a promotion that nobody has seen."""
        with self._lock:
            self._number += 1
            number = self._number
        config: dict[str, Any] = {
            "credentials": {"secretName": "github"},
            "owner": "myorg",
            "repo": "my-app",
            "workflowFile": "deploy.yml",
            "ref": "main",
            "inputs": {"environment": "test"},
        }
        kind = changes.pop("kind", "gha-dispatch-workflow")
        promotion = changes.pop("promotion", f"p{number}")
        if kind == "gha-wait-for-workflow":
            config = {name: config[name] for name in ("credentials", "owner", "repo")} | {"runID": 1000 + number}
        config |= changes
        context = {"project": project, "promotion": promotion, "promotionUID": f"uid-{promotion}", "alias": alias}
        return {"context": context, "step": {"kind": kind, "config": config}}

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None, timeout: float = 30.0) -> Any:
        """The answer to one request; its status alone where it is no 200."""
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return json.loads(text) if response.status == 200 and text.startswith(b"{") else response.status

    def execute(self, body: dict[str, Any]) -> Any:
        from tests.support.calls import BEARER

        return self.ask("POST", "/api/v1/step.execute", body, BEARER)

    def watch(self, seconds: float) -> Measured:
        """The victim dispatches, one promotion after the other, for so long."""
        seen = Measured()
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._act, args=(seen, until)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            begun = time.monotonic()
            try:
                ok = self.ask("GET", "/healthz", timeout=20) == 200
            except (OSError, http.client.HTTPException):
                ok = False
            seen.health = max(seen.health, time.monotonic() - begun if ok else float("inf"))
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        seen.memory = self.memory()
        return seen

    def _prove(self) -> tuple[str, str]:
        """Over REST, whose GitHub may not be on loopback: a call that is let in and fails for its config."""
        answer = self.ask("PUT", f"/api/v1/projects/{VICTIM}/waits/p/a", {}, PROJECT_TOKEN)
        told = str(answer["status"] if isinstance(answer, dict) else answer)
        return told, f"heard {told}"

    def _promote(self, body: dict[str, Any]) -> tuple[str, str]:
        answer = self.execute(body)
        if not isinstance(answer, dict):
            return str(answer), f"heard {answer}"
        return answer["status"], f"heard: {answer['message'][:60]}"

    def _act(self, seen: Measured, until: float) -> None:
        """One promotion after the other, each asked for until it ends; what is heard meanwhile is counted."""
        good, ends = ("Failed", {"Failed"}) if self.rest else ("Succeeded", {"Succeeded", "Failed"})
        while time.monotonic() < until:
            body = {} if self.rest else self.body(VICTIM)
            begun = time.monotonic()
            told = "?"
            while time.monotonic() - begun < 60:
                try:
                    told, heard = self._prove() if self.rest else self._promote(body)
                except (OSError, http.client.HTTPException) as error:
                    told = type(error).__name__
                    heard = f"heard {told}"
                if told in ends:
                    break
                seen.failures[heard] += 1
                time.sleep(0.5)
            if told == good:
                seen.times.append(time.monotonic() - begun)
            else:
                seen.failures[f"FAILED: {told}"] += 1
            time.sleep(0.02)

    def memory(self) -> float:
        """The most that was resident, MiB."""
        lines = Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    @contextmanager
    def hostile(self, kind: str) -> Iterator[str]:
        """A hostile server; its URL."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.abuse.hostile", kind], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def program(self, name: str, *arguments: object) -> Iterator[None]:
        """An attacker in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.abuse.attacker", name, *map(str, arguments)], start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def site(folder: Path, **environment: str) -> Iterator[Site]:
    """A server, its victim and the victim's GitHub."""
    with stand_in() as github:
        given = {"GHA_STEP_LOG_LEVEL": "info", "GHA_STEP_GRPC_LISTEN": "127.0.0.1:0"} | environment
        server = Served(folder, given, fresh=True)
        try:
            made = Site(server, github, folder)
            made.rest = environment.get("GHA_STEP_PROJECT_API") == "on"
            made.secret(VICTIM, github.url)
            write_secret(server.secrets, VICTIM, "gha-step", token=PROJECT_TOKEN)
            yield made
        finally:
            server.kill()
