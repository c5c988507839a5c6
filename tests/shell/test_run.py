"""`gha-step run`: one step to its end, as a shell or a CI job meets it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, Answer, Hold, Job, Response, Run, Token
from gha_step.wiring.shell import _signals
from tests.support.clock import LONG, eventually
from tests.support.process import clean_environment

from .commands import Shell, dispatching, values

STEP = """\
uses: gha-dispatch-workflow
as: deploy
config:
  owner: myorg
  repo: my-app
  workflowFile: deploy.yml
  ref: main
  inputs:
    environment: test
    image_tag: v1
"""
CI = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "o/r",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "deploy",
    "GITHUB_ACTION": "__run",
}


def test_a_dispatch_prints_the_run_and_the_same_key_gives_the_same_run(machine: Shell) -> None:
    first = machine.dispatch("--key", "k")
    assert first.returncode == 0, first.stderr
    (run,) = machine.github.runs
    assert values(first.stdout)["runID"] == str(run.id)
    assert dict(run.inputs) == {"environment": "test", "image_tag": "v1"}
    again = machine.dispatch("--key", "k")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert machine.github.count("dispatch") == 1
    assert EXAMPLE_TOKEN not in first.stdout + first.stderr + again.stdout + again.stderr


def test_without_a_key_each_command_dispatches_and_says_how_to_go_on(machine: Shell) -> None:
    first = machine.dispatch()
    line = first.stderr.splitlines()[0]
    assert line.startswith("key: run-")
    flags = line.rpartition("repeat the command with ")[2].rstrip(")").split()
    assert machine.dispatch(*flags).stdout == first.stdout
    assert machine.dispatch().returncode == 0
    assert machine.github.count("dispatch") == 2


def test_a_file_with_a_step_says_the_same_as_flags(machine: Shell) -> None:
    file = machine.folder / "step.yaml"
    file.write_text(STEP)
    by_file = machine.run(str(file), "--key", "k")
    assert by_file.returncode == 0, by_file.stderr
    assert machine.dispatch("--key", "k").stdout == by_file.stdout
    assert machine.github.count("dispatch") == 1
    file.write_text(STEP.replace("config:", "config:\n  credentials: {secretName: x}"))
    noted = machine.run(str(file), "--key", "k")
    assert (noted.returncode, noted.stdout) == (0, by_file.stdout)
    assert "credentials is not read; the token comes from GH_TOKEN" in noted.stderr


def test_json_is_one_object_on_stdout_whatever_happens(machine: Shell) -> None:
    done = machine.dispatch("--output", "json")
    assert json.loads(done.stdout)["runID"] == machine.github.runs[0].id
    refused = machine.dispatch("--output", "json", "--ref", "none")
    assert (refused.returncode, json.loads(refused.stdout)) == (1, {})


def test_outputs_are_appended_to_the_files_of_the_ci(machine: Shell) -> None:
    files = {name: machine.folder / name for name in ("KARGO_OUTPUT", "GITHUB_OUTPUT")}
    files["GITHUB_OUTPUT"].write_text("before=1\n")
    done = machine.dispatch(**{name: str(path) for name, path in files.items()})
    assert files["KARGO_OUTPUT"].read_text() == done.stdout
    assert files["GITHUB_OUTPUT"].read_text() == "before=1\n" + done.stdout


def test_outputs_that_cannot_be_written_fail_the_command_and_the_same_key_gives_them_again(machine: Shell) -> None:
    lost = machine.dispatch("--key", "k", "--wait", "--poll-interval", "1s", GITHUB_OUTPUT="/dev/full")
    assert (lost.returncode, values(lost.stdout)["conclusion"]) == (1, "success")
    assert "/dev/full: the outputs cannot be written" in lost.stderr
    assert "the same command with --key k gives them again" in lost.stderr
    again = machine.dispatch("--key", "k")
    assert (again.returncode, values(again.stdout)["runID"]) == (0, values(lost.stdout)["runID"])
    assert machine.github.count("dispatch") == 1


def test_a_command_whose_streams_are_closed_does_what_it_is_to_do(machine: Shell) -> None:
    python = 'exec "$0" -m gha_step "$@" <&- >&- 2>&-'
    variables = clean_environment(**machine.variables)
    done = subprocess.run(
        ["/bin/sh", "-c", python, sys.executable, "run", *dispatching("v1"), "--key", "k"], env=variables, check=False
    )
    assert done.returncode == 0
    assert "k" in machine.dispatch("--key", "k").stderr
    assert machine.github.count("dispatch") == 1


def test_outputs_that_would_be_lost_are_noticed_before_anything_is_sent(machine: Shell) -> None:
    done = machine.dispatch(GITHUB_OUTPUT=str(machine.folder / "none" / "file"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "GITHUB_OUTPUT" in done.stderr
    assert machine.github.count("dispatch") == 0


@pytest.mark.parametrize(("conclusion", "code"), [("success", 0), ("failure", 1)])
def test_wait_ends_as_the_run_ends(machine: Shell, conclusion: str, code: int) -> None:
    assert machine.dispatch("--key", "k").returncode == 0
    (run,) = machine.github.runs
    run.finish(conclusion)
    waited = machine.dispatch("--key", "k", "--wait")
    assert waited.returncode == code, waited.stderr
    assert values(waited.stdout)["conclusion"] == conclusion
    assert values(waited.stdout)["runID"] == str(run.id)
    alone = ("wait", "--repo", "myorg/my-app", "--run-id", str(run.id))
    assert machine.run(*alone).returncode == code
    assert machine.run(*alone, "--expected-conclusion", "any").returncode == 0
    assert machine.github.count("dispatch") == 1


@pytest.mark.parametrize(
    ("arguments", "variables", "asked"),
    [
        (["--ref", "none"], {}, True),
        (["--validate-inputs", "-f", "colour=red"], {}, False),
        (["--timeout", "1"], {"GITHUB_API_URL": "http://127.0.0.1:1"}, False),
    ],
    ids=["refused", "not asked for", "out of reach"],
)
def test_where_nothing_was_dispatched_the_key_has_ended_and_a_repetition_says_where_its_answer_is_from(
    machine: Shell, arguments: list[str], variables: dict[str, str], asked: bool
) -> None:
    first, again = (machine.dispatch("--key", "k", *arguments, **variables) for _ in range(2))
    for done in (first, again):
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == (
            "gha-step: nothing was dispatched, and this key has ended: fix the cause and use another --key"
        )
        assert ("GitHub refused" in done.stderr) is asked
    assert "the answer comes from its record" not in first.stderr
    assert again.stderr.splitlines()[1].endswith("the answer comes from its record, and nothing is sent again")
    assert machine.github.runs == []
    assert machine.github.count("dispatch") == asked


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ref", "none"], "push it or correct --ref"),
        (["--ref", "0" * 40], ": --ref is a commit SHA"),
        (["-f", "colour=red", "--workflow", "none.yml", "--repo", "myorg/none"], "correct --repo, or let it see"),
        (
            ["-f", "environment=test"],
            "the workflow requires it: add it to the command, by -f",
        ),
    ],
)
def test_advice_names_flags_where_flags_were_given(machine: Shell, flags: list[str], words: str) -> None:
    place = ["--repo", "myorg/my-app", "--workflow", "deploy.yml", "--ref", "main"]
    done = machine.run("dispatch", *place, *flags)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    file = machine.folder / "step.yaml"
    file.write_text(STEP.replace("ref: main", "ref: none"))
    assert "push it or correct ref\n" in machine.run(str(file)).stderr


def test_a_ci_step_has_one_key_and_another_command_in_it_is_asked_for_its_own(machine: Shell) -> None:
    first = machine.dispatch(**CI)
    assert first.stderr.splitlines()[0] == "key: github-actions/github.com/o/r/7/1/deploy/__run"
    assert machine.dispatch(**CI).stdout == first.stdout
    for other in (machine.dispatch(tag="v2", **CI), machine.dispatch("--ref", "dev", **CI)):
        assert (other.returncode, other.stdout) == (2, "")
        assert "--key" in other.stderr
    assert machine.github.count("dispatch") == 1
    assert machine.dispatch(tag="v2", **{**CI, "GITHUB_RUN_ATTEMPT": "2"}).returncode == 0


def test_after_a_refusal_another_command_of_the_ci_step_does_not_hear_of_it_as_its_own(machine: Shell) -> None:
    assert machine.dispatch("--ref", "none", **CI).returncode == 1
    other = machine.dispatch(**CI)
    assert other.returncode == 2
    assert "--key" in other.stderr


def test_a_said_key_goes_on_with_what_was_dispatched_whatever_the_inputs_are_now(machine: Shell) -> None:
    first = machine.dispatch("--key", "k")
    changed = machine.dispatch("--key", "k", tag="v2")
    assert changed.returncode == 0
    assert values(changed.stdout)["runID"] == values(first.stdout)["runID"]
    assert values(changed.stdout)["inputsChanged"] == "true"
    (warning,) = [line for line in changed.stderr.splitlines() if line.startswith("warning: ")]
    assert "--key k was dispatched with other inputs" in warning
    assert "warning" not in first.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["dispatch"],
            "--repo: is required: write OWNER/NAME, or the repository's URL; --workflow: is required; --ref: ",
        ),
        (["dispatch", "--repo", "x", "--timeout", "900"], "--repo: "),
        ([*dispatching("v1"), "--timeout", "10m"], "--timeout: '10m' is not a whole number of seconds; write one such"),
        ([*dispatching("v1"), "--timeout", "900"], "--timeout: "),
        ([*dispatching("v1"), "-f", "x"], "-f: "),
        ([*dispatching("v1"), "-f", "x=1", "-f", "x=2"], "-f x: "),
        ([*dispatching("v1"), "--run-id", "1"], "--run-id: "),
        ([*dispatching("v1"), "--poll-interval", "1s"], "--wait"),
        (["wait", "--repo", "a/b"], "--run-id: is required"),
        (["wait", "--repo", "a/b", "--run-id", "1", "--ref", "main"], "--ref: "),
        (["wait", "--repo", "a/b", "--run-id", "1", "--expected-conclusion", "succes"], "did you mean success"),
        (
            ["wait", "--repo", "a/b", "--run-id", "1", "--expected-conclusion", "x"],
            "write any to take any conclusion\n",
        ),
        (["wait", "--repo", "https://github.com/a", "--run-id", "1"], "--repo: "),
        (["wait", "--repo", "https://github.com/a/b", "--run-id", "1", "--base-url", "https://x"], "--base-url: "),
        (["wait", "--repo", "a/b", "--run-id", "1", "--base-url", "ftp://x"], "--base-url: 'ftp://x' must"),
        (["wait", "--repo", "a/b", "--run-id", "1", "--rerun-grace", "2h"], "--rerun-grace: '2h' is too long"),
        (["wait", "--repo", "a/b", "--run-id", "1", "--job", ""], "--job.0: "),
        (["wait", "--repo", "a/b", "--run-id", "1", "--outputs-artifact", ""], "--outputs-artifact: "),
        (["wait", "--repo", "a/b", "--run-id", "1", "--force", "6m"], "--force: is not a flag of `run wait`"),
        (
            [*dispatching("v1"), "--outputs"],
            "--outputs: is not a flag of `run dispatch`: it belongs to `run dispatch --w",
        ),
        (["cancel", "--repo", "a/b"], "--run-id: is required"),
        (["cancel", "--repo", "a/b", "--run-id", "x"], "an ID is a number such as 17000000001\n"),
        (["cancel", "--repo", "a/b", "--run-id", "1", "--force", "6"], "--force: '6' is not a duration"),
        (["cancel", "--repo", "a/b", "--run-id", "1", "--outputs"], "--outputs: is not a flag of `run cancel`"),
        (["cancel", "--repo", "a/b", "--run-id", "1", "--wait"], "--wait: belongs to `run dispatch`"),
        (
            ["cancel", "--repo", "a/b", "--run-id", "1", "--ledger", "sqlite:l.db?lifetime=pod"],
            "--ledger: ?lifetime=pod",
        ),
        (["none.yaml"], "none.yaml"),
        (["dispatch", "--output", "xml"], "--output"),
        ([*dispatching("v1"), "--ledger", "mysql:x"], "gha-step: --ledger: "),
        *(
            (["wait", "--repo", repo, "--run-id", "1"], f"--repo: {repo!r} is not OWNER/NAME: write for example")
            for repo in ("my-app", "myorg/", "/my-app", "a/b/c", "a b/../c")
        ),
        ([*dispatching("v1"), "--promotion", "p"], "--alias"),
    ],
)
def test_wrong_usage_is_one_line_and_sends_nothing(machine: Shell, arguments: list[str], words: str) -> None:
    done = machine.run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr
    assert machine.github.log == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uses: git-clone\nconfig: {}", "must be one of gha-dispatch-workflow"),
        ("steps: []", "must hold one step"),
        ("uses: [gha-dispatch-workflow]\nconfig: {}", "uses: a list is not a step of gha-step"),
        (STEP + "if: ${{ always() }}\n", "if: "),
        (STEP.replace("dispatch-workflow", "dispatch-workflows"), "uses: 'gha-dispatch-workflows' is not a step"),
        (STEP.replace("as:", "As:"), "As: is not a field of a step; did you mean as?"),
        (STEP.replace("as: deploy", "as: 5"), "as: must be a string, but is 5"),
        (STEP.replace("  ref: main", "  ref: main\n  ref: dev"), ":8: config.ref: is given twice"),
        (STEP.replace("image_tag: v1", "image_tag: 1.5"), "; quote the value in YAML"),
        (STEP.replace("  ref:", "  cancelOnAbort: true\n  ref:"), "config.cancelOnAbort: only a Promotion"),
        (STEP.replace("v1", "${{ vars.tag }}"), "config.inputs.image_tag: contains an expression"),
        (STEP.replace("workflowFile", "workflowFileName"), "did you mean workflowFile?"),
        (STEP.replace("  ref: main\n", "  ref: 1.10\n"), "config.ref: "),
    ],
)
def test_a_file_that_is_no_step_is_refused_by_its_name(machine: Shell, text: str, words: str) -> None:
    file = machine.folder / "step.yaml"
    file.write_text(text)
    done = machine.run(str(file))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr
    assert str(file) in done.stderr
    assert machine.github.log == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"GH_TOKEN": ""}, "GH_TOKEN or GITHUB_TOKEN"),
        ({"GH_TOKEN": "<token>"}, "GH_TOKEN: contains a placeholder"),
        ({"GH_TOKEN": "gh p"}, "GH_TOKEN: "),
        ({"GITHUB_API_URL": "nonsense"}, "GITHUB_API_URL: 'nonsense' "),
        ({"GH_TOKEN": "main"}, "GH_TOKEN: is too short"),
        ({"GITHUB_ACTIONS": "true"}, "GITHUB_RUN_ID, "),
        ({"GITHUB_API_URL": "http://ghe.example.com"}, "GITHUB_API_URL: "),
        ({"XDG_STATE_HOME": "", "HOME": ""}, "XDG_STATE_HOME"),
    ],
)
def test_a_variable_that_is_wrong_is_named(machine: Shell, variables: dict[str, str], words: str) -> None:
    done = machine.dispatch(**variables)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr
    assert machine.github.log == []


def test_the_token_comes_from_a_file_before_gh_token_before_github_token(machine: Shell) -> None:
    file = machine.folder / "token"
    file.write_text(EXAMPLE_TOKEN + "\n")
    assert machine.dispatch("--token-file", str(file), GH_TOKEN="wrong-token-1").returncode == 0
    assert machine.dispatch(GITHUB_TOKEN="wrong-token-1").returncode == 0
    assert machine.dispatch(GH_TOKEN="", GITHUB_TOKEN=EXAMPLE_TOKEN).returncode == 0
    refused = machine.dispatch(GH_TOKEN="wrong-token-1")
    assert refused.returncode == 1
    assert "the token in GH_TOKEN" in refused.stderr
    assert "wrong-token-1" not in refused.stderr + refused.stdout


def test_a_repository_by_its_url_names_the_server_itself(machine: Shell) -> None:
    url = f"{machine.variables['GITHUB_API_URL']}/myorg/my-app"
    arguments = ["--workflow", "deploy.yml", "--ref", "main", "-f", "environment=test", "-f", "image_tag=v1"]
    done = machine.run("dispatch", "--repo", url, *arguments, GITHUB_API_URL="https://nowhere.invalid")
    assert done.returncode == 0, done.stderr


def test_in_a_pod_a_ledger_that_dies_with_it_is_refused_with_three_ways(machine: Shell) -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "XDG_STATE_HOME": "/dev/shm/gha-step-test"}
    done = machine.dispatch(**pod)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    for way in ("--ledger kubernetes", "volume", "?lifetime=pod", "--correlation-input"):
        assert way in done.stderr
    assert machine.dispatch("--ledger", "sqlite:/dev/shm/gha-step-test.db?lifetime=pod", **pod).returncode == 2
    assert machine.github.count("dispatch") == 0
    assert not Path("/dev/shm/gha-step-test").exists()


def test_the_same_key_at_once_waits_and_hears_of_the_same_run_unless_a_signal_comes_first(machine: Shell) -> None:
    hold = Hold(when="after")
    machine.github.faults.add(hold, "dispatch")
    first = machine.start(*dispatching("v1"), "--key", "k")
    eventually(lambda: machine.github.count("dispatch") == 1)
    second = machine.start(*dispatching("v1"), "--key", "k")
    assert second.stderr is not None
    assert "waiting until it has ended" in second.stderr.readline()
    third = machine.start(*dispatching("v1"), "--key", "k")
    assert third.stderr is not None
    assert "waiting until it has ended" in third.stderr.readline()
    third.send_signal(signal.SIGTERM)
    assert third.communicate(timeout=240)[1] == "gha-step: SIGTERM: this command has sent nothing\n"
    assert third.returncode == 1
    assert machine.dispatch("--key", "other").returncode == 0  # and nobody else waits
    hold.release()
    outs = [process.communicate(timeout=240)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert outs[0] == outs[1]
    assert machine.github.count("dispatch") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_answer_come_and_says_what_was_dispatched(machine: Shell, number: signal.Signals) -> None:
    hold = Hold(when="after")
    machine.github.faults.add(hold, "dispatch")
    process = machine.start(*dispatching("v1"), "--key", "k", "--wait")
    eventually(lambda: machine.github.count("dispatch") == 1)
    process.send_signal(number)
    time.sleep(1)
    assert process.poll() is None
    hold.release()
    out, err = process.communicate(timeout=240)
    (run,) = machine.github.runs
    assert process.returncode == 1
    assert values(out)["runID"] == str(run.id)
    assert number.name in err
    assert str(run.id) in err.splitlines()[-1]
    assert "--key k" in err.splitlines()[-1]


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_the_command_at_once_with_exit_three(machine: Shell) -> None:
    machine.github.faults.add(Hold(), "dispatch")
    process = machine.start(*dispatching("v1"), "--key", "k")
    eventually(lambda: machine.github.count("dispatch") == 1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=4 * LONG)
    assert process.returncode == 3
    assert "--key k" in err.splitlines()[-1]
    machine.github.faults.clear()


# ---------------------------------------------------------------- outputs and jobs of a run, and cancelling one


def going_on(machine: Shell) -> Run:
    """A run that does not end by itself."""
    workflow = machine.github.repository("myorg/my-app").workflow("deploy.yml")
    assert workflow is not None
    workflow.queued_for, workflow.runs_for = 0.0, 3600.0
    return machine.github.start_run(actor="octocat", inputs={"environment": "test", "image_tag": "v1"})


def cancelling(run: Run) -> list[str]:
    return ["cancel", "--repo", "myorg/my-app", "--run-id", str(run.id), "--poll-interval", "1s"]


@pytest.mark.parametrize(
    ("arguments", "code", "outputs"),
    [
        (["--outputs"], 0, '{"url":"https://my-app"}'),
        (["--outputs-artifact", "kargo-outputs", "--job", "deploy"], 0, '{"url":"https://my-app"}'),
        (["--outputs-artifact", "none"], 1, None),
        (["--outputs-artifact", "none", "--outputs-optional"], 0, None),
        (["--job", "none"], 1, None),
    ],
)
def test_a_wait_hands_on_outputs_and_ends_with_its_jobs(
    machine: Shell, arguments: list[str], code: int, outputs: str | None
) -> None:
    run = going_on(machine)
    run.upload({"url": "https://my-app"})
    run.finish(jobs=[Job("deploy")])
    done = machine.run("wait", "--repo", "myorg/my-app", "--run-id", str(run.id), *arguments)
    assert (done.returncode, values(done.stdout).get("outputs")) == (code, outputs), done.stderr


def test_a_dispatch_that_waits_takes_the_flags_of_wait(machine: Shell) -> None:
    assert machine.dispatch("--key", "k").returncode == 0
    (run,) = machine.github.runs
    run.upload({"url": "https://my-app"})
    run.finish()
    done = machine.dispatch("--key", "k", "--wait", "--outputs", "--rerun-grace", "1m", "--job", "deploy")
    assert (done.returncode, json.loads(values(done.stdout)["outputs"])["url"]) == (0, "https://my-app"), done.stderr


def test_a_cancel_is_asked_for_once_per_key_and_never_of_a_later_attempt(machine: Shell) -> None:
    run = going_on(machine)
    first = machine.run(*cancelling(run))
    assert (first.returncode, values(first.stdout)["conclusion"]) == (0, "cancelled"), first.stderr
    flags = first.stderr.splitlines()[0].rpartition("repeat the command with ")[2].rstrip(")").split()
    run.rerun()
    run.set_status("in_progress")
    again = machine.run(*cancelling(run), *flags)
    assert again.returncode == 0
    assert "attempt 2 has begun since and is left alone" in again.stderr
    assert (machine.github.count("cancel-run"), run.status) == (1, "in_progress")
    file = machine.folder / "cancel.yaml"
    repository = "{owner: myorg, repo: my-app, pollInterval: 1s"
    file.write_text(f"uses: gha-cancel-workflow\nconfig: {repository}, runID: '{run.id}'}}\n")
    assert machine.run(str(file)).returncode == 0
    assert (machine.github.count("cancel-run"), run.conclusion) == (2, "cancelled")
    late = machine.run(*cancelling(run))
    assert (late.returncode, "had ended before, so nothing was cancelled" in late.stderr) == (0, True)


def test_a_cancel_that_is_refused_is_exit_one(machine: Shell) -> None:
    machine.github.add_token(Token(EXAMPLE_TOKEN, kind="fine-grained", actions="read"))
    done = machine.run(*cancelling(going_on(machine)))
    assert (done.returncode, "Actions: read and write" in done.stderr) == (1, True)


def test_a_ci_step_may_dispatch_and_cancel_what_it_has_dispatched(machine: Shell) -> None:
    assert machine.dispatch(**CI).returncode == 0
    other = going_on(machine)
    for run in (machine.github.runs[0], other):
        run.set_status("in_progress")
        assert machine.run(*cancelling(run), **CI).returncode == 0
    assert machine.dispatch(**CI).returncode == 0
    assert machine.github.count("dispatch") == 1


def test_one_key_is_for_one_dispatch_or_one_cancelled_run(machine: Shell) -> None:
    run, other = going_on(machine), going_on(machine)
    assert machine.run(*cancelling(run), "--key", "c").returncode == 0
    assert machine.dispatch("--key", "d").returncode == 0
    for wrong, words in (
        (machine.run(*cancelling(other), "--key", "c"), f"was used to cancel run {run.id}"),
        (machine.dispatch("--key", "c"), f"was used to cancel run {run.id}"),
        (machine.run(*cancelling(other), "--key", "d"), "was used to dispatch myorg/my-app workflow deploy.yml"),
    ):
        assert (wrong.returncode, words in wrong.stderr) == (2, True), wrong.stderr
    assert machine.github.count("dispatch", "cancel-run") == 2


def test_a_signal_waits_for_the_answer_to_a_cancel(machine: Shell) -> None:
    hold = Hold(when="after")
    machine.github.faults.add(hold, "cancel-run")
    process = machine.start(*cancelling(going_on(machine)), "--key", "k")
    eventually(lambda: machine.github.count("cancel-run") == 1)
    process.send_signal(signal.SIGINT)
    hold.release()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "is cancelled" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("The same command with --key k continues this cancel")


def test_after_a_signal_nothing_is_cancelled(machine: Shell) -> None:
    run = going_on(machine)
    refused = Answer(Response.of(409, {"message": "Cannot cancel a workflow run that is about to begin"}))
    machine.github.faults.add(refused, "cancel-run")
    process = machine.start(*cancelling(run)[:-1], "1h", "--key", "k")
    assert process.stderr is not None
    while "about to be cancelled" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 1
    assert (machine.github.count("cancel-run"), run.status) == (1, "in_progress")
    process.communicate()
