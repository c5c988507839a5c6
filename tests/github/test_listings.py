"""Listings: who may share one."""

from collections.abc import Iterator

import pytest

from gha_step.contract.memory import LARGEST, weight
from gha_step.contract.secret import Token
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from gha_step.github import listings as listings_module
from gha_step.github.connection import SocketConnector
from gha_step.github.listings import Listings
from gha_step.runtime import SystemClock, ThreadWorkers
from tests.github.answers import client_over, workflow


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
def url(github: GitHub) -> Iterator[str]:
    with serve(github) as url:
        yield url


def test_files_that_differ_by_case_are_two_workflows_and_share_no_listing(github: GitHub, url: str) -> None:
    """Who saw the other's listing could take its only run for his own."""
    repository = github.repository("myorg/my-app")
    repository.add_workflow("Deploy.yml", "on: workflow_dispatch\n")
    started = {file: github.start_run(workflow=file, actor="kargo-bot").id for file in ("deploy.yml", "Deploy.yml")}
    clock = SystemClock()
    listings = Listings(client_over(SocketConnector(), clock), clock, ThreadWorkers(1, "test"))
    for file, run_id in started.items():
        found = listings.read(workflow(url, file=file), Token(EXAMPLE_TOKEN), None, max_age=60.0)
        assert [run.id for run in found.runs] == [run_id]
    assert github.count() == 2
    listings.read(workflow(url, owner="MyOrg", file="deploy.yml"), Token(EXAMPLE_TOKEN), None, max_age=60.0)
    assert github.count() == 2


def test_what_is_kept_of_listings_is_bounded_by_what_they_hold(github: GitHub, url: str) -> None:
    """Tokens change, and each has listings of its own."""
    for _ in range(20):
        github.start_run(actor="kargo-bot")
    clock = SystemClock()
    listings = Listings(client_over(SocketConnector(), clock), clock, ThreadWorkers(1, "test"))
    read = listings.read(workflow(url), Token(EXAMPLE_TOKEN), None, max_age=60.0)
    assert listings._flights.size > weight(read) > 20 * 300
    listings.read(workflow(url), Token(EXAMPLE_TOKEN), None, max_age=60.0)
    assert github.count() == 1
    listings._flights._room = LARGEST * 1000
    listings.read(workflow(url), Token(EXAMPLE_TOKEN), None, max_age=0.0)
    assert not listings._flights


def test_no_more_runs_are_read_for_one_look_than_may_be(
    github: GitHub, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings_module, "MOST_RUNS", 200)
    for _ in range(250):
        github.start_run(actor="kargo-bot")
    clock = SystemClock()
    listings = Listings(client_over(SocketConnector(), clock), clock, ThreadWorkers(1, "test"))
    found = listings.read(workflow(url), Token(EXAMPLE_TOKEN), 0.0, max_age=60.0)
    assert (len(found.runs), github.count()) == (200, 2)
