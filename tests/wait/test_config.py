"""How a template may write the config."""

from typing import Any

import pytest

from gha_step.contract.errors import ConfigError
from gha_step.steps.wait.config import WaitForWorkflowConfig
from tests.support.rows import each_row

from .follower import RUN, config


def parse(**changes: Any) -> WaitForWorkflowConfig:
    return WaitForWorkflowConfig.parse(config(**changes))


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(**changes)
    return str(caught.value)


@pytest.mark.parametrize(
    "written",
    [RUN, str(RUN), float(RUN), "1.7000000001e+10", "1.7000000001E10", "17000000001.0", " 17000000001\n"],
)
def test_a_run_id_is_read_in_every_spelling_in_which_expressions_deliver_it(written: object) -> None:
    assert parse(runID=written).run_id == RUN


@pytest.mark.parametrize(
    ("written", "run_id"),
    [
        (1, 1),
        ("1", 1),
        ("1e0", 1),
        ("1.7e+10", 17_000_000_000),
        (2**53, 2**53),
        (float(2**53), 2**53),
        (2**53 + 1, 2**53 + 1),
        (str(2**53 + 1), 2**53 + 1),
        ("9.007199254740992e+15", 2**53),
        (2**63 - 1, 2**63 - 1),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_a_run_id_is_exact_up_to_64_bits(written: object, run_id: int) -> None:
    assert parse(runID=written).run_id == run_id


@each_row(
    "written",
    [
        0,
        -1,
        "0",
        "-17000000001",
        "+17000000001",
        0.0,
        -0.0,
        17000000001.5,
        "17000000001.5",
        "1.70000000015e+9",
        "1.7e-5",
        float(2**53) + 2,
        "1.8014398509481985e+16",
        2**63,
        str(2**63),
        1e300,
        "1e300",
        "1e99",
        float("inf"),
        float("nan"),
        "9" * 5_000,
        True,
        False,
        "true",
        None,
        "",
        " ",
        "null",
        "0x3f5476a01",
        "17_000_000_001",
        "17,000,000,001",
        "17000000001 1",
        "１７０００００００１",
        "٣",
        "NaN",
        "run-17000000001",
        "${{ outputs['dispatch'].runID }}",
        "https://github.com/myorg/my-app/actions/runs/17000000001",
        [RUN],
        {"runID": RUN},
    ],
)
def test_nothing_else_is_a_run_id(written: object) -> None:
    said = refusal(runID=written)
    assert said.startswith("config.runID: ")
    assert "is not the ID of a workflow run" in said or "is empty" in said


def test_a_refused_run_id_is_told_how_to_write_it() -> None:
    assert "${{ quote(outputs['<alias of the dispatch step>'].runID) }}" in refusal(runID="")


@pytest.mark.parametrize(
    "conclusion",
    ["success", "failure", "cancelled", "skipped", "timed_out", "action_required", "neutral", "stale", None],
)
def test_every_conclusion_of_the_contract_may_be_expected(conclusion: str | None) -> None:
    assert parse(expectedConclusion=conclusion).expected_conclusion == conclusion


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("Success", "did you mean success?"),
        ("succes", "did you mean success?"),
        ("canceled", "did you mean cancelled?"),
        (" success", "did you mean success?"),
        ("", "leave it out to take any conclusion"),
        ("startup_failure", "'startup_failure' is not one of success, failure"),
        (True, "true is not one of"),
        (["success"], "a list is not one of"),
        ({}, "an object is not one of"),
    ],
)
def test_another_conclusion_is_refused_with_the_nearest_one(written: object, advice: str) -> None:
    assert advice in refusal(expectedConclusion=written)


def test_looks_are_ten_seconds_apart_by_default() -> None:
    assert parse().poll_interval == 10.0


@pytest.mark.parametrize(
    ("written", "seconds"), [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), (" 30s ", 30), ("24h", 86_400)]
)
def test_a_poll_interval_is_a_go_duration(written: str, seconds: float) -> None:
    assert parse(pollInterval=written).poll_interval == seconds


@each_row(
    ("written", "word"),
    [
        ("0s", "'0s' is too short; it must be longer than 0s"),
        ("0", "longer than 0s"),
        ("-0", "longer than 0s"),
        ("-10s", "longer than 0s"),
        ("0.0000000000000000s", "longer than 0s"),
        ("10", "'10' is not a duration"),
        ("ten seconds", "'ten seconds' is not a duration"),
        ("", "'' is not a duration"),
        ("10 s", "'10 s' is not a duration"),
        ("25h", "'25h' is too long; the maximum is 24h"),
        ("9" * 90 + "h", "the maximum is 24h"),
        (10, "in quotes"),
        (10.0, "in quotes"),
        (True, "in quotes"),
        (None, "in quotes"),
        ([], "in quotes"),
    ],
)
def test_another_poll_interval_is_refused(written: object, word: str) -> None:
    assert word in refusal(pollInterval=written)


def test_a_typo_is_told_with_the_nearest_field() -> None:
    assert "config.runId: is not a field of this step; did you mean runID?" in refusal(runId=1)
    assert "did you mean expectedConclusion?" in refusal(expectedConclusions="success")


def test_one_typo_is_one_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        WaitForWorkflowConfig.parse({"repoURL": "https://github.com/myorg/my-app", "runId": 1})
    assert str(caught.value) == "config.runId: is not a field of this step; did you mean runID?"
    with pytest.raises(ConfigError, match=r"did you mean secretName\?; config\.owner: is required$"):
        WaitForWorkflowConfig.parse({"credentials": {"secretname": "a"}, "repo": "b", "runID": 1})


def test_the_dispatch_steps_own_fields_are_refused() -> None:
    assert "config.workflowFile: is not a field of this step" in refusal(workflowFile="deploy.yml")
    assert "config.timeout: is not a field of this step: Kargo ends a step by retry.timeout" in refusal(timeout="30m")
    assert "config.retry: belongs beside config, not in it" in refusal(retry={"timeout": "30m"})


def test_all_problems_are_told_at_once() -> None:
    message = refusal(runID="x", expectedConclusion="y", pollInterval="0s", owner=7)
    assert [name for name in ("runID", "expectedConclusion", "pollInterval", "owner") if name in message] == [
        "runID",
        "expectedConclusion",
        "pollInterval",
        "owner",
    ]


def test_a_missing_run_id_is_told() -> None:
    assert "config.runID: is required" in refusal(runID=...)
