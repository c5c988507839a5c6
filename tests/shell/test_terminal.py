"""What `gha-step run` shows to somebody who watches it on a terminal, and leaves out elsewhere."""

import json
import subprocess
import sys
import threading

import pytest

from gha_step.emulator import Job
from tests.support.clock import eventually
from tests.support.process import on_a_terminal

from .commands import Shell, dispatching


@pytest.fixture
def waiting(machine: Shell) -> list[str]:
    """A wait for a run of three jobs, of which two have ended and one is about to fail."""
    workflow = machine.github.repository("myorg/my-app").workflow("deploy.yml")
    assert workflow is not None
    workflow.queued_for, workflow.runs_for, workflow.conclusion = 0.0, 3600.0, "failure"
    workflow.jobs = (Job("build"), Job("deploy\x1b[2J", ("Set up", "Run it"), "Run it"), Job("test"))
    run = machine.github.start_run(
        "myorg/my-app", "deploy.yml", actor="octocat", inputs={"environment": "x", "image_tag": "y"}
    )
    for job in ("build", "test"):
        run.set_job(job, "completed", "success")

    def end() -> None:
        eventually(lambda: machine.github.count("get-run") >= 3)
        run.finish("failure")

    threading.Thread(target=end, daemon=True).start()
    return ["run", "wait", "--repo", "myorg/my-app", "--run-id", str(run.id), "--poll-interval", "1s"]


def test_a_terminal_shows_each_job_as_it_ends_and_the_state_and_the_time(machine: Shell, waiting: list[str]) -> None:
    shown = on_a_terminal(sys.executable, "-m", "gha_step", *waiting, **machine.variables)
    lines = [line.rpartition("\x1b[K")[2] for line in shown.split("\r\n")]
    assert lines.count("  ✓ build: success") == 1
    (failed,) = [line for line in lines if "✗" in line]
    assert failed.startswith("  ✗ deploy")
    assert ": failure in the step Run it http://" in failed
    assert "is in progress · 2 of 3 jobs have ended" in shown
    assert "\x1b[2J" not in shown
    # The link is said once, and stands in the output besides.
    assert shown.count("is in progress: http://") == 1
    assert shown.count(f"/actions/runs/{waiting[5]}\r\n") == 2


def test_a_pipe_gets_plain_lines_without_jobs_and_json_that_can_be_read(machine: Shell, waiting: list[str]) -> None:
    done = machine.run(*waiting[1:], "--output", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["conclusion"] == "failure"
    assert not {"\x1b", "\r", "✓", "✗"} & set(done.stderr)
    assert machine.github.count("list-jobs") == 1  # why it failed


def test_nobody_who_reads_is_no_trouble(machine: Shell) -> None:
    process = machine.start(*dispatching("v1"), "--key", "k")
    assert process.stderr is not None
    process.stderr.close()
    try:
        out, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert (process.returncode, "runID=" in out) == (0, True)
