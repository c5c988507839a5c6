"""Logs and metrics: structured, complete, and harmless."""

import json
import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from gha_step import __version__
from gha_step.emulator import GitHub, serve
from gha_step.telemetry import MOST_HOSTS, Telemetry, configure_logging, log, tell
from tests.support.calls import BEARER, config
from tests.support.clock import LONG
from tests.support.host import KargoHost, Promotion, Step
from tests.support.process import Served, served
from tests.support.secrets import example_secret

LOG = """
import logging
import sys
from gha_step.telemetry import configure_logging, log, subject, tell
for how in sys.argv[1:]:
    configure_logging(*how.split())
    log.info("hello %s", "x\\ny", extra=subject(("demo", "uid", "a::b"), "test.01", 17))
    tell(20, "hello %s x\\ny", subject(("demo", "uid", "a::b"), "test.01", 17))
    tell(10, "quiet", subject(("demo", "uid", "a::b"), "test.01"))
    log.debug("quiet")
    logging.getLogger("github.Requester").info("not ours")
    logging.getLogger("other").warning("theirs")
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("failed")
    print("end of", how, file=sys.stderr, flush=True)
"""


@cache
def _logs() -> dict[str, str]:
    """What one process writes to stderr, by level and form, each after the other."""
    ways = [*(f"{level} json" for level in ("debug", "info", "warning", "error")), "info text"]
    done = subprocess.run(
        [sys.executable, "-c", LOG, *ways], capture_output=True, text=True, timeout=4 * LONG, check=True
    )
    assert done.stdout == "", "logs go to stderr"
    parts = re.split(r"end of (.*)\n", done.stderr)
    return dict(zip(parts[1::2], parts[::2], strict=False))


def logged(level: str, form: str) -> list[str]:
    return _logs()[f"{level} {form}"].splitlines()


def test_each_json_line_is_one_object_with_level_time_logger_and_subject() -> None:
    ours, short, theirs, failed = (json.loads(line) for line in logged("info", "json"))
    assert short | {"message": "hello x\ny", "time": ours["time"]} == ours, (
        "the short way writes what the long one does"
    )
    assert short["message"] == "hello %s x\ny"
    assert list(short) == list(ours)
    assert ours["message"] == "hello x\ny"
    assert (ours["level"], ours["logger"]) == ("INFO", "gha_step")
    assert (ours["project"], ours["promotion"], ours["alias"], ours["run"]) == ("demo", "test.01", "a::b", 17)
    assert ours["time"]
    assert (theirs["message"], theirs["project"]) == ("theirs", "")
    assert "ValueError: inside" in failed["exc_info"]


@pytest.mark.parametrize(("level", "number"), [("debug", 6), ("info", 4), ("warning", 2), ("error", 1)])
def test_the_level_hides_our_own_lines_and_others_are_told_from_warnings_on(level: str, number: int) -> None:
    lines = [json.loads(line)["message"] for line in logged(level, "json")]
    assert "not ours" not in lines
    assert len([line for line in lines if line != "theirs"]) + ("theirs" in lines) >= number


def test_text_lines_carry_the_subject_too() -> None:
    text = "\n".join(logged("info", "text"))
    assert "project=demo promotion=test.01 alias=a::b run=17" in text


def test_text_lines_have_no_empty_fields() -> None:
    (theirs,) = [line for line in logged("info", "text") if "theirs" in line]
    assert theirs.endswith(" WARNING theirs")


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


def test_of_more_hosts_than_a_bound_the_later_ones_share_a_name() -> None:
    telemetry = Telemetry()
    for number in range(MOST_HOSTS + 3):
        telemetry.github_budget(f"ghe-{number}.example.com", said("5000" if number < MOST_HOSTS else str(number * 10)))
    telemetry.github_budget("ghe-0.example.com", said("2500"))
    shown = budgets(telemetry)
    assert len(shown) == MOST_HOSTS + 1
    assert shown["other"] == MOST_HOSTS * 10 / 5000
    assert shown["ghe-0.example.com"] == 0.5


