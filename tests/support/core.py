"""The program put together as `gha_step.wiring` does it, with a test's own clock, ledger, connections and threads."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import ProxyHandler, build_opener

from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token
from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.secrets import SecretReader
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from gha_step.github.connection import Connection, Connector, SocketConnector
from gha_step.github.endpoint import Endpoint
from gha_step.inbound.execution import Execution
from gha_step.inbound.http import Readiness, http_app
from gha_step.inbound.process import ServerProcess
from gha_step.inbound.rest.project_tokens import ProjectTokens
from gha_step.inbound.rest.promotions import Promotions
from gha_step.inbound.rest.resource import ProjectApi
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import Owner, Record, Target
from gha_step.ledger.store import Standing, Store
from gha_step.runtime import Clock, SystemClock, ThreadWorkers, Workers
from gha_step.telemetry import Telemetry
from gha_step.wiring.core import Core

BEARER = "bearer-of-the-tests"
INPUTS = {"environment": "prod", "image_tag": "1.10"}
T = TypeVar("T")
_numbers = itertools.count(1)


class JumpingClock:
    """Real time, and besides it all that somebody slept: a sleep takes no time, so minutes pass in milliseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead = 0.0

    def forward(self, seconds: float) -> None:
        """So much time has passed."""
        with self._lock:
            self._ahead += seconds

    def now(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def boottime(self) -> float:
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        self.forward(seconds)
        time.sleep(0.002)


def config(**changes: Any) -> dict[str, Any]:
    """Kargo's example, with changes; a value of ``...`` leaves the key out."""
    whole: dict[str, Any] = {
        "credentials": {"secretName": "github"},
        "owner": "myorg",
        "repo": "my-app",
        "workflowFile": "deploy.yml",
        "ref": "main",
        "inputs": dict(INPUTS),
        "timeout": "1",
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


def body(step_config: Any = None, *, kind: str = "gha-dispatch-workflow", **context: Any) -> dict[str, Any]:
    """A call's body as a host sends it; ``context``: changes of the context, ``...`` leaves a key out."""
    whole: dict[str, Any] = {
        "project": "demo",
        "stage": "test",
        "promotion": "test.01abc.def5678",
        "promotionUID": "uid-1",
        "alias": "dispatch",
        "sharedState": {},
        "freight": {},
        "targetFreightRef": {},
    }
    whole.update(context)
    kept = {name: value for name, value in whole.items() if value is not ...}
    return {"context": kept, "step": {"kind": kind, "config": config() if step_config is None else step_config}}


def write_secret(root: Path, project: str = "demo", name: str = "github", **data: str | bytes) -> None:
    """A Secret as files, in place of what was there."""
    folder = root / project / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for key, value in data.items():
        (folder / key).write_bytes(value if isinstance(value, bytes) else value.encode())


class Tracked:
    """Threads whose work can be waited for; see `Workers`."""

    def __init__(self, limit: int, name: str) -> None:
        self._threads = ThreadWorkers(limit, name)
        self._jobs: list[Future[Any]] = []

    def spawn(self, work: Callable[[], T]) -> "Future[T]":
        self._jobs = [job for job in self._jobs if not job.done()]
        job = self._threads.spawn(work)
        self._jobs.append(job)
        return job

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return self._threads.join(job, seconds)

    def finish(self, seconds: float = 15.0) -> None:
        """Wait until nothing is under way. :raises AssertionError: something still is."""
        assert not wait(self._jobs, timeout=seconds).not_done, "work goes on after the test"


class Assembled:
    """One process's worth of gha_step, without its server."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: SecretReader | Path,
        clock: Clock | None = None,
        connector: Connector | None = None,
        tasks: Workers | None = None,
        settle: float = 1.0,
        pod: str | None = None,
        incarnation: str | None = None,
        projects: frozenset[str] | None = None,
        look_back: bool = False,
    ) -> None:
        self.clock = clock or JumpingClock()
        self.store = store
        self.telemetry = Telemetry()
        self.telemetry.watch_ledger(store.census)
        self.secrets = reader = DirectorySecrets(secrets) if isinstance(secrets, Path) else secrets
        self._workers: list[Tracked] = []
        nonces = (f"nonce-{next(_numbers)}" for _ in itertools.count())
        core = Core(
            store=store,
            secrets=reader,
            connector=connector or SocketConnector(),
            clock=self.clock,
            workers=lambda limit, name: tasks if tasks is not None and name == "task" else self._tracked(limit, name),
            owner=Owner(pod=pod, incarnation=incarnation or f"process-{next(_numbers)}"),
            new_nonce=lambda: next(nonces),
            settle=settle,
            telemetry=self.telemetry,
            projects=projects,
            shared_namespace="kargo-shared-resources",
            look_back=look_back,
        )
        self.dispatches = core.dispatches
        self.run_poller = core.run_poller
        self.steps = core.steps

    def _tracked(self, limit: int, name: str) -> "Tracked":
        self._workers.append(Tracked(min(limit, 16), name))
        return self._workers[-1]

    def close(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self.dispatches.drain()
        for workers in self._workers:
            workers.finish()

    def call(
        self,
        step_config: Any = None,
        *,
        reply_within: float = 10.0,
        age: float = 0.0,
        kind: str = "gha-dispatch-workflow",
        **context: Any,
    ) -> StepResult:
        """One call, answered as soon as there is something to tell. ``age``: seconds since it came."""
        request = StepRequest.parse(body(step_config, kind=kind, **context))
        outcome = self.steps.execute(request, self.clock.monotonic() - age)
        if isinstance(outcome, StepResult):
            return outcome
        # A task that has to look for the run is ready only when it stops; by the jumping clock that is soon.
        wait([outcome.ready], reply_within)
        return outcome.answer()

    def follow(self, step_config: Any = None, *, calls: int = 200, **context: Any) -> StepResult:
        """Call until the answer is final. :raises AssertionError: it is not, after so many calls."""
        for _ in range(calls):
            result = self.call(step_config, **context)
            if result.status != "Running":
                return result
            assert result.retry_after is not None
            self.clock.sleep(result.retry_after)
        raise AssertionError(f"the step did not end: {result}")


def output(result: StepResult) -> dict[str, Any]:
    """``output`` as it goes over the wire."""
    decoded: dict[str, Any] = json.loads(result.to_wire())["output"]
    return decoded


@contextmanager
def serving(
    assembled: Assembled,
    *,
    token: str | None = BEARER,
    workers: int = 16,
    reply_within: float = 5.0,
    served: bool = True,
    projects: bool = False,
    promotions: Promotions | None = None,
    collect: Callable[[], bytes] | None = None,
    readiness: Readiness | None = None,
) -> Iterator[str]:
    """The HTTP server around it, on a loopback port of its own; gives its URL."""
    clock = SystemClock()
    calls = ThreadWorkers(workers, "call")
    execution = Execution(
        assembled.steps, workers=calls, clock=clock, telemetry=assembled.telemetry, reply_within=reply_within
    )
    readiness = readiness or Readiness()
    project_api = ProjectApi(
        execution,
        ProjectTokens(assembled.secrets, workers=ThreadWorkers(workers, "proof"), clock=clock),
        promotions,
        workers=calls,
        clock=clock,
        telemetry=assembled.telemetry,
        draining=lambda: readiness.draining,
    )
    app = http_app(
        execution=execution if served else None,
        token=None if token is None else Token(token),
        readiness=readiness,
        collect=collect or assembled.telemetry.exposition,
        projects=project_api if projects else None,
    )
    server = ServerProcess(
        app=app,
        host="127.0.0.1",
        port=0,
        readiness=readiness,
        execution=execution,
        on_the_wire=lambda: assembled.dispatches.on_the_wire,
        begin_no_more=assembled.dispatches.drain,
        clock=clock,
        reply_within=reply_within,
    )
    thread = threading.Thread(target=lambda: server.run(signals=False), name="tested-server")
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(40)
        assert not thread.is_alive()


class Meddled:
    """A connector that can be told to fail, and that tells what it is asked: see `Connector`."""

    def __init__(self, real: Connector | None = None) -> None:
        self._real = real or SocketConnector()
        self.connects = 0
        self.sent: list[bytes] = []
        self.on_connect: Callable[[Endpoint], Connection | None] = lambda endpoint: None
        self.on_send: Callable[[bytes], None] = lambda data: None

    @property
    def posts(self) -> int:
        """How many POSTs were handed to a socket."""
        return sum(data.startswith(b"POST") for data in self.sent)

    def connect(self, endpoint: Endpoint) -> Connection:
        self.connects += 1
        return _Meddled(self, self.on_connect(endpoint) or self._real.connect(endpoint))


class _Meddled:
    def __init__(self, connector: Meddled, real: Connection) -> None:
        self._connector = connector
        self._real = real

    def send(self, data: bytes) -> None:
        self._connector.sent.append(data)
        self._connector.on_send(data)
        self._real.send(data)

    def receive(self, seconds: float) -> bytes | None:
        return self._real.receive(seconds)

    def close(self) -> None:
        self._real.close()


class Scripted:
    """A connection to nobody: it gives ``chunks`` one by one; ``None`` is silence, an exception is raised."""

    def __init__(self, *chunks: bytes | OSError | None, clock: JumpingClock | None = None) -> None:
        self._chunks = list(chunks)
        self._clock = clock
        self.sent = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, seconds: float) -> bytes | None:
        chunk = self._chunks.pop(0) if self._chunks else b""
        if isinstance(chunk, OSError):
            raise chunk
        if chunk is None and self._clock is not None:
            self._clock.forward(seconds)
        return chunk

    def close(self) -> None:
        self.closed = True


class Meddling:
    """A store whose reads and writes pass through hooks, which may raise before or after the real one."""

    exclusive = True

    def __init__(self, real: Store) -> None:
        self.real = real
        self.exclusive = real.exclusive
        self.before_read: Callable[[], None] = lambda: None
        self.before_write: Callable[[Record], None] = lambda record: None
        self.after_write: Callable[[Record], None] = lambda record: None

    def read(self, project: str, key: str) -> Record | None:
        self.before_read()
        return self.real.read(project, key)

    def write(self, record: Record) -> Record:
        self.before_write(record)
        stored = self.real.write(record)
        self.after_write(record)
        return stored

    def close(self) -> None:
        self.real.close()

    def siblings(self, record: Record) -> list[Record]:
        return self.real.siblings(record)

    def read_lease(self, project: str, target: Target) -> Lease:
        return self.real.read_lease(project, target)

    def write_lease(self, gate: Lease) -> Lease:
        return self.real.write_lease(gate)

    def records(self) -> Iterator[Record]:
        return self.real.records()

    def census(self) -> dict[str, Standing]:
        return self.real.census()


@contextmanager
def github_at(github: GitHub) -> Iterator[str]:
    """The emulated GitHub on loopback; gives its URL."""
    with serve(github) as url:
        yield url
        # Connections are taken in order: none is left that it has not even seen, and would not close.
        with build_opener(ProxyHandler({})).open(f"{url}/api/v3/meta", timeout=5):
            pass


def example_secret(root: Path, url: str, token: str = EXAMPLE_TOKEN, project: str = "demo") -> Path:
    """The Secret that names an emulated GitHub; gives ``root``."""
    write_secret(root, project, accessToken=token, baseURL=url)
    return root
