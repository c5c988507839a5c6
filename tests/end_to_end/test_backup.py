"""A copy of a live sqlite ledger, and what a restored one still knows: docs/ledger.md, "Backup and restore"."""

import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from tests.end_to_end.conftest import PACE, step
from tests.support.calls import BEARER
from tests.support.host import Heard, KargoHost, Promotion
from tests.support.process import Served, run_here, served
from tests.support.secrets import example_secret

TITLED = """
name: Titled
run-name: Titled ${{ inputs.correlation }}
on: {workflow_dispatch: {inputs: {correlation: {}}}}
jobs: {}
"""


@pytest.mark.parametrize(
    ("marked", "lifetime", "dispatches"),
    [(True, "?lifetime=pod", 1), (True, "", 2), (False, "?lifetime=pod", 2), (False, "", 2)],
    ids=["marked and looked for", "marked", "looked for", "neither"],
)
def test_what_came_after_the_copy_is_sent_again_unless_its_marker_is_looked_for(
    tmp_path: Path, *, marked: bool, lifetime: str, dispatches: int
) -> None:
    github = GitHub()
    github.repository("myorg/my-app").add_workflow("titled.yml", TITLED)
    folder, ledger = tmp_path / "server", tmp_path / "ledger.db"
    changes: dict[str, Any] = {"workflowFile": "titled.yml", "inputs": {}} | (
        {"correlationInput": "correlation"} if marked else {}
    )

    def serving(lifetime: str = "") -> AbstractContextManager[Served]:
        return served(folder, GHA_STEP_LEDGER=f"sqlite:{ledger}{lifetime}")

    def run(server: Served, uid: str) -> Heard:
        return KargoHost(server.url, BEARER, pace=PACE).run(Promotion("demo", uid=uid), step(**changes))

    with serve(github) as url:
        example_secret(folder / "secrets", url, EXAMPLE_TOKEN)
        with serving() as server:
            before = run(server, "before")
            with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as reader:
                reader.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
            after = run(server, "after")
            assert [before.run_id, after.run_id] == [one.id for one in github.runs]
        for old in tmp_path.glob("ledger.db*"):
            old.unlink()
        (tmp_path / "copy.db").rename(ledger)
        with serving(lifetime) as server:
            assert run(server, "before").run_id == before.run_id
            again = run(server, "after")
            listed = run_here("ledger", "list", "--json", GHA_STEP_LEDGER=f"sqlite:{ledger}")
    assert again.status == "Succeeded"
    assert (again.run_id == after.run_id, len(github.runs)) == (dispatches == 1, 1 + dispatches)
    assert listed.stdout.count('"key"') == 2