def exposed(server: Served) -> set[str]:
    """The series that it shows: names and labels, without values."""
    text = server.ask(path="/metrics")[1].decode()
    return {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


def test_a_server_shows_what_runs_and_that_it_is_ready(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        text = server.ask(path="/metrics", token=None)[1].decode()
    assert f'gha_step_build_info{{python="{platform.python_version()}",version="{__version__}"}} 1.0' in text
    assert "gha_step_ready 1.0" in text


def test_every_counter_is_there_before_its_first_event(tmp_path: Path) -> None:
    """Steps that succeed, fail and are unknown: no series begins with an event."""
    with served(tmp_path) as server, serve(GitHub()) as url:
        example_secret(server.secrets, url)
        before = exposed(server)
        host, promotion = KargoHost(server.url, BEARER, pace=0.1), Promotion("demo")
        dispatched = host.run(promotion, Step("dispatch", config()))
        assert dispatched.status == "Succeeded"
        where = {name: config()[name] for name in ("credentials", "owner", "repo")}
        host.call(promotion, Step("wait", where | {"runID": dispatched.run_id}, kind="gha-wait-for-workflow"))
        host.run(promotion, Step("refused", config(ref="nowhere")))
        host.run(promotion, Step("unknown", {}, kind="invented"))
        after = exposed(server)
    # Gauges say what is now: a host's budget, and when the oldest record of a state was made.
    gauges = ("gha_step_github_budget_ratio", "gha_step_ledger_oldest_record_timestamp_seconds")
    assert {name for name in after - before if not name.startswith(gauges)} == set()
    assert 'gha_step_dispatches_total{outcome="ambiguous"}' in before
    assert 'gha_step_github_requests_total{request="dispatch",status="unclear"}' in before


def test_every_counter_of_the_rest_resource_is_there_before_its_first_event(tmp_path: Path) -> None:
    with served(tmp_path, GHA_STEP_PROJECT_API="on") as server:
        before = exposed(server)
        server.ask("PUT", "/api/v1/projects/demo/dispatches/p/a", {}, token="wrong")
        server.ask("PUT", "/api/v1/projects/demo/waits/p/a", {}, token="wrong")
        server.ask("PUT", "/api/v1/projects/demo/nothing/p/a", {}, token="wrong")
        assert exposed(server) == before


# ---------------------------------------------------------------- a log that nobody reads


@pytest.mark.parametrize("say", [log.info, lambda text: tell(logging.INFO, text, {})], ids=["log", "tell"])
def test_a_log_that_nobody_reads_holds_nobody_up_and_says_later_how_much_was_lost(
    say: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    handlers, level, own = list(root.handlers), root.level, log.level
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging("info", "json")
        try:
            for number in range(500):  # a pipe takes 64 KiB
                say(f"{number} {'x' * 2000}")
            read = os.read(reading, 1 << 20)
            say("y" * 10_000)
            read += os.read(reading, 1 << 20)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            log.setLevel(own)
    os.close(reading)
    told = [json.loads(line)["message"] for line in read.decode().splitlines()]
    whole = len(told) - 2
    assert told[:whole] == [f"{number} {'x' * 2000}" for number in range(whole)]
    assert told[whole:] == [f"{500 - whole} log lines were lost, because nothing read stderr", "y" * 10_000]


@pytest.mark.parametrize(("status", "counted"), [("200", "200"), ("599", "5xx"), ("418", "4xx"), ("error", "error")])
def test_a_status_that_a_server_invents_makes_no_metric_of_its_own(status: str, counted: str) -> None:
    telemetry = Telemetry()
    telemetry.github_request("run", status, 0.1)
    line = f'gha_step_github_requests_total{{request="run",status="{counted}"}} 1.0'
    assert line in telemetry.exposition().decode().splitlines()
