"""`gha-step run` against an emulated GitHub: in this process, or as one that can be killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from tests.support.process import Ended, clean_environment, run_here

# What a CI that runs these tests sets itself.
NO_CI = dict.fromkeys(
    (
        "GITHUB_ACTIONS",
        "GITHUB_REPOSITORY",
        "GITHUB_RUN_ID",
        "GITHUB_OUTPUT",
        "GITHUB_TOKEN",
        "GITHUB_API_URL",
        "KARGO_OUTPUT",
    ),
    "",
)
WORKFLOW = """\
name: Marked
run-name: Deploy ${{ inputs.gha_step }}
on:
  workflow_dispatch:
    inputs:
      image_tag:
        required: true
      gha_step:
        required: false
"""


class Shell:
    """One machine with its own state directory, and a GitHub."""

    def __init__(self, folder: Path, github: GitHub, url: str) -> None:
        self.github = github
        self.folder = folder
        self.variables = {
            **NO_CI,
            "GH_TOKEN": EXAMPLE_TOKEN,
            "GITHUB_API_URL": url,
            "XDG_STATE_HOME": str(folder / "state"),
            "GHA_STEP_SETTLE": "0s",
        }
        github.repository("myorg/my-app").add_workflow("marked.yml", WORKFLOW)

    def run(self, *arguments: str, **variables: str) -> Ended:
        """``gha-step run …`` to its end."""
        return run_here("run", *arguments, **{**self.variables, **variables})

    def dispatch(self, *arguments: str, tag: str = "v1", **variables: str) -> Ended:
        """``gha-step run dispatch …`` of the example's workflow, to its end."""
        return self.run(*dispatching(tag), *arguments, **variables)

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """``gha-step run …`` as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "gha_step", "run", *arguments],
            env=clean_environment(**{**self.variables, **variables}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def dispatching(tag: str) -> list[str]:
    """The arguments that dispatch the example's workflow."""
    inputs = ["-f", "environment=test", "-f", f"image_tag={tag}"]
    return ["dispatch", "--repo", "myorg/my-app", "--workflow", "deploy.yml", "--ref", "main", *inputs]


def dispatching_marked(tag: str) -> list[str]:
    """The arguments that dispatch a workflow which shows the marker."""
    workflow = ["--repo", "myorg/my-app", "--workflow", "marked.yml", "--ref", "main"]
    return ["dispatch", *workflow, "-f", f"image_tag={tag}", "--correlation-input", "gha_step"]


def values(text: str) -> dict[str, str]:
    """``key=value`` lines."""
    return dict(line.split("=", 1) for line in text.splitlines())


@contextmanager
def shell(folder: Path, generation: str = "github.com") -> Iterator[Shell]:
    """A machine, until the end of the block."""
    github = GitHub(generation)
    with serve(github) as url:
        yield Shell(folder, github, url)
