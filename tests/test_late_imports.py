"""What libraries import and no server uses is not imported by a start, and is all there for who asks for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import clean_environment

START = """
import json, os, sys
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
from gha_step import cli
from gha_step.late_imports import put_off_what_a_start_does_not_use
put_off_what_a_start_does_not_use()
cli._parsed(["serve"])
from gha_step.settings import Settings
from gha_step.wiring.server import build
build(Settings.parse({"GHA_STEP_HTTP_LISTEN": "127.0.0.1:0", "GHA_STEP_TOKEN_FILE": "none",
    "GHA_STEP_SECRETS": "dir:.", "GHA_STEP_LEDGER": "sqlite:ledger.db"}), {})
"""
UNUSED = {"argparse", "click", "h11", "email.message", "logging.handlers", "multiprocessing"}
BY_THREADS = """
import importlib.metadata, threading
versions = []
threads = [threading.Thread(target=lambda: versions.append(importlib.metadata.version("h11"))) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
told = len(versions)
"""


def told(script: str, folder: Path) -> object:
    """What a Python process of its own prints, from JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_start_imports_nothing_that_no_server_uses(tmp_path: Path) -> None:
    loaded = told(f"{START}\nprint(json.dumps(list(sys.modules)))", tmp_path)
    assert isinstance(loaded, list)
    assert UNUSED.intersection(loaded) == set()


def test_a_server_that_is_ready_has_what_the_first_dispatch_asks_for(tmp_path: Path) -> None:
    built = """
from gha_step.late_imports import catch_up
from gha_step.ledger.record import Record
from gha_step.steps.dispatch.config import DispatchOutput, DispatchWorkflowConfig
before = [one.__pydantic_complete__ for one in (Record, DispatchOutput, DispatchWorkflowConfig)]
catch_up()
after = [one.__pydantic_complete__ for one in (Record, DispatchOutput, DispatchWorkflowConfig)]
print(json.dumps([before, after]))
"""
    assert told(START + built, tmp_path) == [[False] * 3, [True] * 3]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("import uvicorn; told = (uvicorn.run.__module__, uvicorn.Config(None).port)", ["uvicorn.main", 8000]),
        ("from importlib.metadata import version; told = version('uvicorn') > '0'", True),
        ("from importlib.metadata import entry_points; told = len(entry_points(group='pydantic'))", 0),
        ("import logging.config as c; told = c.dictConfig({'version': 1})", None),
        ("import logging; told = hasattr(logging.config, 'nothing')", False),
        ("from configparser import RawConfigParser as P; told = type(P()).__name__", "RawConfigParser"),
        (BY_THREADS, 8),
    ],
)
def test_what_was_put_off_is_there_for_whoever_asks(asked: str, answer: object, tmp_path: Path) -> None:
    put_off = (
        "from gha_step.late_imports import put_off_what_a_start_does_not_use as p; p()\nimport json, uvicorn.server\n"
    )
    assert told(f"{put_off}{asked}\nprint(json.dumps(told))", tmp_path) == answer
