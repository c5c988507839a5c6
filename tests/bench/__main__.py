"""`python -m tests.bench`: every comparison once, each told as soon as it is made. About three minutes."""

import os
import platform
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from gha_step.ledger.keys import step_key
from gha_step.ledger.record import Record, Run, State, Target
from gha_step.ledger.sqlite import SqliteStore
from tests.support.cluster import missing
from tests.support.cluster import running as running_cluster

from .in_kubernetes import in_kubernetes
from .load import Load, allow_many_files, at_once, in_flight, throughput
from .port import port_runs
from .programs import (
    ALL,
    BARE,
    GHA_STEP,
    NATURAL,
    PROJECT,
    RELAY,
    BenchFailed,
    Program,
    Room,
    Server,
    StandIn,
    natural_python,
    running,
    stand_in,
)
from .table import p95, ratio, spread, table

STARTS: Final = 9  # rounds
WARM_UP: Final = 20  # dispatches that are not counted
AT_ONCE: Final = 400  # rounds with a GitHub that answers at once
SLOWLY: Final = 60  # rounds with one that takes SLOW
SLOW: Final = 0.05  # seconds
NATURAL_ROUNDS: Final = 8  # it takes about a second for each
CONNECTIONS: Final = 16
WINDOW: Final = 2.0  # seconds
WINDOWS: Final = 3  # rounds
PROMOTIONS: Final = 1000
FLIGHT_CONNECTIONS: Final = 64
RECORDS: Final = 100_000
LEDGER_ROUNDS: Final = 400


def main() -> int:
    """Run it. 1: something that was to be measured did not work."""
    if not natural_python().exists():
        print("the natural stack's environment is missing: run `make bench`", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="gha-step-bench-") as folder, stand_in() as github:
        room = Room(Path(folder), github)
        load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
        print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, load {load}")
        print("Medians, [the middle half]. GitHub is a stand-in in a process of its own (fixed bytes).")
        try:
            starts(room)
            dispatches(room, github)
            loads(room, github)
            ledgers(room)
            port_runs(Path(folder) / "port")
            if absent := missing(os.environ):
                print(f"left out: the ledger in Kubernetes, which {absent}")
            else:
                with running_cluster(Path(os.environ["KUBEBUILDER_ASSETS"])) as cluster:
                    in_kubernetes(room, github, cluster)
        except BenchFailed as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"\n{time.perf_counter() - begun:.0f} s in all; load at the end {load}.")
    return 0


# ---------------------------------------------------------------------- start and memory


def starts(room: Room) -> None:
    """From the process's start until GET /readyz answers 200, and its memory then and after one dispatch."""
    for program in (BARE, *ALL):
        _start(program, room)  # compiles what they import, and warms the disk's cache
    samples: dict[Program, list[_Start]] = {program: [] for program in (BARE, *ALL)}
    for _ in range(STARTS):
        for program in samples:
            samples[program].append(_start(program, room))
    rows, natural, bare = [], samples[NATURAL], samples[BARE]
    for program in samples:
        mine = samples[program]
        rows.append(
            [
                program.name,
                spread([s.ready for s in mine], 1000),
                ratio([s.ready for s in mine], [s.ready for s in natural]),
                f"{min(s.ready for s in mine) / min(s.ready for s in bare):.1f}",
                spread([s.cpu for s in mine], 1000),
                spread([s.rss for s in mine], 1, 1),
                spread([s.first for s in mine], 1000) if program is not BARE else "",
                spread([s.rss_after for s in mine], 1, 1),
                ratio([s.rss_after for s in mine], [s.rss_after for s in natural]),
                spread([s.peak for s in mine], 1, 1),
            ]
        )
    goals = "goals: start ≤ 0.2 × natural and ≤ 3.5 × http.server, first dispatch ≤ 40 ms, RSS after it ≤ 0.5 × natural"
    table(
        f"Start and memory, {STARTS} rounds ({goals})",
        [
            "",
            "start to ready ms",
            "× natural",
            "× http.server (fastest)",
            "CPU until then ms",
            "RSS at ready MiB",
            "1st dispatch ms",
            "RSS after it MiB",
            "× natural",
            "VmHWM",
        ],
        rows,
        "The first dispatch to a server that is not github.com lists its runs first.",
    )


