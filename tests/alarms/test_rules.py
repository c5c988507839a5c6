"""Each alarm of deploy/ fires on its first event and ends; promtool, Prometheus' own tool, plays the tests."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.deploy.manifests import manifest

RULES: dict[str, Any] = manifest("service/alarms/prometheusrule.yaml")["spec"]
ALARMS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
SAME = 'job="gha-step",instance="a"'
UNCLEAR = f'gha_step_github_requests_total{{{SAME},request="dispatch",status="unclear"}}'

# The series that an event is seen in, their values minute by minute, and the minutes in which the alarm is not yet, is,
# and no longer heard. "_" is a scrape that did not find the series.
FIRST = "0x9 1x120"  # the first event after a start, in minute 10
BEFORE_THE_FIRST_SCRAPE = "_x10 1x120"  # the server starts, and something happens, between minutes 9 and 10
COUNTED = {
    "GhaStepWrongRun": (f"gha_step_contradicted_runs_total{{{SAME}}}", 75),
    "GhaStepDispatchUnresolved": (f'gha_step_dispatches_total{{{SAME},outcome="unresolved"}}', 75),
    "GhaStepDispatchAmbiguous": (f'gha_step_dispatches_total{{{SAME},outcome="ambiguous"}}', 75),
    "GhaStepAbortedRunGoesOn": (f'gha_step_cancel_on_abort_total{{{SAME},outcome="given-up"}}', 75),
    "GhaStepAnswersLost": (UNCLEAR, 30),
    "GhaStepGitHubErrors": (f'gha_step_github_requests_total{{{SAME},request="run",status="502"}}', 30),
    "GhaStepGitHubLimit": (f'gha_step_github_requests_total{{{SAME},request="run",status="429"}}', 30),
    "GhaStepCallersRefused": (f'gha_step_refused_callers_total{{{SAME},wire="rest"}}', 30),
    "GhaStepErrors": (f'gha_step_project_requests_total{{{SAME},resource="waits",status="500"}}', 30),
}
READY = f"gha_step_ready{{{SAME}}}"
LASTING: dict[str, list[tuple[dict[str, str], int, int, int]]] = {
    "GhaStepRecordsStuck": [
        # A record of minute 0, which is settled in minute 50.
        (
            {f'gha_step_ledger_oldest_record_timestamp_seconds{{{SAME},state="unknown"}}': "0x50 _x60"},
            30,
            32,
            57,
        ),
    ],
    "GhaStepGitHubBudget": [
        ({f'gha_step_github_budget_ratio{{{SAME},host="github.com"}}': "0.5x9 0.09 0.9x60"}, 9, 10, 40),
    ],
    "GhaStepLedgerAway": [
        (
            {
                f'gha_step_build_info{{{SAME},version="1"}}': "1x60",
                f'gha_step_ledger_records{{{SAME},state="sending"}}': "0x9 _x20 0x30",
            },
            9,
            21,
            40,
        ),
    ],
    "GhaStepCallsPutOff": [
        (
            {f'gha_step_project_requests_total{{{SAME},resource="waits",status="503"}}': "0x9 1+1x20 21x60"},
            15,
            25,
            50,
        ),
    ],
    "GhaStepNotReady": [
        ({READY: "1x9 0x10 1x30"}, 9, 13, 30),
        ({f"up{{{SAME}}}": "1x9 0x10 1x30"}, 9, 13, 30),
    ],
    # A step that fails from minute 0 on, and is done in minute 70.
    "GhaStepPortReportFailing": [
        ({f"gha_step_portio_failing_duty_timestamp_seconds{{{SAME}}}": "0x70 _x30"}, 59, 63, 80),
    ],
    "GhaStepPortNoFollower": [
        (
            {
                f"gha_step_portio_places_free{{{SAME}}}": "200x60",
                f"gha_step_portio_follower{{{SAME}}}": "1x9 0x20 1x30",
            },
            9,
            21,
            40,
        ),
    ],
    "GhaStepPortRefused": [
        ({f'gha_step_portio_refused{{{SAME},way="claims"}}': "0x9 1x20 0x30"}, 15, 25, 40),
    ],
    "GhaStepPortPartitionsPaused": [
        ({f"gha_step_portio_paused_partitions{{{SAME}}}": "0x9 1x20 0x30"}, 12, 20, 40),
    ],
    "GhaStepAbsent": [({READY: "1x9 _x20 1x30"}, 9, 21, 40)],
}


def played(alarm: str, series: dict[str, str], minutes: dict[int, bool]) -> dict[str, Any]:
    """One of promtool's tests: whether the alarm is heard, minute by minute."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alarm}",alertstate="firing"}}) > bool 0 or vector(0)',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": "{}", "value": int(heard)}],
            }
            for minute, heard in minutes.items()
        ],
    }


