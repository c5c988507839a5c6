"""How runs move, what listings show and when, and what people do to a run."""

import json
from email.utils import formatdate

import pytest

from gha_step.emulator import NEVER, GitHub
from tests.support.clock import START, VirtualClock

from .asking import FLOW, INPUTS, REPO, ask, dispatch, listed, message

RUN = f"{REPO}/actions/runs/17000000001"


def seen(github: GitHub, target: str = RUN) -> tuple[str, str | None]:
    """(status, conclusion) of a run, or of its first job."""
    body = json.loads(ask(github, target).body)
    body = body["jobs"][0] if "jobs" in body else body
    return body["status"], body["conclusion"]


def test_a_run_is_queued_then_in_progress_then_completed(github: GitHub, clock: VirtualClock) -> None:
    dispatch(github)
    for seconds, status in ((0, "queued"), (0.9, "queued"), (0.1, "in_progress"), (1.9, "in_progress")):
        clock.forward(seconds)
        assert seen(github) == (status, None)
        assert seen(github, f"{RUN}/jobs") == (status, None)
    clock.forward(0.2)
    assert seen(github) == seen(github, f"{RUN}/jobs") == ("completed", "success")


def test_times_have_a_granularity_of_one_second_and_follow_the_skewed_clock() -> None:
    clock = VirtualClock(START + 0.9)
    github = GitHub(now=clock.now, skew=60)
    dispatch(github)
    clock.forward(5)
    response = ask(github, RUN)
    body = json.loads(response.body)
    assert body["created_at"] == body["run_started_at"] == "2023-11-14T22:14:20Z"
    assert body["updated_at"] == "2023-11-14T22:14:23Z"
    assert response.header("Date") == formatdate(START + 65.9, usegmt=True)


def test_a_rerun_keeps_the_id_raises_the_attempt_and_leaves_completed(github: GitHub, clock: VirtualClock) -> None:
    dispatch(github)
    first_job = json.loads(ask(github, f"{RUN}/jobs").body)["jobs"][0]["id"]
    assert message(ask(github, f"{RUN}/rerun", method="POST")).startswith("The workflow run cannot be rerun")
    clock.forward(10)
    github.runs[0].rerun(actor="bob")
    body = json.loads(ask(github, RUN).body)
    assert (body["id"], body["run_attempt"], body["status"]) == (17_000_000_001, 2, "queued")
    assert (body["actor"]["login"], body["triggering_actor"]["login"]) == ("kargo-bot", "bob")
    assert body["created_at"] < body["run_started_at"]
    assert body["previous_attempt_url"].endswith("/attempts/1")
    assert json.loads(ask(github, f"{RUN}/jobs").body)["jobs"][0]["id"] != first_job
    clock.forward(10)
    assert ask(github, f"{RUN}/rerun", method="POST").status == 201
    assert github.runs[0].attempt == 3


def test_listings_are_newest_first_and_of_one_workflow(github: GitHub, clock: VirtualClock) -> None:
    github.repository("myorg/my-app").add_workflow("other.yml", "on: workflow_dispatch\njobs: {}")
    for _ in range(3):
        dispatch(github)
    github.start_run(workflow="other.yml", actor="x")
    assert listed(github) == [17_000_000_003, 17_000_000_002, 17_000_000_001]
    assert json.loads(ask(github, f"{REPO}/actions/runs").body)["total_count"] == 4


def test_a_run_is_not_listed_before_its_lag_but_known_by_its_id(clock: VirtualClock) -> None:
    github = GitHub(now=clock.now, listing_lag=3, filtered_lag=2)
    dispatch(github)
    assert ask(github, RUN).status == 200
    clock.forward(2.9)
    assert listed(github) == []
    clock.forward(0.1)
    assert listed(github) == [17_000_000_001]
    assert listed(github, "?event=workflow_dispatch") == []
    clock.forward(2)
    assert listed(github, "?event=workflow_dispatch") == [17_000_000_001]


def test_a_run_is_created_after_its_lag_and_not_known_before(clock: VirtualClock) -> None:
    github = GitHub(now=clock.now, creation_lag=10, lookup_lag=1)
    dispatch(github)
    clock.forward(10)
    assert ask(github, RUN).status == 404
    clock.forward(1)
    body = json.loads(ask(github, RUN).body)
    assert (body["created_at"], body["status"]) == ("2023-11-14T22:13:30Z", "in_progress")


