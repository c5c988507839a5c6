"""A branch and a tag of one name: which is meant is what the ref says, and a short ref is the same as either."""

from pathlib import Path

import pytest

from gha_step.emulator import GitHub, serve
from gha_step.ledger.attribution import eligible
from gha_step.ledger.record import Target
from tests.attribution.listed import EPOCH, accepted_without_id, listed
from tests.ledger.records import TARGET
from tests.support.calls import config, output
from tests.support.clock import VirtualClock
from tests.support.core import Program, Start
from tests.support.ledger import FaultyStore
from tests.support.secrets import example_secret

SAME = [("v1", "v1"), ("v1", "refs/tags/v1"), ("refs/heads/v1", "v1"), ("refs/tags/v1", "refs/tags/v1")]
OTHER = [("refs/tags/v1", "refs/heads/v1"), ("refs/heads/v1", "refs/tags/v1"), ("refs/tags/v1", "refs/tags/v2")]
BRANCH_LIKE_A_TAG = [("refs/heads/refs/tags/v1", "refs/tags/v1"), ("refs/tags/refs/heads/x", "refs/heads/x")]


@pytest.fixture(autouse=True)
def of_one_name(github: GitHub) -> None:
    repository = github.repository("myorg/my-app")
    repository.add_branch("v1")
    repository.add_tag("v1")
    repository.add_tag("v2")


def on(ref: str) -> Target:
    return TARGET.model_copy(update={"ref": ref})


@pytest.mark.parametrize(("first", "second"), SAME)
def test_a_short_ref_is_the_same_target_as_the_branch_and_as_the_tag(
    program: Program, github: GitHub, first: str, second: str
) -> None:
    sent = output(program.call(config(ref=first)))
    again = program.call(config(ref=second))
    assert (again.status, output(again)["runID"]) == ("Succeeded", sent["runID"])
    assert github.count("dispatch") == 1


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_a_branch_is_another_target_than_the_tag_of_its_name(
    program: Program, github: GitHub, first: str, second: str
) -> None:
    assert program.call(config(ref=first)).status == "Succeeded"
    again = program.call(config(ref=second))
    assert (again.status, again.terminal) == ("Failed", True)
    assert f"on ref {first}" in str(again.message)
    assert f"on ref {second}" in str(again.message)
    assert github.count("dispatch") == 1


@pytest.mark.parametrize(("one", "other"), BRANCH_LIKE_A_TAG)
def test_a_branch_that_is_called_as_a_tag_is_written_is_not_that_tag(one: str, other: str) -> None:
    assert not on(one).same_as(on(other))
    assert not on(other).same_as(on(one))
    assert not on(one).has_hash(on(other).hash)


@pytest.mark.parametrize("second", ["v1", "refs/tags/v1", "refs/heads/v1"])
def test_a_record_of_0_1_0_compares_by_its_short_ref(
    process: Start, github: GitHub, store: FaultyStore, second: str
) -> None:
    sent = output(process().call(config(ref="refs/tags/v1")))
    store.rewrite('"refs/tags/v1"', '"v1"')
    again = process().call(config(ref=second))
    assert (again.status, output(again)["runID"]) == ("Succeeded", sent["runID"])
    assert github.count("dispatch") == 1


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_hosts_memory_counts_for_the_ref_in_its_other_form(
    process: Start, store: FaultyStore, first: str, second: str
) -> None:
    sent = output(process().call(config(ref=first)))
    store.forget()
    again = process().call(config(ref=second), sharedState={"dispatch": sent})
    assert (again.status, output(again)["runID"]) == ("Succeeded", sent["runID"])


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_the_hosts_memory_of_the_branch_names_no_run_of_the_tag(
    process: Start, github: GitHub, store: FaultyStore, first: str, second: str
) -> None:
    sent = output(process().call(config(ref=first)))
    store.forget()
    again = process().follow(config(ref=second), sharedState={"dispatch": sent})
    assert again.status == "Failed"
    assert output(again).get("runIDSource") != "host"
    assert github.count("dispatch") == 1


@pytest.mark.parametrize("ref", ["v1", "refs/heads/v1", "refs/tags/v1"])
def test_a_run_shows_the_short_ref(ref: str) -> None:
    looks = accepted_without_id(target=on(ref))
    assert eligible(listed(head_branch="v1"), looks, EPOCH - 5, ())
    assert not eligible(listed(head_branch="v2"), looks, EPOCH - 5, ())


def test_only_one_prefix_is_git_s_own() -> None:
    assert on("refs/heads/refs/tags/v1").short_ref == "refs/tags/v1"
    assert on("refs/pull/1/head").short_ref == "refs/pull/1/head"


@pytest.mark.parametrize(("ref", "fits"), [("refs/tags/v1", True), ("refs/heads/v1", False)])
def test_the_inputs_are_checked_against_the_file_at_the_ref_that_is_meant(
    program: Program, github: GitHub, ref: str, fits: bool
) -> None:
    (workflow, *_) = github.repository("myorg/my-app").workflows
    workflow.set_text("on: {workflow_dispatch: {inputs: {other: {}}}}", ref="refs/heads/v1")
    result = program.call(config(ref=ref, validateInputs=True))
    assert result.status == ("Succeeded" if fits else "Failed")
    assert ("is not declared" in str(result.message)) is not fits
    assert "not validated" not in str(result.message)


@pytest.mark.parametrize("ref", ["main", "refs/heads/main"])
def test_both_forms_of_a_ref_wait_at_one_gate(
    tmp_path: Path, clock: VirtualClock, store: FaultyStore, ref: str
) -> None:
    github = GitHub("ghes-3.19", now=clock.now)
    with serve(github) as url:
        program = Program(store=store, secrets=example_secret(tmp_path / "s", url), clock=clock)
        program.follow(config(ref=ref))
        program.close()
    (record,) = store.records()
    assert store.read_lease("demo", record.target.model_copy(update={"ref": "main"})).version != 0
