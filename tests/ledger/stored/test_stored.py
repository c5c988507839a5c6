"""Records of every released version are read, kept whole and acted on; one of a version to come stops its step."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.result import StepResult
from gha_step.emulator import GitHub
from gha_step.ledger.kubernetes import RECORDS, _decode, _encode
from gha_step.ledger.record import FINAL, Record, Run, State
from gha_step.ledger.sqlite import SqliteStore
from gha_step.ledger.transitions import ExactId, advance
from tests.ledger.clusters import DEPLOY, define, granted
from tests.ledger.stored import API_BASE, FOLDER, VERSIONS, objects, restore, rows
from tests.ledger.stored.__main__ import PROMOTION, TARGET
from tests.support.calls import config
from tests.support.clock import VirtualClock
from tests.support.cluster import Cluster
from tests.support.core import Program
from tests.support.github import github_at
from tests.support.secrets import example_secret

pytestmark = pytest.mark.parametrize("version", VERSIONS)


@contextmanager
def opened(version: str, folder: Path, api_base: str = API_BASE) -> Iterator[SqliteStore]:
    restore(version, folder / "ledger.db", api_base=api_base)
    with closing(SqliteStore(folder / "ledger.db")) as store:
        yield store


def as_object(body: dict[str, Any]) -> dict[str, Any]:
    """With what the API server adds."""
    return body | {"metadata": body["metadata"] | {"uid": "u", "resourceVersion": "1", "namespace": "demo"}}


def contains(new: Any, old: Any) -> bool:
    """Whether everything that stood in ``old`` stands in ``new``."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and contains(new[name], old[name]) for name in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(contains, new, old))
    return bool(new == old)


def test_it_left_a_record_in_every_state_and_every_field(version: str) -> None:
    left = rows(version)
    assert {row["state"] for row in left} == {state.value for state in State}
    assert {name for row in left for name in row} >= {
        *("schema_version", "key", "key_parts", "promotion", "promotion_uid", "version", "state", "target"),
        *("inputs_hash", "timeout", "created_at", "trouble_since", "nonce", "owner", "sending_at", "lost_at"),
        *("names_promotion", "answered_date", "floor", "baseline_ids", "seen", "listings", "actor", "marker"),
        *("marker_input", "run", "candidates", "reason"),
    }


def test_its_sqlite_file_is_read_field_by_field(version: str, tmp_path: Path) -> None:
    with opened(version, tmp_path) as store:
        for row in rows(version):
            found = store.read("demo", row["key"])
            assert found is not None
            assert contains(json.loads(found.model_dump_json(exclude_none=True)), row)
        assert store.read_lease("demo", TARGET).holder == rows(version)[0]["key"]


def test_its_objects_are_read_as_the_same_records(version: str, tmp_path: Path) -> None:
    with opened(version, tmp_path) as store:
        for body in objects(version):
            found = _decode(as_object(body))
            other = store.read("demo", body["metadata"]["name"])
            assert other is not None
            assert found.model_copy(update={"version": 0}) == other.model_copy(update={"version": 0})
            assert contains(_encode(found), body), "a newer version drops nothing that an older one reads"


def answer(store: SqliteStore, folder: Path, github_url: str, clock: VirtualClock, record: Record) -> StepResult:
    """What the step of a stored record is told at its end."""
    program = Program(
        store=store, secrets=example_secret(folder / "secrets", github_url), clock=clock, incarnation="new"
    )
    try:
        return program.follow(config(timeout="60"), promotion=PROMOTION, promotionUID="uid-1", alias=record.alias)
    finally:
        program.close()


ENDS = {
    State.RESERVED: ("Succeeded", ""),
    State.SENDING: ("Failed", "may have been dispatched"),
    State.UNKNOWN: ("Failed", "may have been dispatched"),
    State.ACCEPTED_WITHOUT_ID: ("Failed", ""),
    State.ACCEPTED: ("Succeeded", ""),
    State.REJECTED: ("Failed", "nothing was dispatched: the ref main does not exist"),
    State.AMBIGUOUS: ("Failed", "actions/runs/15"),
    State.UNRESOLVED: ("Failed", ""),
}