def test_a_later_dispatch_may_be_created_earlier(clock: VirtualClock) -> None:
    github = GitHub(now=clock.now, creation_lag=lambda run: 10 if run.id == 17_000_000_001 else 0)
    dispatch(github)
    dispatch(github)
    clock.forward(10)
    assert listed(github) == [17_000_000_001, 17_000_000_002]


def test_filtered_listings_may_omit_runs_for_ever(clock: VirtualClock) -> None:
    github = GitHub(now=clock.now, filtered_lag=NEVER)
    dispatch(github)
    clock.forward(1e6)
    assert (listed(github), listed(github, "?branch=main")) == ([17_000_000_001], [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("actor=stranger", [2]),
        ("actor=nobody", []),
        ("branch=main", [3, 2, 1]),
        ("branch=dev", []),
        ("event=push", [3]),
        ("event=workflow_dispatch&actor=kargo-bot", [1]),
        ("status=queued", [3]),
        ("status=completed", [2, 1]),
        ("status=success", [1]),
        ("status=failure", [2]),
        ("created=2023-11-14T22:13:20Z", [1]),
        ("created=>=2023-11-14T22:13:30Z", [3, 2]),
        ("created=%3E%3D2023-11-14T22:13:30%2B00:00", [3, 2]),
        ("created=>2023-11-14T22:13:30Z", [3]),
        ("created=<2023-11-14T22:13:30Z", [1]),
        ("created=<=2023-11-14T22:13:30Z", [2, 1]),
        ("created=2023-11-14T22:13:21Z..2023-11-14T22:13:31Z", [2]),
        ("created=*..2023-11-14", [3, 2, 1]),
        ("created=2023-11-15..*", []),
        ("created=2023-11-14", [3, 2, 1]),
        ("created=<2023-11-14", []),
        ("head_sha=0", []),
    ],
)
def test_filters_select_runs(github: GitHub, clock: VirtualClock, query: str, expected: list[int]) -> None:
    dispatch(github)
    clock.forward(10)
    github.start_run(actor="stranger", inputs=INPUTS).finish("failure")
    clock.forward(10)
    github.start_run(actor="kargo-bot", event="push")
    assert listed(github, f"?{query}") == [17_000_000_000 + number for number in expected]


def test_a_filter_that_makes_no_sense_is_refused(github: GitHub) -> None:
    assert ask(github, f"{FLOW}/runs?created=..").status == 422


@pytest.mark.parametrize(
    ("query", "first", "size", "rels"),
    [
        ("", 33, 30, ["next", "last"]),
        ("?per_page=10&page=2", 23, 10, ["prev", "next", "last", "first"]),
        ("?per_page=10&page=4", 3, 3, ["prev", "first"]),
        ("?per_page=100", 33, 33, []),
        ("?per_page=1000", 33, 33, []),
        ("?per_page=0&page=0", 33, 30, ["next", "last"]),
        ("?per_page=x&page=-1", 33, 30, ["next", "last"]),
        ("?page=9", None, 0, ["prev", "first"]),
    ],
)
def test_pages(github: GitHub, query: str, first: int | None, size: int, rels: list[str]) -> None:
    for _ in range(33):
        dispatch(github)
    response = ask(github, f"{FLOW}/runs{query}")
    runs = json.loads(response.body)["workflow_runs"]
    assert len(runs) == size
    assert (runs[0]["id"] - 17_000_000_000 if runs else None) == first
    links = [link for link in (response.header("Link") or "").split(", ") if link]
    assert [link.split('rel="')[1].rstrip('"') for link in links] == rels


def test_two_equal_dispatches_differ_in_nothing_but_ids_and_numbers(github: GitHub) -> None:
    dispatch(github)
    github.start_run(actor="kargo-bot", inputs=INPUTS)
    one, other = json.loads(ask(github, f"{FLOW}/runs").body)["workflow_runs"]
    numbered = {"id", "node_id", "run_number", "check_suite_id", "check_suite_node_id"}
    differing = {key for key in one if one[key] != other[key] and not key.endswith("url")}
    assert differing == numbered
    assert "inputs" not in one
