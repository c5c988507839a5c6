"""The simulated world's parts: clock, workers, a shared store, a network, and a GitHub behind it.

Each is an implementation of the protocol that the real one implements; each waits in virtual time and may fail at
every boundary, as the schedule's dice say.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from email.utils import formatdate
from random import Random
from typing import Any, TypeVar

from gha_step.contract.errors import LedgerUnavailable
from gha_step.emulator import GitHub
from gha_step.emulator import Request as GitHubRequest
from gha_step.emulator import Response as GitHubResponse
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unreachable
from gha_step.kube import Forbidden, NotServed, Unauthorized, _Denials
from gha_step.ledger.attribution import concerns
from gha_step.ledger.kubernetes import RECORDS, _translated
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import Record, State, Target
from gha_step.ledger.store import Conflict, Standing

from .kernel import Kernel, Process

T = TypeVar("T")

EPOCH = 1_800_000_000.0
BYTES = "before the bytes"


@dataclass
class Weather:
    """What may go wrong, as probabilities per boundary, and how much of it in all."""

    crash: float = 0.0
    freeze: float = 0.0
    lost_write: float = 0.0
    lost_read: float = 0.0
    unreachable: float = 0.0
    broken_post: float = 0.0
    slow_post: float = 0.0
    refused_post: float = 0.0
    broken_get: float = 0.0
    budget: int = 0  # how many faults may still happen
    clock_skew: float = 0.0  # GitHub's clock minus ours
    listing: float = 3.0  # seconds after which a run is surely created and listed
    creation: float = 1.0  # seconds of these within which it is created
    names: float = 1.0  # how often a server that can name the run does so
    gate_refused: bool = False  # somebody has made the gate's Lease one that cannot be written
    ripening: float = 0.0  # seconds for which a new App token is refused
    dead_tokens: int = 0  # how many App tokens may never dispatch
    lost_headers: float = 0.0  # how often a proxy takes the API version away
    denied: tuple[float, float] = (0.0, 0.0)  # from when to when the API server forbids everything
    zombie: bool = False  # a POST whose answer is lost may be processed minutes later

    @classmethod
    def drawn(cls, dice: Random, chance: float, *, gets: float) -> "Weather":
        """What goes wrong by chance on every way. ``gets``: how much more often with what only reads."""

        def maybe() -> float:
            return chance * dice.choice((0.0, 1.0, 3.0))

        post = 20 * chance
        return cls(
            crash=maybe(),
            freeze=maybe() / 2,
            lost_write=2 * maybe(),
            lost_read=maybe(),
            unreachable=3 * maybe(),
            broken_post=min(0.5, post * dice.choice((0.0, 1.0))),
            slow_post=min(0.3, post * dice.choice((0.0, 0.5))),
            refused_post=min(0.3, post * dice.choice((0.0, 0.3))),
            broken_get=gets * maybe(),
        )


class Boundaries:
    """Where the outside world may interfere with a process."""

    def __init__(self, kernel: Kernel, weather: Weather) -> None:
        self.kernel = kernel
        self.weather = weather
        self.frozen_before_sending = False  # which no design survives: docs/guarantees.md says so

    def strikes(self, probability: float) -> bool:
        """Whether a fault happens here and now."""
        if self.weather.budget <= 0 or self.kernel.random.random() >= probability:
            return False
        self.weather.budget -= 1
        return True

    def cross(self, process: Process, label: str, slowest: float = 0.05) -> None:
        """A boundary between the code under test and the world: time passes, and the process may die or freeze."""
        # Around the POST a crash or a pause can do the most harm, so most of them are put there.
        often = 10.0 if label in (BYTES, "after the bytes") or "write sending" in label else 1.0
        if self.strikes(often * self.weather.crash):
            self.kernel.note(f"crash at: {label}")
            self.kernel.kill(process)
        if self.strikes(often * self.weather.freeze):
            pause = self.kernel.random.choice((3.0, 12.0, 40.0, 130.0))
            self.kernel.note(f"freezes {pause:.0f} s at: {label}")
            self.frozen_before_sending |= label == BYTES
            self.kernel.sleep(pause)
        self.kernel.sleep(self.kernel.random.uniform(0.0005, slowest))


class SimClock:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def now(self) -> float:
        return EPOCH + self._kernel.now

    def monotonic(self) -> float:
        return 1000.0 + self._kernel.now

    def boottime(self) -> float:
        return 2000.0 + self._kernel.now

    def sleep(self, seconds: float) -> None:
        self._kernel.sleep(seconds)


class SimWorkers:
    def __init__(self, kernel: Kernel, process: Process) -> None:
        self._kernel = kernel
        self._process = process

    def spawn(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        return self._kernel.spawn(self._process, work)

    def follow(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        return self.spawn(work)

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return self._kernel.join(job, seconds)


class ApiServer:
    """One process's view of an API server that forbids everything for a while, as one does that starts."""

    def __init__(self, clock: SimClock, weather: Weather) -> None:
        self._clock = clock
        self._weather = weather
        self._denials = _Denials(clock)

    def ask(self, verb: str, path: str) -> None:
        """:raises Denied: it forbids everything now."""
        begin, end = self._weather.denied
        if not begin <= self._clock.now() - EPOCH < end:
            self._denials.end((verb, path))
            return
        kind = (Unauthorized, NotServed, Forbidden)[int(end * 10) % 3]
        error = kind(f"{verb} {path}: 401 or 403", 'User "system:anonymous" cannot do that')
        error.lasting = self._denials.last((verb, path))
        raise error


