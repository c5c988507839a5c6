"""Every code block of the docs says whether it is run, and those that are run come to what they promise.

Above each stands a comment: `run-here` (by `make test`), `run-in-test-cluster` (by `make test-cluster`), or `shown`.
What is only shown is listed here, with the reason. The examples of the steps' own pages are run by `test_step_pages`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from gha_step.github.workflow_file import declared_inputs
from gha_step.inbound.shell.check import check
from tests.support.ports import free_port
from tests.support.process import clean_environment
from tests.support.rows import each_row

from .examples import PAGES

ROOT: Final = Path(__file__).resolve().parents[2]
TEXTS: Final = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests/README.md"] if path not in PAGES
)
MARKS: Final = ("run-here", "run-in-test-cluster", "shown")
WITHIN: Final = 300  # seconds for a page
PROMISED: Final = {
    "try-it.md": (
        "runID=17000000001",
        "may have been dispatched",
        "runIDSource=marker",
        '"status":"Succeeded"',
        "STATUS_SUCCEEDED",
        '"runID": "17000000001"',
        "was refused: the bearer token",
        "conclusion=success",
    ),
}
# What is only shown: how it begins, and why it is not run.
SHOWN: Final = {
    "docker ": "there is no container engine in a test",
    "cosign ": "it verifies a release on the internet",
    "grpcurl ": "a Go program; its request is sent by tests/end_to_end/test_grpc_client.py",
    "gh run list ": "it asks github.com",
    "git clone ": "it fetches from github.com; CI is such a clone",
    "make demo ": "tests/test_cli.py runs the demo; make test is what runs this",
    "mkdir -p secrets/port/": "it takes credentials of Port and GitHub; gha-step demo --port is the same on loopback",
    "token=$(curl ": "it needs an emulated Port; tests/inbound/port/whole presses so",
    "images: ": "one line of a kustomization; tests/deploy renders it",
    "patches:": "part of a kustomization, for a registry that there is not",
    "export GH_TOKEN=…": "it takes a token of github.com; the command is that of try-it.md",
    "gha-step run dispatch --repo myorg/my-app --workflow deploy.yml --ref main --corr": "it runs in Kargo's pod",
    "gha-step check stage.yaml": "the file is the reader's",
    "python3 -c 'import sqlite3": "it needs a ledger; tests/end_to_end/test_backup.py makes such a copy",
}
SHAPES: Final = ("json", "text")  # what is printed or answered, with … for what differs
DRAWN: Final = "mermaid"
ELSEWHERE: Final = {"docs/pipelines.md": "yaml", "docs/grpc.md": "python"}  # tests/shell/test_pages, test_grpc_client
_FENCE: Final = re.compile(
    r"^(?P<pad> *)(?:<!-- (?P<mark>[a-z-]+) -->\n *)?```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A code block. ``begins``: its first line."""

    page: str
    mark: str | None
    language: str
    text: str

    @property
    def begins(self) -> str:
        return self.text.strip().splitlines()[0].strip()


