"""dispatch → wait → a following step, as a Kargo host runs them, against the program as it is wired."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Job, bad_gateway, serve
from gha_step.settings import Settings
from gha_step.wiring.server import build
from tests.support.clock import LONG
from tests.support.host import KargoHost, Promotion, Step
from tests.support.secrets import write_secret

from .follower import KIND, RUN

TARGET: dict[str, Any] = {"credentials": {"secretName": "github"}, "owner": "myorg", "repo": "my-app"}
DISPATCH = Step(
    "dispatch",
    TARGET
    | {
        "workflowFile": "deploy.yml",
        "ref": "main",
        "inputs": {"environment": "prod", "image_tag": "1"},
        "timeout": "60",
    },
)


@dataclass
class Wired:
    """The real server, and the host that calls it. :ivar host: it waits a hundredth of what it is told."""

    github: GitHub
    host: KargoHost
    promotion: Promotion


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Wired]:
    github = GitHub()
    github.repository("myorg/my-app").workflows[0].queued_for = 0.05
    github.repository("myorg/my-app").workflows[0].runs_for = 0.15
    with serve(github) as url, served(tmp_path, url) as address:
        yield Wired(github, KargoHost(address, None, pace=0.01), Promotion("demo"))


@contextmanager
def served(folder: Path, github_url: str) -> Iterator[str]:
    write_secret(folder / "secrets", accessToken=EXAMPLE_TOKEN, baseURL=github_url)
    settings = Settings.parse(
        {
            "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
            "GHA_STEP_TOKEN_FILE": "none",
            "GHA_STEP_SECRETS": f"dir:{folder / 'secrets'}",
            "GHA_STEP_LEDGER": f"sqlite:{folder / 'ledger.db'}",
        }
    )
    server = build(settings, {})
    thread = threading.Thread(target=lambda: server.run(signals=False), name="promotion-server")
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(LONG)
        assert not thread.is_alive()


def wait_for(run_id: object, **changes: Any) -> Step:
    return Step("wait", TARGET | {"runID": run_id} | changes, KIND)


def quoted(value: object) -> str:
    """Kargo's ``quote()``."""
    return str(value)


def as_is(value: object) -> object:
    """An integer as expressions leave it."""
    return value


def as_go_prints_it(value: object) -> str:
    """A number that went through JSON and ``string()``: Go's %v of a float64."""
    mantissa, _, exponent = f"{value:.10e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


@pytest.mark.parametrize("spell", [quoted, as_is, float, as_go_prints_it])
def test_dispatch_wait_and_a_following_step(wired: Wired, spell: Any) -> None:
    dispatched = wired.host.run(wired.promotion, DISPATCH)
    assert dispatched.run_id == RUN
    waited = wired.host.run(wired.promotion, wait_for(spell(dispatched.run_id), expectedConclusion="success"))
    assert waited.status == "Succeeded", waited
    # What `${{ outputs.dispatch.runID }}` and `${{ outputs.wait.conclusion }}` give to the step after them.
    outputs = wired.promotion.shared_state
    assert outputs["dispatch"] is not None
    assert outputs["wait"] is not None
    assert (outputs["dispatch"]["runID"], outputs["wait"]["conclusion"]) == (RUN, "success")
    assert outputs["wait"]["url"] == outputs["dispatch"]["url"]
    assert "links" in outputs["dispatch"]
    assert "links" not in outputs["wait"]
    following = wait_for(spell(outputs["dispatch"]["runID"]), expectedConclusion=outputs["wait"]["conclusion"])
    assert wired.host.run(wired.promotion, following).status == "Succeeded"
    assert len(wired.github.runs) == 1


def test_a_failed_run_fails_the_promotion_and_names_the_step(wired: Wired) -> None:
    flow = wired.github.repository("myorg/my-app").workflows[0]
    flow.conclusion = "failure"
    flow.jobs = (Job("deploy", ("Build", "Test"), "Test"),)
    ends = wired.host.promote(wired.promotion, [DISPATCH, wait_for(quoted(RUN), expectedConclusion="success")])
    assert [end.status for end in ends] == ["Succeeded", "Failed"]
    assert "job 'deploy' ended with failure in its step 'Test'" in ends[-1].message
    assert ends[-1].output is not None
    assert ends[-1].output["failedJobs"][0]["failedStep"] == "Test"


def test_a_lost_pod_repeats_all_steps_and_starts_no_second_run(wired: Wired) -> None:
    steps = [DISPATCH, wait_for(quoted(RUN), expectedConclusion="success")]
    assert wired.host.call(wired.promotion, DISPATCH).final
    wired.host.call(wired.promotion, steps[1])
    wired.promotion.lose_pod()
    assert [end.status for end in wired.host.promote(wired.promotion, steps)] == ["Succeeded", "Succeeded"]
    assert len(wired.github.runs) == 1


def test_troubles_between_do_not_count_as_errors(wired: Wired) -> None:
    wired.host.run(wired.promotion, DISPATCH)
    wired.github.faults.add(bad_gateway("before"), "get-run")
    heard = wired.host.call(wired.promotion, wait_for(quoted(RUN)))
    assert (heard.status, heard.final, wired.promotion.errors) == ("Running", False, {})


def test_a_wrong_config_ends_the_step_with_every_problem(wired: Wired) -> None:
    end = wired.host.run(wired.promotion, wait_for("", expectedConclusion="ok", pollInterval="0s"))
    assert (end.status, end.final) == ("Failed", True)
    assert all(name in end.message for name in ("config.runID", "config.expectedConclusion", "config.pollInterval"))