class Disk:
    """What a shared store holds; it outlives processes."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.gates: dict[tuple[str, str], Lease] = {}
        self.history: dict[str, list[Record]] = {}

    def put(self, record: Record) -> Record:
        held = self.records.get(record.key)
        if (held.version if held is not None else 0) != record.version:
            raise Conflict("the record has moved")
        stored = record.model_copy(update={"version": int(record.version) + 1})
        self.records[record.key] = stored
        self.history.setdefault(record.key, []).append(stored)
        return stored

    def put_gate(self, gate: Lease) -> Lease:
        name = (gate.project, gate.target.hash)
        held = self.gates.get(name)
        if (held.version if held is not None else 0) != gate.version:
            raise Conflict("the gate has moved")
        stored = gate.model_copy(update={"version": int(gate.version) + 1})
        self.gates[name] = stored
        return stored


class SimStore:
    """One process's client of the disk; a write may time out, and then be applied, or not, or later."""

    keeps_reports = True

    def __init__(
        self, disk: Disk, process: Process, boundaries: Boundaries, api: ApiServer, *, exclusive: bool
    ) -> None:
        self._disk = disk
        self._api = api
        self._process = process
        self._boundaries = boundaries
        self.exclusive = exclusive

    def read(self, project: str, key: str) -> Record | None:
        self._ask("read", key)
        return self._disk.records.get(key)

    def write(self, record: Record) -> Record:
        return self._apply(lambda: self._disk.put(record), f"write {record.state} of {record.alias}", record.key)

    def close(self) -> None:
        """It dies with its process."""

    def others(self, record: Record, runs: Collection[int]) -> list[Record]:
        self._ask("others")
        return [other for other in self._disk.records.values() if concerns(record, other, runs)]

    def read_lease(self, project: str, target: Target) -> Lease:
        self._ask("read gate")
        return self._disk.gates.get((project, target.hash)) or Lease(project=project, target=target)

    def write_lease(self, gate: Lease) -> Lease:
        if self._boundaries.weather.gate_refused:
            self._ask("write gate")
            raise LedgerUnavailable("the API server does not take this Lease")
        return self._apply(lambda: self._disk.put_gate(gate), "write gate", gate.target.hash)

    def records(self) -> Iterator[Record]:
        return iter(list(self._disk.records.values()))

    def owed(self) -> Iterator[Record]:
        self._ask("owed")
        return iter([record for record in self._disk.records.values() if record.owes])

    def census(self) -> dict[str, Standing]:
        return dict.fromkeys(State, Standing())

    def _ask(self, what: str, name: str = "") -> None:
        self._boundaries.cross(self._process, what)
        with _translated(RECORDS, "get", "demo"):
            self._api.ask(what, name)
        if self._boundaries.strikes(self._boundaries.weather.lost_read):
            self._boundaries.kernel.note(f"{what} fails")
            self._boundaries.kernel.sleep(self._boundaries.kernel.random.uniform(0.1, 4.0))
            raise LedgerUnavailable("the store does not answer")

    def _apply(self, change: Callable[[], T], label: str, name: str) -> T:
        kernel, dice = self._boundaries.kernel, self._boundaries.kernel.random
        self._boundaries.cross(self._process, f"before {label}")
        with _translated(RECORDS, "update", "demo"):
            self._api.ask("write", name)
        often = 5.0 if "write sending" in label else 1.0
        if self._boundaries.strikes(often * self._boundaries.weather.lost_write):
            fate = dice.choice(("never", "now", "later"))
            kernel.note(f"{label}: no answer; applied {fate}")

            def apply() -> None:
                try:
                    change()
                    kernel.note(f"{label}: applied, unknown to its writer")
                except Conflict:
                    kernel.note(f"{label}: came too late")

            if fate == "now":
                apply()
            if fate == "later":
                kernel.at(dice.uniform(0.0, 30.0), apply)
            kernel.sleep(dice.uniform(0.5, 5.0))
            raise LedgerUnavailable("the write has no answer")
        try:
            stored = change()
            kernel.note(label)
        except Conflict:
            kernel.note(f"{label}: conflict")
            raise
        self._boundaries.cross(self._process, f"after {label}")
        return stored


