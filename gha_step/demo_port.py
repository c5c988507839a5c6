"""The demo for Port: an action starts its workflow, and killing the server changes nothing.

An emulated Port and an emulated GitHub in this process, Secrets in a directory, and the real server as a process of its
own, on loopback. The demo prints what Port would show.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gha_step.demo import DemoFailed, Printer, Server, write_secret
from gha_step.emulator import EXAMPLE_REPOSITORY, EXAMPLE_TOKEN, EXAMPLE_WORKFLOW, GitHub, Hold, serve
from gha_step.emulator.port import (
    EXAMPLE_ACTION,
    EXAMPLE_CLIENT_ID,
    EXAMPLE_CLIENT_SECRET,
    EXAMPLE_INSTALLATION,
    ActionRun,
    Port,
    example,
)
from gha_step.settings import PREFIX

PROJECT: Final = "port"
WITHIN: Final = 90.0  # seconds; each step takes a few
WORKFLOW: Final = """\
run-name: "Deploy ${{ inputs.image_tag }} to ${{ inputs.environment }}"
on:
  workflow_dispatch:
    inputs:
      environment: {required: true}
      image_tag: {required: true}
"""


def run_port_demo() -> int:
    """Run it. 0 only if each press has one run at GitHub, with its inputs, and is SUCCESS with that run's link."""
    github, port, printer = GitHub(example=False), example(), Printer()
    github.add_token(EXAMPLE_TOKEN)
    github.add_repository(EXAMPLE_REPOSITORY).add_workflow(EXAMPLE_WORKFLOW, WORKFLOW, queued_for=0.2, runs_for=0.5)
    with (
        tempfile.TemporaryDirectory(prefix="gha-step-demo-") as name,
        serve(github) as github_url,
        serve(port) as port_url,
    ):
        folder = Path(name)
        write_secret(folder, PROJECT, "github-credentials", accessToken=EXAMPLE_TOKEN, baseURL=github_url)
        write_secret(
            folder, PROJECT, "port-credentials", clientId=EXAMPLE_CLIENT_ID, clientSecret=EXAMPLE_CLIENT_SECRET
        )
        settings = {
            f"{PREFIX}PORTIO": "claims",
            f"{PREFIX}PORTIO_API": port_url,
            f"{PREFIX}PORTIO_PROJECT": PROJECT,
            f"{PREFIX}PORTIO_INSTALLATION": EXAMPLE_INSTALLATION,
            f"{PREFIX}PORTIO_POLL": "1s",
        }
        printer.tell("gha-step serve, with:")
        print("\n".join(f"{key}={value}" for key, value in settings.items()), flush=True)
        _play(github, port, Server(folder, "", settings=settings | {f"{PREFIX}TOKEN_FILE": "off"}), printer)
    return 0


def _play(github: GitHub, port: Port, server: Server, printer: Printer) -> None:
    with server.running():
        first = _press(port, printer, "v1.2.3")
        _await(lambda: bool(first.link), "the run got no link")
        printer.tell("gha-step has claimed it and started its workflow, once. Port shows:")
        _show(first)
        _await(lambda: first.ended, "the run did not end")
        printer.tell("The workflow has ended, and Port shows:")
        _show(first)
        hold = Hold()
        port.faults.add(hold, "ack")
        second = _press(port, printer, "v1.2.4")
        _await(lambda: len(github.runs) == 2 and port.count("ack") == 2, "nothing was dispatched")
        printer.tell(
            "GitHub has the run; Port does not know it yet, nor that the claim was taken. gha-step is killed now."
        )
    port.faults.clear()
    hold.release()
    printer.tell("gha-step is started again, over the same ledger:")
    with server.running():
        _await(lambda: second.ended, "the run did not end")
    _show(second)
    for run in (first, second):
        _check(github, run)
    printer.tell("Two presses, two runs at GitHub, and none was started twice.")
    print(f"port run {second.id}: {second.status}")


def _press(port: Port, printer: Printer, tag: str) -> ActionRun:
    inputs = {"environment": "prod", "image_tag": tag}
    run = port.press(EXAMPLE_ACTION, inputs)
    printer.tell(f"Somebody presses the button {EXAMPLE_ACTION} in Port, with {inputs}: the run {run.id}")
    return run


def _show(run: ActionRun) -> None:
    print(f"\n{run.id}  {run.status}  {run.label or ''}\n  link: {run.link}")
    for line in run.log:
        print(f"  log:  {line.message}" + (f"  [{line.label}]" if line.label else ""))
    if run.summary:
        print(f"  summary: {run.summary}")
    print(end="", flush=True)


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{otherwise} within {WITHIN:.0f} s")
        time.sleep(0.02)


def _check(github: GitHub, run: ActionRun) -> None:
    held = [one for one in github.runs if dict(one.inputs) == run.properties]
    if len(held) != 1 or run.status != "SUCCESS" or not str(run.link).endswith(f"/runs/{held[0].id}"):
        raise DemoFailed(
            f"{run.id} should be SUCCESS with one run at GitHub, but is {run.status}, and GitHub has {held}"
        )