def test_each_of_its_steps_comes_to_its_end_and_only_one_that_was_not_sent_is_sent(
    version: str, tmp_path: Path
) -> None:
    clock = VirtualClock()
    github = GitHub(now=clock.now)
    with github_at(github) as url, opened(version, tmp_path, f"{url}/api/v3") as store:
        for record in [record for record in store.records() if record.key_parts[1] != "caller"]:
            before = len(github.runs)
            result = answer(store, tmp_path, url, clock, record)
            status, words = ENDS[record.state]
            assert result.status == status, (record.state, result)
            assert words in (result.message or ""), (record.state, result)
            assert len(github.runs) - before == (record.state is State.RESERVED), record.state
            if record.run:
                assert json.loads(result.to_wire())["output"]["runID"] == record.run.id


@pytest.mark.parametrize(
    "change", [{"schema_version": 2}, {"state": "cancelling"}, {"new_field": "x"}, {"run": {"id": 1, "new": 2}}]
)
@pytest.mark.parametrize("alias", ["reserved", "sending", "accepted-response"])
def test_nothing_is_sent_for_a_record_of_a_version_to_come(
    version: str, tmp_path: Path, alias: str, change: dict[str, Any]
) -> None:
    clock = VirtualClock()
    github = GitHub(now=clock.now)
    with github_at(github) as url, opened(version, tmp_path, f"{url}/api/v3") as store:
        (record,) = [record for record in store.records() if record.alias == alias]
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as newer:
            ((text,),) = newer.execute("SELECT record FROM records WHERE key = ?", (record.key,))
            text = json.dumps(json.loads(text) | change)
            newer.execute("UPDATE records SET record = ? WHERE key = ?", (text, record.key))
            newer.commit()
        result = answer(store, tmp_path, url, clock, record)
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as newer:
            assert [*newer.execute("SELECT record FROM records WHERE key = ?", (record.key,))] == [(text,)]
    assert (result.status, github.count("dispatch"), github.runs) == ("Failed", 0, [])
    assert "nothing is sent: use the version that wrote it" in (result.message or "")


# ---------------------------------------------------------------- on a real API server


@pytest.mark.cluster
def test_its_records_outlive_an_upgrade_of_the_definition_and_the_way_back(version: str, cluster: Cluster) -> None:
    """Written under the old definition, read and moved under the new one, and the old one laid over them again."""
    place = granted(cluster, "demo")
    definition = str(FOLDER / version / "definition.yaml")
    try:
        define(cluster, "-f", definition)
        path = place.path(RECORDS, "demo")
        stored = [cluster.admin.create(path, body) for body in objects(version)]
        define(cluster, "-k", str(DEPLOY / "crd"))
        records = [place.store.read("demo", body["metadata"]["name"]) for body in stored]
        moved = [place.store.write(late(record)) for record in records if record and movable(record)]
        assert {record.state for record in moved} == {State.ACCEPTED}
        define(cluster, "-f", definition)
        for record in moved:
            assert place.store.read("demo", record.key) == record
        for body in stored:
            now = cluster.admin.get(f"{path}/{body['metadata']['name']}")
            if now["metadata"]["name"] not in {record.key for record in moved}:
                assert {**now, "metadata": ...} == {**body, "metadata": ...}
    finally:
        define(cluster, "-k", str(DEPLOY / "crd"))


def movable(record: Record) -> bool:
    return record.nonce is not None and (record.state not in FINAL or record.state is State.UNRESOLVED)


def late(record: Record) -> Record:
    """GitHub's own late answer."""
    assert record.nonce is not None
    run = Run(id=99, url="https://github.com/myorg/my-app/actions/runs/99", source="response")
    return advance(record, ExactId(nonce=record.nonce, run=run))