@dataclass
class Wire:
    """Both directions of one connection."""

    inbox: bytearray = field(default_factory=bytearray)
    closed: bool = False  # by the server: end of file after the inbox
    reset: bool = False
    carried: int = 0  # requests
    wake: Callable[[], None] | None = None

    def deliver(self, data: bytes = b"", *, closed: bool = False, reset: bool = False) -> None:
        self.inbox += data
        self.closed |= closed
        self.reset |= reset
        if self.wake is not None:
            self.wake()


class Network:
    """Carries requests to the emulated GitHub's core, and loses what the schedule says."""

    def __init__(self, kernel: Kernel, github: GitHub, boundaries: Boundaries) -> None:
        self.kernel = kernel
        self.github = github
        self.boundaries = boundaries
        self.posts: list[tuple[float, str, str]] = []  # (virtual time of the first byte, Authorization, body)
        self.made: dict[str, float] = {}  # App tokens, in their order, and when they were made

    def request(self, wire: Wire, data: bytes) -> None:
        """A whole request has left the client."""
        weather, dice = self.boundaries.weather, self.kernel.random
        request = _parse(data)
        is_post = request.path.endswith("/dispatches")
        if is_post:
            self.posts.append((self.kernel.now, request.headers["authorization"], request.body.decode()))
        there, back = dice.uniform(0.005, 0.2), dice.uniform(0.005, 0.2)
        fate = "answered"
        if is_post and self.boundaries.strikes(weather.broken_post):
            fate = dice.choice(
                ("lost", "reset before", "reset after", "closed after", "502 before", "502 after", "broken")
            )
        elif is_post and self.boundaries.strikes(weather.slow_post):
            back += dice.choice((4.0, 12.0, 35.0, 200.0, 500.0))
            fate = "answered slowly"
        elif is_post and self.boundaries.strikes(weather.refused_post):
            fate = dice.choice(("403 rate limit", "429", "422"))
        elif not is_post and self.boundaries.strikes(weather.broken_get):
            fate = dice.choice(("reset before", "502 before", "lost", "429"))
        if weather.zombie and fate in ("reset before", "closed after", "lost") and dice.random() < 0.5:
            fate = "processed much later"
        self.kernel.note(f"{request.method} {request.path.rsplit('/', 1)[-1]}: {fate}")

        def answer(response: GitHubResponse | None, delay: float, **end: bool) -> None:
            content = b"" if response is None else _serialise(response)
            self.kernel.at(delay, lambda: wire.deliver(content, **end))

        def arrive() -> None:
            match fate:
                case "lost":
                    return
                case "reset before":
                    answer(None, back, reset=True)
                case "502 before":
                    answer(GitHubResponse(502, (("Content-Type", "text/html"),), b"<html>Bad Gateway</html>"), back)
                case "403 rate limit" | "429":
                    status = 403 if fate.startswith("403") else 429
                    wait = dice.choice(("1", "7", "600"))
                    body = {"message": "You have exceeded a secondary rate limit."}
                    answer(GitHubResponse.of(status, body, {"Retry-After": wait, **self._date()}), back)
                case "422":
                    answer(GitHubResponse.of(422, {"message": "No ref found for: main"}, self._date()), back)
                case "processed much later":
                    answer(None, back, reset=True)
                    self.kernel.at(dice.uniform(5.0, 300.0), lambda: self._process(request))
                case _:
                    response = self._process(request)
                    if is_post and response.status == 200 and dice.random() >= weather.names:
                        self.kernel.note("the answer names no run")
                        response = GitHubResponse(204, tuple(self._date().items()), b"")
                    if fate == "reset after":
                        answer(None, back, reset=True)
                    elif fate == "closed after":
                        answer(None, back, closed=True)
                    elif fate == "502 after":
                        answer(GitHubResponse(502, (), b"bad gateway"), back)
                    elif fate == "broken":
                        self.kernel.at(back, lambda: wire.deliver(_serialise(response)[:-7], closed=True))
                    else:
                        answer(response, back)

        self.kernel.at(there, arrive)

    def _process(self, request: GitHubRequest) -> GitHubResponse:
        weather, dice = self.boundaries.weather, self.kernel.random
        if (refusal := self._too_new(request)) is not None:
            return refusal
        if weather.lost_headers:
            lost = dice.random() < weather.lost_headers
            self.github.lost_headers = frozenset({"x-github-api-version"} if lost else ())
        response = self.github.handle(request)
        if response.status == 201:
            self.made[json.loads(response.body)["token"]] = self.kernel.now
        return response

    def _too_new(self, request: GitHubRequest) -> GitHubResponse | None:
        """The refusal of an App token that this server does not know yet, or never will."""
        weather = self.boundaries.weather
        token = request.headers.get("authorization", "").partition(" ")[2]
        if token not in self.made:
            return None
        dead = request.method == "POST" and list(self.made).index(token) < weather.dead_tokens
        if not dead and self.kernel.now - self.made[token] >= weather.ripening:
            return None
        self.kernel.note("a new token is refused")
        if dead or self.kernel.random.random() < 0.5:
            return GitHubResponse.of(401, {"message": "Bad credentials"}, self._date())
        return GitHubResponse.of(403, {"message": "Resource not accessible by integration"}, self._date())

    def _date(self) -> dict[str, str]:
        return {"Date": formatdate(math.floor(self.github.clock()), usegmt=True)}


