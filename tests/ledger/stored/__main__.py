"""Writes what this version of gha_step leaves in its ledgers, once for each release: see RELEASING.md."""

import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from gha_step import __version__
from gha_step.ledger.keys import marker_of, step_key
from gha_step.ledger.kubernetes import _encode
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import Candidate, Owner, Record, Run, State, Target
from gha_step.ledger.sqlite import SCHEMA_VERSION, SqliteStore
from tests.ledger.stored import API_BASE, FOLDER

DEFINITION = Path(__file__).parents[3] / "deploy/crd/workflowdispatches.gha-step.dev.yaml"
PROMOTION = "test.01abc.def5678"
TARGET = Target(api_base=API_BASE, repo="myorg/my-app", workflow="deploy.yml", ref="main")
ATTEMPT = {"nonce": "5f" * 16, "owner": Owner(pod="pod-1", incarnation="process-1"), "sending_at": 1_700_000_001.5}
RUNS = "https://github.com/myorg/my-app/actions/runs"


def records() -> Iterator[Record]:
    """One in each state, in `accepted` one for each way to know the run, one of a REST call; every field in some."""
    extras: dict[State, dict[str, Any]] = {
        State.RESERVED: {"trouble_since": 1_700_000_000.25},
        State.SENDING: ATTEMPT,
        State.UNKNOWN: ATTEMPT | {"lost_at": 1_700_000_040.0, "reason": "the connection was reset"},
        State.ACCEPTED_WITHOUT_ID: ATTEMPT
        | {
            "answered_date": 1_700_000_002.0,
            "floor": 1_699_999_997.0,
            "baseline_ids": (11, 12),
            "seen": (Candidate(id=13, url=f"{RUNS}/13", marked=True), Candidate(id=14, url=f"{RUNS}/14", named=True)),
            "listings": 3,
            "actor": "my-app[bot]",
            "names_promotion": True,
        },
        State.REJECTED: {"reason": "the ref main does not exist"},
        State.AMBIGUOUS: ATTEMPT
        | {
            "candidates": (Candidate(id=15, url=f"{RUNS}/15"), Candidate(id=16, url=f"{RUNS}/16")),
            "reason": "two runs cannot be told apart",
        },
        State.UNRESOLVED: ATTEMPT | {"reason": "no run was seen"},
    }
    for state, extra in extras.items():
        yield _record((state.value.replace("_", "-"),), state, extra)
    for source in ("response", "marker", "promotion-name", "only-candidate", "host"):
        run = Run(id=2**53 + 1, url=f"{RUNS}/{2**53 + 1}", source=source)
        yield _record((f"accepted-{source}",), State.ACCEPTED, ATTEMPT | {"run": run})
    yield _record(("caller", PROMOTION, "dispatch::call"), State.ACCEPTED, ATTEMPT | {"run": run})


def _record(rest: tuple[str, ...], state: State, extra: dict[str, Any]) -> Record:
    parts = ("demo", "uid-1", *rest) if len(rest) == 1 else ("demo", *rest)
    key = step_key(*parts)
    marked = {"marker": marker_of(key), "marker_input": "correlation"} if state is State.UNRESOLVED else {}
    return Record(
        **{
            "key": key,
            "key_parts": parts,
            "promotion": PROMOTION,
            "promotion_uid": "uid-1",
            "state": state,
            "target": TARGET,
            "inputs_hash": "0" * 64,
            "timeout": 60,
            "created_at": 1_700_000_000.0,
            **marked,
            **extra,
        }
    )


def main() -> None:
    folder = FOLDER / __version__
    if folder.exists():
        sys.exit(f"{folder} is there: what a version has left never changes")
    folder.mkdir()
    made = sorted(records(), key=lambda record: record.key)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "ledger.db")
        with closing(SqliteStore(path)) as store:
            for record in made:
                store.write(record)
            store.write_lease(Lease(project="demo", target=TARGET).entered(made[0].key))
        with closing(sqlite3.connect(path)) as connection:
            dump = "\n".join(connection.iterdump())
    (folder / "records.sql").write_text(f"{dump}\nPRAGMA user_version={SCHEMA_VERSION};\n")
    objects = [_encode(record) for record in made]
    (folder / "objects.json").write_text(json.dumps(objects, indent=1, ensure_ascii=False) + "\n")
    shutil.copy(DEFINITION, folder / "definition.yaml")


if __name__ == "__main__":
    main()