class _Start:
    def __init__(self, server: Server, *, bare: bool) -> None:
        self.ready = server.start_seconds
        self.cpu = server.cpu_seconds()
        self.rss, _ = server.memory()
        self.first = 0.0 if bare else server.dispatch()
        self.rss_after, self.peak = server.memory()


def _start(program: Program, room: Room) -> _Start:
    with running(program, room) as server:
        return _Start(server, bare=program is BARE)


# ---------------------------------------------------------------------- one dispatch after another


def dispatches(room: Room, github: StandIn) -> None:
    """Time per dispatch, one at a time, over connections that are kept, and what each costs GitHub."""
    with ExitStack() as stack:
        servers = {program: stack.enter_context(running(program, room)) for program in ALL}
        counts: list[list[str]] = []
        for program, server in servers.items():
            github.requests()
            server.dispatch()
            first = github.requests()
            server.dispatch()
            counts.append([program.name, str(first), str(github.requests())])
        counts.append(["raw POST", "1", "1"])
        table(
            "Requests to GitHub per dispatch (goal: 1, and one more on the first contact with such a server)",
            ["", "a process's first", "each later one"],
            counts,
        )
        _warm_up(servers[GHA_STEP], servers[RELAY])
        _dispatches("GitHub answers at once", servers, github, AT_ONCE, "goal: gha-step ≤ 1.8 × the relay")
        github.hold_back(SLOW)
        title = f"GitHub takes {SLOW * 1000:.0f} ms for each request"
        _dispatches(title, servers, github, SLOWLY, "goal: gha-step ≤ 1.08 × the raw POST")
        github.hold_back(0)


