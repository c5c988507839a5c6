"""A ledger that dies with its pod: what it knew is looked for by the marker before anything is sent."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from gha_step.emulator import Answer, GitHub, Response
from gha_step.ledger.keys import marker_of, step_key
from gha_step.ledger.sqlite import SqliteStore
from tests.support.calls import INPUTS, config, output
from tests.support.core import Start
from tests.support.network import FaultyConnector

MARKED = {"correlationInput": "gha_step", "workflowFile": "marked.yml"}
MARKER = marker_of(step_key("demo", "uid-1", "dispatch"))
WORKFLOW = """
name: Deploy
run-name: Deploy ${{ inputs.gha_step }}
on:
  workflow_dispatch:
    inputs:
      environment: {}
      image_tag: {}
      gha_step: {}
jobs: {}
"""


@pytest.fixture(autouse=True)
def workflow(github: GitHub) -> None:
    github.repository("myorg/my-app").add_workflow("marked.yml", WORKFLOW)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Callable[[], SqliteStore]]:
    """Ledgers that know nothing, closed when every process has ended."""
    with ExitStack() as opened:
        numbers = itertools.count()
        yield lambda: opened.enter_context(closing(SqliteStore(tmp_path / f"pod-{next(numbers)}.db")))


@pytest.fixture
def new_pod(stores: Callable[[], SqliteStore], process: Start) -> Start:
    """Start a process beside a ledger that knows nothing."""
    return lambda **changes: process(store=stores(), **({"look_back": True} | changes))


def test_a_new_pod_finds_what_the_old_one_dispatched(new_pod: Start, github: GitHub) -> None:
    old, new = new_pod(), new_pod()
    first = old.follow(config(**MARKED))
    second = new.follow(config(**MARKED))
    assert output(second)["runID"] == output(first)["runID"] == github.runs[0].id
    assert output(second)["runIDSource"] == "marker"
    assert github.count("dispatch") == len(github.runs) == 1
    assert output(new.call(config(**MARKED)))["runID"] == github.runs[0].id


@pytest.mark.parametrize("look_back", [True, False])
def test_where_nothing_was_dispatched_it_is_sent_after_one_look(
    new_pod: Start, github: GitHub, look_back: bool
) -> None:
    github.start_run(workflow="marked.yml", actor="kargo-bot", inputs=INPUTS | {"gha_step": "gs-" + "a" * 26})
    program = new_pod(look_back=look_back)
    assert output(program.follow(config(**MARKED)))["runID"] == github.runs[-1].id
    assert github.count("dispatch") == 1
    assert github.count() == (2 if look_back else 1)


def test_a_listing_that_is_refused_leaves_it_to_the_dispatch(new_pod: Start, github: GitHub) -> None:
    github.faults.add(Answer(Response.of(403, {"message": "Resource not accessible"})), "list-workflow-runs")
    program = new_pod()
    assert program.follow(config(**MARKED)).status == "Succeeded"
    assert github.count("dispatch") == 1


def test_while_the_runs_cannot_be_listed_nothing_is_sent(new_pod: Start, github: GitHub) -> None:
    github.faults.add(Answer(Response.of(503, {})), "list-workflow-runs")
    program = new_pod()
    result = program.call(config(timeout="60", **MARKED))
    assert (result.status, github.count("dispatch")) == ("Running", 0)
    assert program.follow(config(timeout="60", **MARKED)).status == "Succeeded"


def test_several_runs_with_the_marker_let_nothing_be_sent(
    new_pod: Start, github: GitHub, connector: FaultyConnector
) -> None:
    for _ in range(2):
        github.start_run(workflow="marked.yml", actor="kargo-bot", inputs=INPUTS | {"gha_step": MARKER})
    result = new_pod().call(config(**MARKED))
    assert result.status == "Running"
    assert "several runs show its marker" in (result.message or "")
    assert connector.posts == 0