def scenes() -> dict[str, list[dict[str, Any]]]:
    """Of each alarm: quiet before, heard, over."""
    found: dict[str, list[dict[str, Any]]] = {}
    for alarm, (name, over) in COUNTED.items():
        found[alarm] = [
            played(alarm, {name: FIRST}, {9: False, 10: True, over: False}),
            played(alarm, {name: BEFORE_THE_FIRST_SCRAPE}, {9: False, 10: True, over: False}),
            # A restart: back to 0, and an event of the new process.
            played(alarm, {name: "0x3 5x90 0x5 1x90"}, {3: False, 4: True, 90: False, 101: True}),
        ]
    for alarm, cases in LASTING.items():
        found[alarm] = [
            played(alarm, series, {before: False, heard: True, over: False}) for series, before, heard, over in cases
        ]
    return found


def promtool(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("promtool")
    assert program, "promtool is not there: it comes with Prometheus (Debian: apt-get install prometheus)"
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_every_alarm_is_played_and_says_what_to_do() -> None:
    assert set(scenes()) == set(ALARMS)
    for rule in ALARMS.values():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.alarms
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    done = promtool(tmp_path, "check", "rules", "--lint-fatal", "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(ALARMS)} rules found" in done.stdout


@pytest.mark.alarms
@pytest.mark.parametrize("alarm", sorted(ALARMS))
def test_an_alarm_is_heard_on_its_first_event_and_ends(tmp_path: Path, alarm: str) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    suite = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": scenes()[alarm]}
    (tmp_path / "test.yaml").write_text(json.dumps(suite))  # JSON is YAML
    done = promtool(tmp_path, "test", "rules", "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.alarms
def test_while_nothing_happens_no_alarm_is_heard(tmp_path: Path) -> None:
    series = {name: "0x120" for name, _ in COUNTED.values()} | {
        READY: "1x120",
        f"up{{{SAME}}}": "1x120",
        f'gha_step_build_info{{{SAME},version="1"}}': "1x120",
        f'gha_step_ledger_records{{{SAME},state="sending"}}': "0x120",
        f'gha_step_dispatches_total{{{SAME},outcome="accepted"}}': "0+5x120",
        f'gha_step_cancel_on_abort_total{{{SAME},outcome="cancelled"}}': "0+5x120",
        f'gha_step_github_requests_total{{{SAME},request="dispatch",status="200"}}': "0+5x120",
        f'gha_step_github_budget_ratio{{{SAME},host="github.com"}}': "0.5x120",
        f'gha_step_project_requests_total{{{SAME},resource="dispatches",status="200"}}': "0+5x120",
        f'gha_step_project_requests_total{{{SAME},resource="dispatches",status="503"}}': "0+1x3 3x120",  # a rollout
        f'gha_step_ledger_oldest_record_timestamp_seconds{{{SAME},state="accepted"}}': "0x120",
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    tests = [played(alarm, series, dict.fromkeys((1, 20, 100), False)) for alarm in ALARMS]
    suite = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(json.dumps(suite))
    done = promtool(tmp_path, "test", "rules", "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
