"""Port: runs that are claimed from the emulated Port, against the figures that its own backends had on the same load.

Those are docs/port.md's: GitHub Ocean and the port-agent ran against an emulated Port and GitHub of the same kind, each
in a process of its own. Port, GitHub and gha_step share this machine's cores here, Port and GitHub one process.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from gha_step.emulator import Delay, GitHub, Run, serve
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Action, ActionRun, Port, example
from tests.support.github import PLAIN, WORKFLOW
from tests.support.port import PROJECT, port_secrets
from tests.support.process import Served

from .table import spread, table

BURST: Final = 200  # runs
SLOW: Final = 0.05  # seconds that GitHub takes for a dispatch
PRESSES: Final = 20
END_WITHIN: Final = 180.0  # seconds
SHARED: Final = ("token", "get-integration", "create-integration", "claim", "claim-nodes", "list-runs")


def port_runs(folder: Path) -> None:
    """A burst, then presses one by one."""
    github, port = GitHub(), example()
    repository = github.repository("myorg/my-app")
    repository.add_workflow("port.yml", WORKFLOW.format(title=PLAIN), queued_for=0.5, runs_for=6.0)
    github.faults.add(Delay(SLOW), "dispatch", times=None)
    with serve(github) as github_url, serve(port) as port_url:
        port_secrets(folder / "secrets", github_url)
        settings = {
            "GHA_STEP_PORTIO": "claims",
            "GHA_STEP_PORTIO_API": port_url,
            "GHA_STEP_PORTIO_PROJECT": PROJECT,
            "GHA_STEP_TOKEN_FILE": "off",
        }
        server = Served(folder, settings | {"GHA_STEP_LOG_LEVEL": "info"}, fresh=True)
        with closing(_Killed(server)):
            rate, closed = _burst(github, port)
            before = port.count() - port.count(*SHARED)
            waits = _presses(github, port)
            asked = (port.count() - port.count(*SHARED) - before) / PRESSES
    table(
        f"Port: runs over claims, GitHub at {SLOW * 1000:.0f} ms (goals: ≥ 50 a second, ≤ 2 s, ≤ 7 requests)",
        ["", "gha_step", "GitHub Ocean", "port-agent"],
        [
            [f"burst of {BURST}: dispatches/s", f"{rate:.0f}", "14.6–16.3", "7.9"],
            ["last report after the last run's end, s", f"{closed:.0f}", "", ""],
            ["press to dispatch, s", spread(waits, 1, 1), "6–11", "0.3"],
            ["Port requests per run, without claims", f"{asked:.1f}", "5", "12"],
        ],
        "The others' figures are docs/port.md's, on the same load. The measuring process emulates Port and GitHub.",
    )


class _Killed:
    def __init__(self, server: Served) -> None:
        self._server = server

    def close(self) -> None:
        self._server.kill()


def _burst(github: GitHub, port: Port) -> tuple[float, float]:
    """Dispatches per second, first POST to last; and how long after the last run's end all were told."""
    pressed = [_press(port, number) for number in range(BURST)]
    _await(lambda: all(one.ended for one in pressed))
    told = time.time()
    posts = [one.at for one in github.log if one.operation == "dispatch"]
    assert len(posts) == len(github.runs) == BURST, f"{len(posts)} POSTs"
    assert Counter(one.status for one in pressed) == {"SUCCESS": BURST}
    last = max(_end(run) for run in github.runs)
    return (BURST - 1) / (max(posts) - min(posts)), told - last


def _end(run: Run) -> float:
    return run.created_at + 6.5


def _presses(github: GitHub, port: Port) -> list[float]:
    """Seconds from a press to its dispatch."""
    waits: list[float] = []
    pressed: list[ActionRun] = []
    for number in range(PRESSES):
        time.sleep(1.0 + 0.37 * (number % 5))  # anywhere between two claims
        begun = time.time()
        pressed.append(_press(port, BURST + number))
        _await(lambda: len(github.runs) == BURST + len(pressed))
        waits.append(max(one.at for one in github.log if one.operation == "dispatch") - begun)
    _await(lambda: all(one.ended for one in pressed))
    assert {one.patches_by(EXAMPLE_CLIENT_ID) for one in pressed} == {2}
    return waits


def _press(port: Port, number: int) -> ActionRun:
    return port.press(Action(f"a{number % 5}", workflow="port.yml"), {"image_tag": f"tag-{number}"})


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_WITHIN
    while not condition():
        assert time.monotonic() < deadline, "the runs did not end"
        time.sleep(0.02)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gha-step-bench-") as name:
        port_runs(Path(name))
