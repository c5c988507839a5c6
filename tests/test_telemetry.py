"""Logs and metrics: structured, complete, and harmless."""

import json
import subprocess
import sys

import pytest

from gha_step.telemetry import Telemetry

LOG = """
import sys
from gha_step.telemetry import configure_logging, log, subject
configure_logging(sys.argv[1], sys.argv[2])
log.info("hello %s", "x\\ny", extra=subject(("demo", "uid", "a::b"), "test.01", 17))
log.debug("quiet")
import logging
logging.getLogger("github.Requester").info("not ours")
logging.getLogger("other").warning("theirs")
try:
    raise ValueError("inside")
except ValueError:
    log.exception("failed")
"""


def logged(level: str, form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOG, level, form], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "", "logs go to stderr"
    return done.stderr.splitlines()


def test_each_json_line_is_one_object_with_level_time_logger_and_subject() -> None:
    ours, theirs, failed = (json.loads(line) for line in logged("info", "json"))
    assert ours["message"] == "hello x\ny"
    assert (ours["level"], ours["logger"]) == ("INFO", "gha_step")
    assert (ours["project"], ours["promotion"], ours["alias"], ours["run"]) == ("demo", "test.01", "a::b", 17)
    assert ours["time"]
    assert (theirs["message"], theirs["project"]) == ("theirs", "")
    assert "ValueError: inside" in failed["exc_info"]


@pytest.mark.parametrize(("level", "number"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_hides_our_own_lines_and_others_are_told_from_warnings_on(level: str, number: int) -> None:
    lines = [json.loads(line)["message"] for line in logged(level, "json")]
    assert "not ours" not in lines
    assert len([line for line in lines if line != "theirs"]) + ("theirs" in lines) >= number


def test_text_lines_carry_the_subject_too() -> None:
    text = "\n".join(logged("info", "text"))
    assert "project=demo promotion=test.01 alias=a::b run=17" in text


def budgets(telemetry: Telemetry) -> dict[str, float]:
    lines = telemetry.exposition().decode().splitlines()
    found = [line for line in lines if line.startswith("gha_step_github_budget_ratio{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


def said(remaining: str, limit: str = "5000") -> dict[str, str]:
    return {"x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining}


def test_of_githubs_budget_the_least_that_any_token_has_left_is_shown_and_then_forgotten() -> None:
    telemetry = Telemetry()
    for remaining in ("4000", "500", "4999"):
        telemetry.github_budget("github.com", said(remaining))
    telemetry.github_budget("ghe.example.com", said("15000", "15000"))
    assert budgets(telemetry) == {"github.com": 0.1, "ghe.example.com": 1.0}
    assert budgets(telemetry) == {}


@pytest.mark.parametrize(
    "headers", [{}, said(""), said("-1"), said("x"), said("5", "0"), said("5", ""), said("9" * 99)]
)
def test_an_answer_without_a_usable_budget_shows_none(headers: dict[str, str]) -> None:
    telemetry = Telemetry()
    telemetry.github_budget("github.com", headers)
    assert budgets(telemetry) == {}