def _dispatches(title: str, servers: dict[Program, Server], github: StandIn, rounds: int, goal: str) -> None:
    names = ["raw POST", *(program.name for program in ALL)]
    times: dict[str, list[float]] = {name: [] for name in names}
    cpu = {program: -server.cpu_seconds() for program, server in servers.items()}
    for number in range(rounds):
        times["raw POST"].append(github.dispatch())
        times[RELAY.name].append(servers[RELAY].dispatch())
        times[GHA_STEP.name].append(servers[GHA_STEP].dispatch())
        if number % (rounds // NATURAL_ROUNDS) == 0:
            times[NATURAL.name].append(servers[NATURAL].dispatch())
    costs = {p.name: (cpu[p] + server.cpu_seconds()) / len(times[p.name]) for p, server in servers.items()}
    rows = [
        [
            name,
            str(len(times[name])),
            spread(times[name], 1000, 2),
            f"{p95(times[name]) * 1000:.2f}",
            ratio(times[name], times["raw POST"]),
            ratio(times[name], times[RELAY.name]),
            f"{costs[name] * 1000:.1f}" if name in costs else "",
        ]
        for name in names
    ]
    heads = ["", "dispatches", "p50 ms", "p95 ms", "× raw POST", "× relay", "CPU ms each"]
    table(f"Time per dispatch, {title} ({goal})", heads, rows)


def _warm_up(*servers: Server) -> None:
    for _ in range(WARM_UP):
        for server in servers:
            server.dispatch()


# ---------------------------------------------------------------------- many at once


def loads(room: Room, github: StandIn) -> None:
    """Throughput, and a thousand promotions at the same moment."""
    with ExitStack() as stack:
        servers = {program: stack.enter_context(running(program, room)) for program in ALL}
        _warm_up(servers[GHA_STEP], servers[RELAY])
        windows: dict[Program, list[Load]] = {program: [] for program in ALL}
        for _ in range(WINDOWS):
            for program, server in servers.items():
                windows[program].append(throughput(server.port, CONNECTIONS, WINDOW))
        flights = {p: in_flight(servers[p].port, PROMOTIONS, FLIGHT_CONNECTIONS) for p in servers}
    how = f"{CONNECTIONS} connections kept alive, GitHub answers at once, {WINDOWS} windows of {WINDOW:.0f} s"
    table(
        f"Throughput, {how} (goal: half the relay's)",
        ["", "dispatches/s", "p50 ms", "p95 ms", "errors"],
        [
            [
                program.name,
                spread([len(load.times) / load.seconds for load in mine]),
                f"{median(_times(mine)) * 1000:.1f}",
                f"{p95(_times(mine)) * 1000:.1f}",
                str(sum(len(load.errors) for load in mine)),
            ]
            for program, mine in windows.items()
        ],
        "Callers, GitHub's stand-in and the server share the cores.",
    )
    table(
        f"{PROMOTIONS} promotions over {FLIGHT_CONNECTIONS} connections (goal: no error, gha-step ≤ 2.5 s)",
        ["", "runs", "errors", "all done s"],
        [[p.name, str(len(f.times)), str(len(f.errors)), f"{f.seconds:.2f}"] for p, f in flights.items()],
    )
    rows, notes = [], []
    for seconds in (SLOW, 1.0):
        with running(GHA_STEP, room) as server:
            _warm_up(server)
            allow_many_files(PROMOTIONS)
            github.hold_back(seconds)
            load = at_once(server.port, PROMOTIONS)
            github.hold_back(0)
            _, peak = server.memory()
        rows.append(
            [
                f"{seconds * 1000:.0f} ms",
                str(len(load.times)),
                str(len(load.errors)),
                f"{load.seconds:.2f}",
                f"{median(load.times):.2f}" if load.times else "",
                f"{p95(load.times):.2f}" if load.times else "",
                str(load.calls),
                f"{peak:.0f}",
            ]
        )
        notes += load.errors[:3]
    table(
        f"{PROMOTIONS} promotions at the same moment, against one gha-step (goal: no error)",
        ["GitHub takes", "runs", "errors", "all done s", "p50 s", "p95 s", "calls", "VmHWM MiB"],
        rows,
        *notes,
    )


def _times(loads: Sequence[Load]) -> list[float]:
    return [seconds for load in loads for seconds in load.times] or [float("nan")]


# ---------------------------------------------------------------------- a full ledger


def ledgers(room: Room) -> None:
    """Cost per dispatch with an empty ledger and with one that has seen much."""
    full = room.new_ledger()
    _fill(full, RECORDS)
    with running(GHA_STEP, room) as empty, running(GHA_STEP, room, full) as filled:
        servers = {"0 records": empty, f"{RECORDS:,} records": filled}
        _warm_up(*servers.values())
        times: dict[str, list[float]] = {name: [] for name in servers}
        cpu = {name: -server.cpu_seconds() for name, server in servers.items()}
        for _ in range(LEDGER_ROUNDS):
            for name, server in servers.items():
                times[name].append(server.dispatch())
        rows = [
            [
                name,
                spread(times[name], 1000, 2),
                f"{p95(times[name]) * 1000:.2f}",
                ratio(times[name], times["0 records"]),
                f"{(cpu[name] + server.cpu_seconds()) / LEDGER_ROUNDS * 1000:.2f}",
            ]
            for name, server in servers.items()
        ]
    table(
        f"Cost per dispatch by the ledger's size, {LEDGER_ROUNDS} rounds, GitHub answers at once (goal: the same)",
        ["", "p50 ms", "p95 ms", "× empty", "CPU ms each"],
        rows,
    )


def _fill(path: Path, records: int) -> None:
    """Rows as `SqliteStore` writes them, for dispatches that ended long ago."""
    SqliteStore(path).close()
    target = Target(api_base="https://api.github.com", repo="myorg/my-app", workflow="deploy.yml", ref="main")
    run = Run(id=1, url="https://github.com/myorg/my-app/actions/runs/1", source="response")
    parts = (PROJECT, "00000000-0000-4000-8000-000000000000", "dispatch")
    template = Record(
        key=step_key(*parts),
        key_parts=parts,
        promotion="test.01jpast.0000000",
        version=2,
        state=State.ACCEPTED,
        target=target,
        inputs_hash="0" * 64,
        timeout=60,
        created_at=1.7e9,
        nonce="0" * 32,
        sending_at=1.7e9,
        run=run,
    )
    body = template.model_dump_json(exclude_none=True)

    def row(number: int) -> tuple[str, int, str, str, str, float, str]:
        uid = f"00000000-0000-4000-8000-{number:012d}"
        key, promotion = step_key(PROJECT, uid, parts[2]), f"test.01jpast.{number:07d}"
        text = body.replace(template.key, key).replace(parts[1], uid).replace(template.promotion, promotion)
        return key, 2, State.ACCEPTED, PROJECT, promotion, 1.7e9 + number, text

    database = sqlite3.connect(path)
    try:
        with database:
            database.executemany(
                "INSERT INTO records (key, version, state, project, promotion, created, record) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                map(row, range(1, records + 1)),
            )
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
