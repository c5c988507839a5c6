"""The attacks: each a context in which it goes on. What each was worth before its bound is in docs/security.md."""

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tests.abuse.caller import ELSEWHERE
from tests.abuse.in_kubernetes import ATTACKER, fat_leases, slow_webhook, write_aliases, write_fat_records
from tests.abuse.site import Site
from tests.support.calls import BEARER
from tests.support.cluster import Cluster
from tests.support.secrets import write_secret


@dataclass(frozen=True)
class Attack:
    """``environment``: settings of the server that it needs. ``tls``: over gRPC with a certificate.

    ``kubernetes``: Secrets and records are in a real API server. ``before``: what it came to before there was a bound.
    """

    name: str
    begin: Callable[[Site], AbstractContextManager[None]]
    environment: dict[str, str] = field(default_factory=dict)
    tls: bool = False
    kubernetes: bool = False
    before: str = ""


@contextmanager
def _calls(site: Site, threads: int, make: Callable[[int, int], dict[str, Any]]) -> Iterator[None]:
    """Calls of another project, again and again; ``make``: from the thread's number and the turn, the body."""
    stop = threading.Event()

    def call(number: int) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), ELSEWHERE)
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                answer = site.attacker.execute(make(number, turn))
                told = answer["status"] if isinstance(answer, dict) else str(answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                told = type(error).__name__
            site.refusals[told] += 1
            stop.wait(0.02)

    workers = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()


def _looks(harm: str, threads: int = 16, **changes: Any) -> Callable[[Site], AbstractContextManager[None]]:
    """Steps of another project whose GitHub is hostile in this way."""

    @contextmanager
    def begin(site: Site) -> Iterator[None]:
        with site.hostile(harm) as url:
            site.secret("attacker", url)
            with _calls(site, threads, lambda number, turn: site.attacker.body("attacker", **changes)):
                yield

    return begin


@contextmanager
def _rotating(site: Site) -> Iterator[None]:
    with site.hostile("long_name") as url:

        def body(number: int, turn: int) -> dict[str, Any]:
            project = f"attacker-{number}"
            write_secret(
                site.server.secrets, project, accessToken=f"token-{turn}-of-{number}-" + "x" * 4000, baseURL=url
            )
            return site.attacker.body(project, kind="gha-wait-for-workflow")

        with _calls(site, 8, body):
            yield


@contextmanager
def _unknown_keys(site: Site) -> Iterator[None]:
    def body(number: int, turn: int) -> dict[str, Any]:
        del number, turn
        unknown: dict[str, Any] = {f"k{one}": 1 for one in range(90_000)}
        return site.attacker.body("attacker", **unknown)

    site.secret("attacker", site.github.url)
    file = site.folder / "body"
    file.write_text(json.dumps(body(0, 0)))
    with site.program("posts", site.address, "/api/v1/step.execute", BEARER, file, 8):
        yield


@contextmanager
def _many_values(site: Site) -> Iterator[None]:
    body = site.attacker.body("attacker")
    text = json.dumps(body).replace('"ref"', '"x": [' + "[]," * ((4 << 20) // 3 - 1000) + '[]], "ref"')
    file = site.folder / "body"
    file.write_text(text)
    with site.program("posts", site.address, "/api/v1/step.execute", BEARER, file, 16):
        yield


def _program(name: str, *arguments: object, grpc: bool = False) -> Callable[[Site], AbstractContextManager[None]]:
    @contextmanager
    def begin(site: Site) -> Iterator[None]:
        with site.program(name, site.server.grpc_target if grpc else site.address, *arguments):
            yield

    return begin


def _requests(
    content: bytes, connections: int, *, source: str = "127.0.0.2", reads: bool = True
) -> Callable[[Site], AbstractContextManager[None]]:
    """The same request again and again. ``source``: whoever shows no bearer has another address than the victim."""

    @contextmanager
    def begin(site: Site) -> Iterator[None]:
        file = site.folder / "request"
        file.write_bytes(content)
        with site.program("requests", site.address, source, file, connections, "reads" if reads else ""):
            yield

    return begin


def _call(body: bytes) -> bytes:
    head = f"POST /api/v1/step.execute HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {BEARER}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _runs(program: str, *arguments: object, **changes: Any) -> Callable[[Site], AbstractContextManager[None]]:
    """Runs of steps whose GitHub says nothing."""

    @contextmanager
    def begin(site: Site) -> Iterator[None]:
        with site.hostile("silent") as url:
            site.secret("attacker", url)
            file = site.folder / "body"
            file.write_text(json.dumps(site.attacker.body("attacker", **changes)))
            with site.program(program, site.server.grpc_target, BEARER, file, *arguments):
                yield

    return begin


@contextmanager
def _guesses(site: Site) -> Iterator[None]:
    with site.program("guesses", site.address, 252):
        yield


@contextmanager
def _slow_webhook(site: Site) -> Iterator[None]:
    assert site.cluster is not None
    with slow_webhook(site.cluster, site.folder, 9.0):
        site.secret(ATTACKER, site.github.url)
        with _calls(site, 64, lambda number, turn: site.attacker.body(ATTACKER)):
            yield


@contextmanager
def _many_aliases(site: Site) -> Iterator[None]:
    with _among(site, "crowded", partial(write_aliases, count=3_000), 32):
        yield


@contextmanager
def _fat_records(site: Site) -> Iterator[None]:
    """They are counted by the metrics, too."""
    with _among(site, "fat", partial(write_fat_records, count=150), 16), site.program("scrapes", site.address, 2):
        yield


@contextmanager
def _among(site: Site, promotion: str, write: Callable[[Cluster, str], None], threads: int) -> Iterator[None]:
    """Dispatches of a promotion with other records, which each look reads that may decide: the titles name it."""
    assert site.cluster is not None

    def body(number: int, turn: int) -> dict[str, Any]:
        inputs = {"promotion": promotion}
        return site.attacker.body(ATTACKER, f"mine-{number}-{turn}", promotion=promotion, inputs=inputs)

    with site.hostile("named") as url:
        site.secret(ATTACKER, url)
        write(site.cluster, url)
        with _calls(site, threads, body):
            yield


@contextmanager
def _fat_leases(site: Site) -> Iterator[None]:
    assert site.cluster is not None
    with site.hostile("nameless") as url, fat_leases(site.cluster):
        site.secret(ATTACKER, url)
        with _calls(site, 24, lambda number, turn: site.attacker.body(ATTACKER, workflowFile=f"w{number}.yml")):
            yield


MANY_VALUES: Final = (
    b'{"context": {"project": "attacker", "promotion": "p", "promotionUID": "u", "alias": "a", "sharedState": {"x": ['
    + b",".join([b"[]"] * 19_900)
    + b']}}, "step": {"kind": "gha-dispatch-workflow", "config": {}}}'
)
WAIT: Final[dict[str, Any]] = {"kind": "gha-wait-for-workflow"}
INPUTS: Final = {f"input-{number}": "x" * 2_500 for number in range(25)}
ATTACKS: Final = (
    Attack(
        "memory: 32 MiB of [] for each look, or 49,000 jobs",
        _looks("jobs", 64, **WAIT),
        before="900 MiB; the jobs: 265 MiB, p95 9.4 s",
    ),
    Attack("memory: as many [] as a look may have", _looks("arrays_within_bounds", **WAIT)),
    Attack("memory: a message of 1 MiB in each answer", _looks("long_name", **WAIT)),
    Attack("memory: listings of 22 MiB", _looks("listings"), before="574 MiB"),
    Attack("memory: rotating tokens", _rotating, before="85 KiB more with each"),
    Attack("memory: 90,000 unknown keys, 8 at once", _unknown_keys, before="603 MiB, `/healthz` 4.4 s"),
    Attack("memory: 4 MiB of [] in 16 calls", _many_values),
    Attack("memory: one pipelining connection", _program("pipeline"), before="1.2 GiB"),
    Attack(
        "memory: 200 scrapers that read no answer",
        _requests(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 16, 200, reads=False),
        before="p95 6.1 ×",
    ),
    Attack("memory: 1,000 bodies that do not end", _program("slow_bodies", BEARER, 1000), before="1,500: 646 MiB"),
    Attack(
        "memory: HTTP/2 frames of an unknown kind",
        _program("frames", BEARER, "unknown", grpc=True),
        before="252 MiB",
    ),
    Attack(
        "memory: 240 health checks that withhold 4 MiB",
        _program("withheld", "/grpc.health.v1.Health/Check", "", 12, 20, grpc=True),
        before="1,069 MiB",
    ),
    Attack("memory: gRPC messages of empty values", _program("dense", BEARER, grpc=True), before="2,968 MiB"),
    Attack(
        "memory: 8,192 gRPC calls without a message",
        _program("silent", "/gha_step.v1.StepService/Execute", BEARER, 8, 1024, grpc=True),
        before="272 MiB",
    ),
    Attack("memory: Runs with inputs of 62 KB", _runs("runs", 4500, inputs=INPUTS), before="275 MiB"),
    Attack(
        "time: a body of tiny chunks",
        _program("pieces", BEARER, "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"),
        before="`/healthz` 2.0 s",
    ),
    Attack("time: a head of tiny fields", _program("pieces", BEARER, "", "X: y\r\n"), before="`/healthz` 1.1 s"),
    Attack(
        "time: 20,000 values in 60 KB",
        _requests(_call(MANY_VALUES), 16, source="127.0.0.1"),
        before="p95 10 ×",
    ),
    Attack("time: numbers of many digits", _looks("numbers", **WAIT)),
    Attack("time: titles of escapes", _looks("escapes")),
    Attack("time: endless 1xx", _looks("informational", **WAIT), before="94 % of the CPU"),
    Attack("time: endless 1xx to dispatches", _looks("informational")),
    Attack("time: much around little in answers", _looks("framed", **WAIT), before="p95 24 ×, `/healthz` 1.6 s"),
    Attack("time: dripping answers", _looks("dripping", 64, **WAIT)),
    Attack("time: 320 silent dispatches", _looks("silent", 320), before="everybody waits 21 s"),
    Attack("connections: 2,000 heads that never end", _program("heads", 2000)),
    Attack("connections: 2,000 idle connections", _program("idle", 2000)),
    Attack(
        "connections: gRPC calls with a bearer that withhold 4 MiB",
        _program("withheld", "/gha_step.v1.StepService/Execute", BEARER, 12, 20, grpc=True),
    ),
    Attack("connections: 4,500 Runs", _runs("runs", 4500, **WAIT)),
    Attack("connections: Runs cancelled at once", _runs("cancelled_runs", **WAIT)),
    Attack("connections: rapid reset", _program("resets", "", grpc=True)),
    Attack("connections: refused gRPC calls", _program("refused", grpc=True)),
    Attack(
        "connections: 252 guesses a second", _guesses, {"GHA_STEP_PROJECT_API": "on"}, before="99 % of calls refused"
    ),
    Attack("growth: eight scrapers", _program("scrapes", 8), before="p50 58 → 7,296 ms"),
    Attack("TLS: 2,000 idle connections", _program("idle", 2000, grpc=True), tls=True, before="8,700: 216 MiB"),
    Attack("TLS: 4,500 Runs", _runs("runs", 4500, **WAIT), tls=True, before="p95 4.6 ×"),
    Attack(
        "TLS: gRPC calls with a bearer that withhold 4 MiB",
        _program("withheld", "/gha_step.v1.StepService/Execute", BEARER, 12, 20, grpc=True),
        tls=True,
        before="p95 9.7 s",
    ),
    Attack("TLS: rapid reset", _program("resets", "", grpc=True), tls=True, before="p95 42 → 282 ms"),
    Attack("TLS: refused gRPC calls", _program("refused", grpc=True), tls=True),
    Attack(
        "Kubernetes: a webhook of one namespace that takes 9 s", _slow_webhook, kubernetes=True, before="p95 21.7 s"
    ),
    Attack(
        "Kubernetes: a link that no record may hold",
        _looks("long_link", 8),
        kubernetes=True,
        before="p95 29 ms → 20.6 s",
    ),
    Attack(
        "Kubernetes: 3,000 aliases under one Promotion",
        _many_aliases,
        kubernetes=True,
        before="339 MiB, p95 51 → 3,386 ms",
    ),
    Attack("Kubernetes: 150 records of 900 KB made by hand", _fat_records, kubernetes=True, before="188 MiB after 6 s"),
    Attack("Kubernetes: Leases of 1 MiB that change", _fat_leases, kubernetes=True, before="268 MiB"),
)
