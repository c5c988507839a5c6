"""Processes of gha_step that begin as forks of one that has imported it: the imports are most of what a start costs.

Each is a process of its own, which a test may kill like any other; what the start itself does is proven by the tests
that run the command: `support.process.run_command`, the demo, `inbound/test_start.py`.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

import gha_step.inbound.rest.resource
import gha_step.ledger.sqlite
import gha_step.wiring.server  # noqa: F401  as the two above: for those that are forked
from gha_step.late_imports import catch_up

catch_up()

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
_ONE_AT_A_TIME: Final = threading.Lock()  # starting one asks for the ends of all


class Fork:
    """``python -m …`` with stdout and stderr appended to ``log``; it is asked and ended like a `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._process = _CONTEXT.Process(target=_begin, args=(command, dict(environment), str(log)), daemon=True)
        with _ONE_AT_A_TIME:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; ``None`` while it runs."""
        with _ONE_AT_A_TIME:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """:raises subprocess.TimeoutExpired: it does not end."""
        wait([self._process.sentinel], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """To a process that still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and no waiting."""
        self._process.kill()


def _begin(command: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    module, *arguments = command
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
