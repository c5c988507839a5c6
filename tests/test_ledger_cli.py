"""`gha-step ledger list` and `show`: an operator reads the ledger, also while a server holds it."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gha_step import ledger_report as report
from gha_step.cli import main
from gha_step.contract.request import Caller
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.runs import RunReference
from gha_step.ledger.duties import Report
from gha_step.ledger.keys import step_key
from gha_step.ledger.kubernetes import KubernetesStore
from gha_step.ledger.record import SAID_KEY, Candidate, Run, State
from gha_step.ledger.sqlite import SqliteStore
from gha_step.steps.cancel.record import new_record
from tests.inbound.test_promotions import CRD
from tests.ledger.clusters import install
from tests.ledger.records import CANDIDATE, REPORT, TARGET, record
from tests.support.cluster import Cluster
from tests.support.rows import each_row

STATES = pytest.mark.parametrize("state", list(State))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ledger of each test is, as GHA_STEP_LEDGER says."""
    ledger = tmp_path / "odd ?#%name" / "ledger.db"
    ledger.parent.mkdir()
    monkeypatch.setenv("GHA_STEP_LEDGER", f"sqlite:{ledger}")
    return ledger


@pytest.fixture
def held(path: Path) -> Iterator[SqliteStore]:
    """A ledger that a server holds meanwhile, with a record in each state."""
    store = SqliteStore(path)
    for number, state in enumerate(State):
        project = "other" if state is State.REJECTED else "demo"
        alias = f"step-{state}"
        made = record(state, alias=alias, version=0, created_at=1_700_000_000.0 + number)
        store.write(made.model_copy(update={"key_parts": (project, "uid-1", alias)}))
    yield store
    store.close()


def key_of(state: State) -> str:
    return record(state, alias=f"step-{state}").key


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr with which a command does not start."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("gha-step: ")
    return err


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


# ---------------------------------------------------------------- list


