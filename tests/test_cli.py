"""The command line as a newcomer meets it."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from gha_step import __version__
from gha_step.cli import main
from gha_step.settings import described
from tests.support.clock import LONG
from tests.support.process import clean_environment, on_a_terminal, run_here


def test_without_a_command_one_line_says_where_help_is_and_the_exit_code_says_so() -> None:
    done = run_here()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "gha-step --help" in done.stderr


def test_help_names_every_command_in_words() -> None:
    done = run_here("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("serve", "demo", "emulate-github", "emulate-port", "server that a Kargo host calls"):
        assert words in done.stdout


def test_help_of_serve_names_every_setting_with_its_default() -> None:
    done = run_here("serve", "--help")
    text = "".join(done.stdout.split())  # it may break lines at any hyphen
    assert done.returncode == 0
    for setting in described():
        assert "--" + setting.field.replace("_", "-") in text
        if setting.default:
            assert f"(default:{setting.default})" in text


def test_version_is_one_line() -> None:
    assert run_here("--version").stdout == f"gha-step {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("serve", "--nonsense"), ("demo", "extra"), ("serve", "--ledger")]
)
def test_an_argument_that_is_none_is_refused(arguments: tuple[str, ...]) -> None:
    done = run_here(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("gha-step: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "dispatch", "--worklow", "x"), "--worklow x; did you mean --workflow? (see gha-step run --help)"),
        (("ledger", "list", "--opne"), "--opne; did you mean --open? (see gha-step ledger list --help)"),
        (("ledger", "list", "surplus"), "unrecognized arguments: surplus (see gha-step ledger list --help)"),
        *(
            ((*command, flag, value), f"argument {flag}: is empty: write a value, or leave the flag out")
            for command, flag, value in (
                (("run", "dispatch"), "--ledger", ""),
                (("run", "dispatch"), "--base-url", " "),
                (("run", "wait"), "--token-file", ""),
                (("run", "wait"), "--key", ""),
                (("check", "f"), "--base-url", ""),
                (("ledger", "list"), "--ledger", ""),
                (("ledger", "prune"), "--project", ""),
            )
        ),
        (("ledger", "list", "--limit", "1e3"), "'1e3' is not a whole number"),
    ],
)
def test_a_flag_that_a_command_has_not_names_the_nearest_and_its_help(arguments: tuple[str, ...], words: str) -> None:
    done = run_here(*arguments)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_output_that_nobody_takes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "step.yaml"
    file.write_text("uses: gha-wait-for-workflow\nconfig: {repoURL: 'https://github.com/a/b', runID: 1}\n")
    with Path("/dev/full").open("w") as full, redirect_stdout(full):
        code = main(["check", str(file)])
    assert (code, capsys.readouterr().err) == (1, "gha-step: the output cannot be written (No space left on device)\n")


def test_a_step_may_come_in_on_stdin() -> None:
    step = b"uses: gha-wait-for-workflow\nconfig: {repoURL: 'https://github.com/a/b', runId: 1}\n"
    check = [sys.executable, "-m", "gha_step", "check", "-"]
    done = subprocess.run(check, input=step, capture_output=True, env=clean_environment(), check=False)
    said = b"-:2: config.runId: is not a field of this step; did you mean runID?\n"
    assert (done.returncode, done.stdout) == (1, said)


@pytest.mark.parametrize("arguments", [("demo",), ("emulate-github",)])
def test_an_unknown_generation_is_refused_in_one_line_that_names_the_known_ones(arguments: tuple[str, ...]) -> None:
    done = run_here(*arguments, "--generation", "ghes-2")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "ghes-3.19" in line


@pytest.mark.parametrize("command", ["emulate-github", "emulate-port"])
@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:80"])
def test_the_emulator_refuses_an_address_that_it_cannot_listen_on_in_one_line(command: str, address: str) -> None:
    done = run_here(command, "--listen", address)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--listen" in done.stderr
    assert address in done.stderr


def test_the_demo_ends_with_the_run_id_that_the_emulator_holds() -> None:
    noise = {"GHA_STEP_LEDGER": "sqlite:/nowhere/x.db"} | dict.fromkeys(
        ("HTTPS_PROXY", "HTTP_PROXY"), "http://127.0.0.1:1"
    )  # nothing of the shell disturbs it
    shown = on_a_terminal(sys.executable, "-m", "gha_step", "demo", "--generation", "ghes-3.21", **noise)
    assert "\x1b[" in shown
    said = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r\n", "\n")
    lines = said.splitlines()
    assert re.fullmatch(r"runID: [1-9][0-9]*", lines[-1])
    assert [line for line in lines if line][1].startswith("POST http://127.0.0.1:")
    assert "emulator-token" not in said
    assert "\x1b" not in said
    assert said.index("killed now (SIGKILL)") < said.index("HTTP 200")
    answers = [json.loads(text) for text in re.findall(r"HTTP 200\n(\{.*?\n\})", said, re.DOTALL)]
    (dispatched,) = [answer["output"] for answer in answers if "runID" in answer["output"]]
    assert f"runID: {dispatched['runID']}" == lines[-1]
    assert dispatched["runIDSource"] == "marker"  # GitHub's answer died with the server
    assert (answers[-1]["status"], answers[-1]["output"]["conclusion"]) == ("Succeeded", "success")


def test_the_demo_for_port_ends_with_the_run_of_a_press_that_a_kill_did_not_harm() -> None:
    done = run_here("demo", "--port", HTTP_PROXY="http://127.0.0.1:1", GHA_STEP_PORTIO="kafka")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout  # which is no terminal
    first, second = re.findall(r"^(r_\w+)  SUCCESS  success$", done.stdout, re.MULTILINE)
    assert first != second
    assert done.stdout.splitlines()[-1] == f"port run {second}: SUCCESS"
    assert "gha-step is killed now" in done.stdout
    assert len(set(re.findall(r"link: (\S+/runs/\d+)", done.stdout))) == 2


def test_the_demo_over_grpc_ends_with_the_run_id_that_the_emulator_holds() -> None:
    done = run_here("demo", "--grpc", "--generation", "ghes-3.21", HTTP_PROXY="http://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line][1].startswith("gha_step.v1.StepService/Run grpc://127.0.0.1:")
    assert "emulator-token" not in done.stdout
    (dispatched,) = set(re.findall(r'"run_id": "([0-9]+)"', done.stdout))
    assert lines[-1] == f"runID: {dispatched}"
    assert '"conclusion": "success"' in done.stdout


def test_the_demo_has_no_colours_on_a_terminal_where_somebody_wants_none() -> None:
    words = [sys.executable, "-c", "from gha_step.demo import Printer; Printer().tell('The demo')"]
    assert on_a_terminal(*words, NO_COLOR="1") == "\r\n── The demo\r\n"


def test_the_emulator_prints_its_url_and_ends_when_told() -> None:
    command = [sys.executable, "-m", "gha_step", "emulate-github"]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with urllib.request.urlopen(f"{url}/api/v3/meta", timeout=LONG) as response:
                assert response.status == 200
        finally:
            process.send_signal(signal.SIGTERM)  # tests/emulator has SIGINT
            assert process.wait(2 * LONG) == 0