class SimConnector:
    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    def connect(self, endpoint: Endpoint) -> "SimConnection":
        boundaries = self._network.boundaries
        boundaries.cross(self._process, "connect", 0.2)
        if boundaries.strikes(boundaries.weather.unreachable):
            self._network.kernel.note("connect: refused")
            raise Unreachable(f"{endpoint.host} refuses the connection")
        return SimConnection(self._network, self._process)


class SimConnection:
    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process
        self._wire = Wire()
        self._closed = False

    def send(self, data: bytes) -> None:
        assert not self._closed, "a closed connection is not used"
        self._network.boundaries.cross(self._process, BYTES)
        self._network.request(self._wire, data)
        self._network.boundaries.cross(self._process, "after the bytes")

    def receive(self, seconds: float) -> bytes | None:
        wire, kernel = self._wire, self._network.kernel
        deadline = kernel.now + seconds
        while not (wire.inbox or wire.closed or wire.reset):
            if kernel.now >= deadline:
                return None

            def register(wake: Callable[[], None]) -> None:
                wire.wake = wake

            kernel.wait(deadline - kernel.now, register)
        if wire.inbox:
            data = bytes(wire.inbox)
            wire.inbox.clear()
            return data
        if wire.reset:
            raise ConnectionResetError(104, "Connection reset by peer")
        return b""

    def close(self) -> None:
        self._closed = True


def _parse(data: bytes) -> GitHubRequest:
    """A request that left whole, as our own framing writes it; what that writes on the wire, other tests judge."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("ascii").split("\r\n")
    method, target, version = line.split(" ")
    assert version == "HTTP/1.1"
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in fields)}
    assert len(body) == int(headers.get("content-length", "0")), "a request leaves whole"
    return GitHubRequest.to(method, target, body=body, headers=headers)


def _serialise(response: GitHubResponse) -> bytes:
    fields = [(name, value) for name, value in response.headers if name.lower() != "content-length"]
    if response.status != 204:
        fields.append(("Content-Length", str(len(response.body))))
    head = [f"HTTP/1.1 {response.status} ", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*head, "", ""]).encode() + response.body