def test_list_shows_every_dispatch_newest_first_while_a_server_holds_the_ledger(
    held: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = lines(capsys, "ledger", "list")
    held.write(record(alias="brand-new", version=0, created_at=1_800_000_000.0))
    assert lines(capsys, "ledger", "list")[1].endswith("brand-new")
    assert head.split() == ["KEY", "STATE", "REPO", "WORKFLOW", "REF", "RUN", "AGE", "PROJECT", "PROMOTION", "ALIAS"]
    assert [row.split()[1] for row in rows] == list(reversed(State))
    accepted = next(row for row in rows if " accepted " in row)
    assert accepted.split()[:6] == [key_of(State.ACCEPTED)[:12], "accepted", "myorg/my-app", "deploy.yml", "main", "7"]
    assert accepted.split()[7:] == ["demo", "test.01abc", "step-accepted"]


def test_list_reads_a_ledger_that_nobody_holds_and_leaves_no_file_behind(
    held: SqliteStore, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    copy = sqlite3.connect(alone / "ledger.db")
    with sqlite3.connect(path) as source:
        source.backup(copy)
    source.close()
    copy.execute("PRAGMA journal_mode=WAL")
    copy.close()
    assert len(lines(capsys, "ledger", "list", "--ledger", f"sqlite:{alone / 'ledger.db'}")) == len(State) + 1
    assert [file.name for file in alone.iterdir()] == ["ledger.db"]


def test_list_reads_what_a_killed_server_left_behind(
    held: SqliteStore, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in path.parent.iterdir():  # with the log, as a kill leaves it
        shutil.copy(file, tmp_path)
    assert len(lines(capsys, "ledger", "list", "--ledger", f"sqlite:{tmp_path / 'ledger.db'}")) == len(State) + 1


def test_list_can_be_confined_to_a_state_and_a_project(held: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    for state in State:
        _, row = lines(capsys, "ledger", "list", "--state", state)
        assert row.split()[1] == state
    _, row = lines(capsys, "ledger", "list", "--project", "other")
    assert row.split()[1] == "rejected"
    assert lines(capsys, "ledger", "list", "--project", "other", "--state", "accepted") == ["no records"]


def test_list_comes_in_pages_and_says_that_there_is_another(
    held: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = lines(capsys, "ledger", "list", "--limit", "0")
    shown = []
    for page, more in (("1", True), ("2", True), ("3", False)):
        assert main(["ledger", "list", "--limit", "3", "--page", page]) == 0
        out, err = capsys.readouterr()
        shown += [line.split()[0] for line in out.splitlines()[1:]]
        assert ("gha-step: there are more: --page" in err) is more
    assert shown == [line.split()[0] for line in whole[1:]]
    assert main(["ledger", "list", "--limit", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 1
    assert "--page 2" in err


NOW = 1_700_010_000.0
OLD, NEW = NOW - report.STUCK_AFTER - 1, NOW - report.STUCK_AFTER + 1


@each_row("state", list(State))
@each_row("created_at", [OLD, NEW])
def test_stuck_is_what_was_sent_half_an_hour_ago_and_is_not_over(state: State, created_at: float) -> None:
    one = record(state, created_at=created_at)
    stuck = state in (State.SENDING, State.UNKNOWN, State.ACCEPTED_WITHOUT_ID) and created_at == OLD
    assert report.wanted(NOW, stuck_only=True).has(one) is stuck
    assert report.wanted(NOW, open_only=True).has(one) is not one.final


def test_a_record_that_owes_a_report_is_open_whatever_its_state() -> None:
    owing = record(State.ACCEPTED).owing(Report(via="claims", kind="run", id="r_1"))
    closed = record(State.ACCEPTED).owing(Report(via="claims", kind="run", id="r_1", closed=True))
    assert report.wanted(NOW, open_only=True).has(owing)
    assert not report.wanted(NOW, open_only=True).has(closed)


@pytest.mark.parametrize(
    ("since", "shown"),
    [("2023-11-14T22:13:22Z", 6), ("2023-11-14T23:13:22+01:00", 6), ("2023-11-14", 8), ("2023-11-15", 0), ("1m", 0)],
)
def test_list_can_be_confined_to_what_was_made_since(
    held: SqliteStore, capsys: pytest.CaptureFixture[str], since: str, shown: int
) -> None:
    found = json.loads("\n".join(lines(capsys, "ledger", "list", "--since", since, "--output", "json")))
    assert len(found) == shown


def test_an_empty_ledger_is_told_as_such(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SqliteStore(path)
    assert lines(capsys, "ledger", "list") == ["no records"]
    assert lines(capsys, "ledger", "list", "--json") == ["[]"]
    store.close()


def test_list_as_json_holds_the_records_and_what_to_do(held: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "list", "--json"]) == 0
    (accepted,) = [one for one in json.loads(capsys.readouterr().out) if one["state"] == "accepted"]
    assert accepted["run"]["id"] == 7
    assert accepted["target"]["repo"] == "myorg/my-app"
    assert (accepted["project"], accepted["alias"]) == ("demo", "step-accepted")
    assert accepted["age"] > 0
    assert accepted["what_to_do"].startswith("Nothing")


def test_what_a_terminal_would_obey_is_not_printed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SqliteStore(path)
    store.write(record(State.REJECTED, version=0, promotion="a\x1b[2Jb\nc", reason="bad\x07\r\nnews"))
    assert len(lines(capsys, "ledger", "list")) == 2
    shown = lines(capsys, "ledger", "show", record().key)
    assert not [line for line in shown if "\x1b" in line or "\x07" in line]
    store.close()


# ---------------------------------------------------------------- show


@STATES
def test_show_tells_for_every_state_what_the_host_hears_and_what_to_do(
    held: SqliteStore, capsys: pytest.CaptureFixture[str], state: State
) -> None:
    told = dict(line.split(":", 1) for line in lines(capsys, "ledger", "show", key_of(state)[:10]))
    assert told["state"].strip() == state
    assert told["key"].strip() == key_of(state)
    heard = "Succeeded" if state is State.ACCEPTED else "Failed" if record(state).final else "Running"
    assert told["host is told"].strip().startswith(heard)
    assert len(told["what to do"]) > 40


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.RESERVED, "Nothing was sent"),
        (State.SENDING, "Do not delete this record"),
        (State.UNKNOWN, "a run may or may not exist"),
        (State.ACCEPTED_WITHOUT_ID, "GitHub accepted the dispatch"),
        (State.ACCEPTED, "actions/runs/7"),
        (State.REJECTED, "start a new promotion"),
        (State.AMBIGUOUS, "Check the candidates"),
        (State.UNRESOLVED, "https://github.com/myorg/my-app/actions/workflows/deploy.yml"),
    ],
)
def test_the_advice_fits_the_state(state: State, words: str) -> None:
    assert words in report.what_to_do(record(state))


@pytest.mark.parametrize("state", [State.SENDING, State.UNKNOWN, State.ACCEPTED_WITHOUT_ID, State.AMBIGUOUS])
def test_nobody_is_advised_to_send_again_what_may_be_running(state: State) -> None:
    advice = report.what_to_do(record(state))
    assert "start a new promotion" not in advice.lower() or "only if none" in advice.lower()


SHELL: dict[str, Any] = {"key_parts": ("shell", "key", "k 2"), "promotion": ""}
PORT: dict[str, Any] = {
    "report": REPORT,
    "schema_version": 2,
    "key_parts": ("demo", "port", "run", REPORT.id),
    "promotion": REPORT.id,
}


@STATES
@pytest.mark.parametrize(
    ("whose", "step", "anew"),
    [
        (SHELL, "`gha-step run` with --key 'k 2', project shell", "use another --key"),
        (PORT, f"run {REPORT.id} of Port, project demo", "run the action in Port again"),
        ({"promotion": ""}, "dispatch, project demo", "start a new promotion"),
        ({}, "dispatch of promotion test.01abc, project demo", "start a new promotion"),
    ],
    ids=["shell", "Port", "no promotion", "Kargo"],
)
def test_the_words_are_those_of_whoever_dispatched(state: State, whose: dict[str, Any], step: str, anew: str) -> None:
    told = dict(line.split(":", 1) for line in report.describe(record(state, **whose), 1_700_000_100.0).splitlines())
    assert told["step"].strip() == step
    advice = told["what to do"]
    final = state in (State.REJECTED, State.AMBIGUOUS, State.UNRESOLVED)
    assert (anew in advice) is final
    if whose in (SHELL, PORT):
        assert "romotion" not in advice + told["host is told"]
        assert "host" not in advice
    assert ("correlationInput" in advice) is (
        whose not in (SHELL, PORT) and state in (State.AMBIGUOUS, State.UNRESOLVED)
    )


@pytest.mark.parametrize(
    ("known", "dispatch"),
    [
        ({"ref": ""}, "myorg/my-app workflow deploy.yml, https://api.github.com"),
        ({"ref": "", "api_base": ""}, "myorg/my-app workflow deploy.yml"),
        (dict.fromkeys(("ref", "api_base", "repo", "workflow"), ""), None),
    ],
)
def test_what_is_not_known_of_a_target_is_left_out(known: dict[str, str], dispatch: str | None) -> None:
    made = record(State.REJECTED, target=TARGET.model_copy(update=known), **PORT)
    told = dict(line.split(":", 1) for line in report.describe(made, 1_700_000_100.0).splitlines())
    assert told.get("dispatch", "").strip() == (dispatch or "")
    _, row = next(report.listed([made], 1_700_000_100.0, as_json=False)).splitlines()
    assert row.split()[4] == "-"


def test_show_lists_reason_and_candidates(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SqliteStore(path)
    other = Candidate(id=6, url="https://github.com/myorg/my-app/actions/runs/6")
    store.write(
        record(State.AMBIGUOUS, version=0, candidates=(CANDIDATE, other), reason="several runs may be this one")
    )
    shown = "\n".join(lines(capsys, "ledger", "show", record().key))
    assert CANDIDATE.url in shown
    assert other.url in shown
    assert "several runs may be this one" in shown
    store.close()


def test_show_takes_the_name_of_a_promotion_and_the_id_of_a_run(
    held: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"key:         {key_of(State.ACCEPTED)}" in lines(capsys, "ledger", "show", "7")
    shown = lines(capsys, "ledger", "show", "test.01abc")
    assert len([line for line in shown if line.startswith("key: ")]) == len(State)
    as_json = json.loads("\n".join(lines(capsys, "ledger", "show", "test.01abc", "--output", "json")))
    assert {one["state"] for one in as_json} == set(State)
    whole = json.loads("\n".join(lines(capsys, "ledger", "show", "7", "--json")))
    assert [whole[name] for name in ("key", "state", "nonce", "version")] == [
        key_of(State.ACCEPTED),
        "accepted",
        "n",
        1,
    ]
    assert len(lines(capsys, "ledger", "show", "test.01abc", "--project", "other")) < len(shown)


def test_a_key_of_nobody_or_of_several_is_told(held: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'xyz' matches no record's key" in refused(capsys, "ledger", "show", "xyz")
    said = refused(capsys, "ledger", "show", "")
    assert f"the keys of {len(State)} records begin with ''" in said
    assert "write more characters" in said


def test_a_cancel_is_shown_as_one_and_not_as_a_dispatch_that_was_refused(
    held: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunReference(resolve_endpoint(None, allow_http=False), "myorg", "my-app", 99)
    made = new_record(Caller(("demo", "uid-1", "clean-up"), "test.01abc", "uid-1"), run, 2, 1_800_000_000.0)
    held.write(made)
    row = lines(capsys, "ledger", "list")[1].split()
    assert row[:6] == [made.key[:12], "cancel", "myorg/my-app", "gha-cancel-workflow", "-", "99"]
    assert len(lines(capsys, "ledger", "list", "--state", "rejected")) == 2
    assert len(lines(capsys, "ledger", "list", "--state", "cancel")) == 2
    told = dict(line.split(":", 1) for line in lines(capsys, "ledger", "show", "99"))
    assert told["cancels"].strip().startswith("attempt 2 of run 99 of myorg/my-app")
    assert "has dispatched nothing" in told["what to do"]
    assert "rejected" not in str(told)
    as_json = json.loads("\n".join(lines(capsys, "ledger", "show", made.key, "--output", "json")))
    assert (as_json["cancels"], as_json["what_to_do"]) == ({"run": 99, "attempt": 2}, told["what to do"].strip())
    assert "its promotion goes on" in told["what to do"]
    held.write(new_record(Caller(("shell", SAID_KEY, "k 1")), replace(run, run_id=98), 1, 1_800_000_000.0))
    told = dict(line.split(":", 1) for line in lines(capsys, "ledger", "show", "98"))
    assert "promotion" not in told["what to do"]
    assert "you may repeat the command with --key 'k 1'" in told["what to do"]


# ---------------------------------------------------------------- what is no ledger


def test_a_ledger_that_is_not_there_is_told_and_not_made(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "ledger", "list")
    assert str(path) in said
    assert "No such file" in said
    assert list(path.parent.iterdir()) == []


def test_the_default_is_a_file_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GHA_STEP_LEDGER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "the ledger gha-step.db cannot be read" in refused(capsys, "ledger", "list")


def changed(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(statement)


def of_a_newer_version(path: Path) -> None:
    SqliteStore(path).close()
    changed(path, "PRAGMA user_version=99")


def corrupt(path: Path) -> None:
    SqliteStore(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:4096].ljust(len(content), b"\xff"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.touch, "not a ledger"),
        (lambda path: path.write_bytes(b"SQLite format 3\x00" + b"\x00" * 500), "cannot be read"),
        (lambda path: path.write_bytes(b"#!/bin/sh\necho hello\n" * 100), "cannot be read"),
        (lambda path: changed(path, "CREATE TABLE songs (title TEXT)"), "is a database, but not a ledger"),
        (of_a_newer_version, "has schema 99, this version of gha-step knows 1: use the version that wrote it"),
        (corrupt, "malformed"),
    ],
    ids=["empty", "header only", "script", "another program's", "newer", "corrupt"],
)
def test_a_file_that_is_no_ledger_is_told_and_not_changed(
    path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object], words: str
) -> None:
    make(path)
    content, files = path.read_bytes(), set(path.parent.iterdir())
    said = refused(capsys, "ledger", "list")
    assert str(path) in said
    assert words in said
    assert (path.read_bytes(), set(path.parent.iterdir())) == (content, files)


def test_a_directory_without_ledgers_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.mkdir()
    assert "contains no ledger (*.db)" in refused(capsys, "ledger", "list")


# ---------------------------------------------------------------- those of `gha-step run`


def key_file(folder: Path, text: str, created_at: float) -> None:
    """A ledger as `gha-step run --key` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(folder / f"{step_key('shell', 'key', text)}.db")
    parts = ("shell", "key", text)
    store.write(record(State.ACCEPTED, version=0, key=step_key(*parts), key_parts=parts, created_at=created_at))
    store.close()


def test_without_a_named_ledger_those_of_run_are_listed_beside_the_one_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GHA_STEP_LEDGER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "state" / "gha-step" / "ledgers"
    for number, text in enumerate(("first", "second")):
        key_file(folder, text, 1_700_000_000.0 + number)
    assert [line.split()[-1] for line in lines(capsys, "ledger", "list")] == ["ALIAS", "second", "first"]
    store = SqliteStore(tmp_path / "gha-step.db")
    store.write(record(alias="here", version=0, created_at=1_800_000_000.0))
    assert [line.split()[-1] for line in lines(capsys, "ledger", "list")] == ["ALIAS", "here", "second", "first"]
    store.close()
    named = lines(capsys, "ledger", "list", "--ledger", f"sqlite:{folder}")
    assert [line.split()[-1] for line in named] == ["ALIAS", "second", "first"]
    assert f"key:         {step_key('shell', 'key', 'first')}" in lines(capsys, "ledger", "show", "first")
    monkeypatch.setenv("GHA_STEP_LEDGER", f"sqlite:{tmp_path / 'gha-step.db'}")
    assert [line.split()[-1] for line in lines(capsys, "ledger", "list")] == ["ALIAS", "here"]
    assert "'first' matches no record's key" in refused(capsys, "ledger", "show", "first")


def test_one_spoilt_ledger_of_many_is_told_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file(tmp_path, "good", 1_700_000_000.0)
    (tmp_path / "bad.db").write_text("#!/bin/sh\n" * 100)
    assert main(["ledger", "list", "--ledger", f"sqlite:{tmp_path}"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert str(tmp_path / "bad.db") in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_ledger_that_may_not_be_read_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SqliteStore(path).close()
    path.chmod(0)
    assert "Permission denied" in refused(capsys, "ledger", "list")


def test_a_record_of_a_newer_version_is_told_beside_the_others(
    held: SqliteStore, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = key_of(State.UNKNOWN)
    changed(path, f"""UPDATE records SET record = '{{"schema_version": 2}}' WHERE key = '{key}'""")
    assert main(["ledger", "list"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(State)
    assert err.startswith(f"gha-step: this version of gha-step cannot read the ledger record {key}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--ledger", "kubernetes"], "set KUBECONFIG"),
        (["list", "--ledger", "ledger.db"], "write sqlite:PATH"),
        (["list", "--since", "yesterday"], "--since: 'yesterday' is not a time; write 90m"),
        (["list", "--state", "lost"], "'lost' is not a state; the states are reserved, sending"),
    ],
)
def test_what_cannot_be_meant_is_told(
    held: SqliteStore,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(path.parent / "none"))
    assert words in refused(capsys, "ledger", *arguments)


@pytest.mark.parametrize("arguments", [["ledger"], ["ledger", "show"], ["ledger", "forget"], ["ledger", "list", "x"]])
def test_a_command_that_does_not_exist_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "--help" in capsys.readouterr().err


# ---------------------------------------------------------------- in Kubernetes


@pytest.mark.cluster
def test_the_ledger_in_kubernetes_is_read_by_project(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(cluster)
    mine, other = cluster.namespace("cli"), cluster.namespace("cli")
    store = KubernetesStore(cluster.admin, None)
    for project in (mine, other):
        for state in (State.ACCEPTED, State.AMBIGUOUS):
            parts = (project, "uid-1", f"step-{state}")
            store.write(record(state, version=0, key=step_key(*parts), key_parts=parts, created_at=1_700_000_000.0))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("GHA_STEP_LEDGER", "kubernetes")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(cluster.service_account(mine), mine)))
    assert f"may not list workflowdispatches.gha-step.dev in the namespace {mine}" in refused(capsys, "ledger", "list")
    cluster.allow(mine, [{"apiGroups": ["gha-step.dev"], "resources": ["workflowdispatches"], "verbs": ["list"]}])
    shown = lines(capsys, "ledger", "list")
    assert [line.split()[7] for line in shown] == ["PROJECT", mine, mine]
    assert len(lines(capsys, "ledger", "list", "--state", "ambiguous")) == 2
    key = step_key(mine, "uid-1", "step-accepted")
    assert f"key:         {key}" in lines(capsys, "ledger", "show", key[:12])
    parts = (mine, "key", "by hand")
    store.write(record(version=0, key=step_key(*parts), key_parts=parts))
    assert f"key:         {step_key(*parts)}" in lines(capsys, "ledger", "show", "by hand")
    assert f"in the namespace {other}" in refused(capsys, "ledger", "list", "--project", other)
    assert "in all namespaces" in refused(capsys, "ledger", "list", "--project", "*")
    monkeypatch.setenv("KUBECONFIG", str(cluster.admin_kubeconfig))
    assert len(lines(capsys, "ledger", "list", "--project", other)) == 3
    main(("ledger", "list", "--project", "*"))  # 1 where another test has left a record that cannot be read
    assert {mine, other} <= {line.split()[7] for line in capsys.readouterr().out.splitlines()}
    assert lines(capsys, "ledger", "list", "--project", "no-such") == ["no records"]


# ---------------------------------------------------------------- small things


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ],
)
def test_an_age_is_written_as_kubectl_does(seconds: float, expected: str) -> None:
    assert report.age(seconds) == expected


def test_no_field_of_the_record_is_missing_from_show() -> None:
    full: dict[str, Any] = {
        "run": Run(id=9, url="https://example.com/9", source="marker"),
        "marker": "gs-" + "a" * 26,
        "lost_at": 1_700_000_002.0,
        "answered_date": 1_700_000_003.0,
        "trouble_since": 1_700_000_004.0,
        "listings": 3,
        "seen": (CANDIDATE,),
        "reason": "a reason",
    }
    shown = report.describe(record(State.UNKNOWN, **full), 1_700_000_100.0)
    for words in (
        "gs-aaa",
        "2023-11-14 22:13:22 UTC, 98s ago",
        "known by marker",
        CANDIDATE.url,
        TARGET.api_base,
        "pod-1",
    ):
        assert words in shown


@pytest.mark.cluster
def test_records_are_pruned_whose_promotion_is_no_more_and_no_others(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(cluster)
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(CRD))
    cluster.told("promotions.kargo.akuity.io")
    mine = cluster.namespace("prune")
    kind = {"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "Promotion"}
    path = f"/apis/kargo.akuity.io/v1alpha1/namespaces/{mine}/promotions"
    uid = cluster.admin.create(path, kind | {"metadata": {"name": "here"}})["metadata"]["uid"]
    store = KubernetesStore(cluster.admin, frozenset({mine}))

    def written(alias: str, promotion: str, promotion_uid: str, state: State = State.REJECTED, **more: Any) -> None:
        parts = (mine, "uid-1", alias)
        made = record(state, version=0, key=step_key(*parts), key_parts=parts, promotion=promotion, **more)
        store.write(made.model_copy(update={"promotion_uid": promotion_uid}))

    gone = "9a1d0e0f-0000-4000-8000-000000000001"
    written("kept: its Promotion is there", "here", uid)
    written("kept: whose it is nobody knows", "gone", "")
    written("kept: not over", "gone", gone, State.UNKNOWN)
    written("kept: young", "gone", gone, created_at=time.time())
    written("kept: Port's", "gone", gone, report=REPORT.model_copy(update={"closed": True}), schema_version=2)
    # Kubernetes' garbage collector, which would delete these too, is no part of this cluster.
    written("deleted", "gone", gone)
    written("deleted: another of its name is there", "here", gone)
    written("deleted: nothing was sent", "gone", gone, State.RESERVED)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("GHA_STEP_LEDGER", "kubernetes")
    account = cluster.service_account(mine)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(account, mine)))
    verbs = ["list", "delete"]
    cluster.allow(mine, [{"apiGroups": ["gha-step.dev"], "resources": ["workflowdispatches"], "verbs": verbs}])
    assert "Promotion" in refused(capsys, "ledger", "prune"), "without the right to see Promotions none is gone"
    assert len(list(store.records())) == 8
    cluster.allow(
        mine, [{"apiGroups": ["kargo.akuity.io"], "resources": ["promotions"], "verbs": ["get"]}], name="promotions"
    )
    assert lines(capsys, "ledger", "prune") == ["3 records deleted"]
    assert all(one.alias.startswith("kept") for one in store.records())
    assert len(list(store.records())) == 5


def test_records_in_a_file_are_not_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "prune", "--port", "--ledger", "sqlite:x.db"]) == 2
    assert capsys.readouterr().err == (
        "gha-step: GHA_STEP_LEDGER: only records in Kubernetes are pruned; write kubernetes. Those in a "
        "file shrink by themselves\n"
    )


def test_what_is_kept_too_short_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHA_STEP_LEDGER_KEEP", "1h")
    assert main(["ledger", "prune", "--port", "--ledger", "kubernetes"]) == 2
    assert "GHA_STEP_LEDGER_KEEP: 3600s is out of range; write 168h" in capsys.readouterr().err