def blocks(path: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return [
        Block(str(path.relative_to(ROOT)), found["mark"], found["language"], found["text"])
        for found in _FENCE.finditer(path.read_text())
    ]


ALL: Final = [block for path in TEXTS for block in blocks(path)]


@pytest.mark.parametrize(
    "path",
    [path for path in TEXTS if any(b.mark == "run-here" and b.language == "sh" for b in blocks(path))],
    ids=lambda path: path.name,
)
def test_the_blocks_of_a_page_run_as_they_stand_in_an_empty_directory(path: Path, tmp_path: Path) -> None:
    """In order, in one shell that ends with the first error. Only ports are others, for several of us run at once, and
    new runs are listed within a second."""
    script = "\n".join(
        f"echo '── {number}'\n{block.text}"
        for number, block in enumerate(blocks(path))
        if block.mark == "run-here" and block.language == "sh"
    )
    for port in sorted(set(re.findall(r":(\d{4})\b", script))):
        script = script.replace(f":{port}", f":{free_port()}")
    commands = Path(sys.executable).parent
    environment = clean_environment(
        PATH=f"{commands}:{os.environ['PATH']}", HOME=str(tmp_path), BASH_ENV="", GHA_STEP_SETTLE="1s"
    )
    for name in ("GITHUB_ACTIONS", "GH_TOKEN", "GITHUB_TOKEN", "GITHUB_OUTPUT", "KARGO_OUTPUT"):
        environment.pop(name, None)
    bash = shutil.which("bash")
    assert bash
    process = subprocess.Popen(
        [bash, "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    timer = threading.Timer(WITHIN, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    try:
        said, _ = process.communicate()  # till the last of its servers has ended
    finally:
        timer.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    for words in PROMISED.get(path.name, ()):
        assert words in said, f"{words!r} is not in what it said: {said}"


def test_every_block_says_whether_it_is_run() -> None:
    unmarked = [f"{block.page}: {block.begins}" for block in ALL if block.language != DRAWN and block.mark not in MARKS]
    assert unmarked == []


@each_row("path", TEXTS, ids=lambda path: path.name)
def test_no_block_is_hidden_by_mere_indentation(path: Path) -> None:
    prose = _FENCE.sub("", path.read_text())
    assert re.findall(r"(?<=\n\n) {4,}\S.*", prose) == []


def test_what_is_only_shown_is_listed_with_a_reason_and_the_list_has_nothing_else() -> None:
    shown = [block for block in ALL if block.mark == "shown" and block.language not in SHAPES]
    for block in shown:
        assert any(block.begins.startswith(begin) for begin in SHOWN), f"{block.page}: {block.begins}"
    begun = [block.begins for block in ALL if block.mark == "shown"]
    assert [begin for begin in SHOWN if not any(text.startswith(begin) for text in begun)] == []


@pytest.mark.parametrize(
    "block",
    [block for block in ALL if block.mark == "run-here" and block.language == "yaml" and block.page not in ELSEWHERE],
    ids=lambda block: block.page,
)
def test_a_template_of_the_docs_has_no_problem(block: Block) -> None:
    if "workflow_dispatch" in block.text:
        assert declared_inputs(block.text)
    else:
        assert check(block.text, block.page).problems == ()


def test_every_block_that_is_run_has_somebody_who_runs_it() -> None:
    runners = {"sh", "yaml"}
    left = [b for b in ALL if b.mark == "run-in-test-cluster" and b.language != "sh"]
    left += [
        b for b in ALL if b.mark == "run-here" and b.language not in runners and ELSEWHERE.get(b.page) != b.language
    ]
    assert left == []


# ---------------------------------------------------------------- links


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_row("path", sorted([*TEXTS, *PAGES[:2]]), ids=lambda path: path.name)
def test_every_link_within_the_docs_leads_somewhere(path: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_of_the_docs_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in sorted(ROOT.glob("docs/*.md")) if f"(docs/{page.name})" not in readme] == []


def test_the_runbook_has_every_alarm() -> None:
    runbook = (ROOT / "docs/operating.md").read_text()
    rules = re.findall(r"- alert: (GhaStep\w+)", (ROOT / "deploy/service/alarms/prometheusrule.yaml").read_text())
    assert rules
    assert [alarm for alarm in rules if f"`{alarm}`" not in runbook and "Port" not in alarm] == []


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


# By the request's name in the metrics, what the table of permissions has of it.
ASKED: Final = {
    "annotations": "/check-runs/{job}/annotations`",
    "app_installation": "/installation`",
    "app_token": "/access_tokens`",
    "artifact": "/artifacts/{id}/zip`",
    "artifacts": "/runs/{id}/artifacts`",
    "cancel": "/runs/{id}/cancel`",
    "group": "/concurrency_groups/{name}`",
    "groups": "/concurrency_groups`",
    "jobs": "/jobs`",
    "pending_deployments": "/pending_deployments`",
    "repository": "/repos/{owner}/{repo}`",
    "run": "/runs/{id}`",
    "run_attempt": "/attempts/1`",
    "runs": "/workflows/{file}/runs`",
    "user": "/user`",
    "workflow_file": "/contents/.github/workflows/{file}`",
}


def test_the_table_of_permissions_has_every_request_to_github() -> None:
    source = "".join(path.read_text() for path in (ROOT / "gha_step").rglob("*.py") if "emulator" not in path.parts)
    named = re.findall(r"(?:client\.(?:get|post|read)|self\._(?:get|ask))\(\s*\"(\w+)\"", source)
    assert set(named) == set(ASKED)
    page = (ROOT / "docs/gha-dispatch-workflow.md").read_text().partition("### Permissions")[2].partition("\n## ")[0]
    assert [words for words in (*ASKED.values(), "/dispatches`") if words not in page] == []
