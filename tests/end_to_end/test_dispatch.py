"""Kargo sends the step, GitHub gets one dispatch, Kargo gets the run ID: through real sockets from end to end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import (
    Hold,
    serve,
)
from tests.end_to_end.conftest import MakeScene, Scene, step
from tests.support.certificates import Authority
from tests.support.host import Heard, Step

# ---------------------------------------------------------------- what it costs


@pytest.mark.parametrize("name", ["api.github.com", "api.acme.ghe.com"])
def test_a_dispatch_on_githubs_own_servers_costs_exactly_one_request(scene_of: MakeScene, name: str) -> None:
    scene = scene_of(name=name)
    heard = scene.host.run(scene.promotion, step())
    (run,) = scene.github.runs
    assert (heard.status, heard.run_id) == ("Succeeded", run.id)
    assert scene.github.count() == scene.github.count("dispatch") == 1
    assert heard.output is not None
    assert heard.output["url"] == f"https://{name.removeprefix('api.')}/myorg/my-app/actions/runs/{run.id}"
    assert len(scene.host.received) == 1, "one call was enough"


def test_what_a_dispatch_left_of_githubs_budget_is_shown(scene: Scene) -> None:
    scene.host.run(scene.promotion, step())
    _, metrics = scene.server.ask(path="/metrics")
    assert b'gha_step_github_budget_ratio{host="127.0.0.1"}' in metrics


# ---------------------------------------------------------------- inputs

WORKFLOW = """\
name: Any
on:
  workflow_dispatch:
    inputs:
      a: {type: string}
      b: {type: boolean}
      c: {type: choice, options: [x, "1.10"]}
      d: {type: number}
jobs: {}
"""


@pytest.mark.parametrize(
    ("inputs", "received"),
    [
        ({"a": 'ünï 🚀 "quoted" \\ ${{ x }}'}, {"a": 'ünï 🚀 "quoted" \\ ${{ x }}'}),
        ({"a": "", "b": True, "c": None, "d": 42.0}, {"a": "", "b": "true", "d": "42"}),
        ('{"a": "1.10", "b": true}', {"a": "1.10", "b": "true"}),
        (..., {}),
    ],
)
def test_the_workflow_receives_exactly_the_inputs_that_the_user_wrote(
    scene: Scene, inputs: Any, received: dict[str, str]
) -> None:
    scene.github.repository("myorg/my-app").add_workflow("any.yml", WORKFLOW)
    heard = scene.host.run(scene.promotion, step(workflowFile="any.yml", inputs=inputs))
    assert heard.status == "Succeeded", heard.message
    (run,) = scene.github.runs
    assert run.sent_inputs == received


# ---------------------------------------------------------------- again, at once, after a restart


def test_a_call_that_the_host_gives_up_and_posts_three_times_is_one_dispatch(scene: Scene) -> None:
    held = Hold()
    scene.github.faults.add(held, "dispatch")
    hasty = scene.another_host(timeout=0.3)
    lost = hasty.call(scene.promotion, step())
    assert (lost.status, lost.answer) == ("Running", None)
    assert scene.promotion.shared_state == {"dispatch": None}
    held.release()
    assert scene.host.run(scene.promotion, step()).run_id == scene.github.runs[0].id
    assert scene.github.count("dispatch") == 1


def test_a_promotion_whose_pod_is_lost_runs_again_from_step_zero_with_the_same_runs(scene: Scene) -> None:
    steps = [step(), step("second"), step("task::third")]
    first = [heard.run_id for heard in scene.host.promote(scene.promotion, steps)]
    scene.promotion.lose_pod()
    assert [heard.run_id for heard in scene.host.promote(scene.promotion, steps)] == first
    assert len(set(first)) == len(scene.github.runs) == 3


# ---------------------------------------------------------------- then waited for


def as_go_prints_it(value: object) -> str:
    """A number that went through JSON and ``string()``: Go's %v of a float64."""
    mantissa, _, exponent = f"{value:.10e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


@pytest.mark.parametrize("spell", [str, int, float, as_go_prints_it])
def test_a_wait_takes_the_run_as_the_steps_before_it_gave_it_out(scene: Scene, spell: Callable[[Any], Any]) -> None:
    flow = scene.github.repository("myorg/my-app").workflows[0]
    flow.queued_for, flow.runs_for = 0.05, 0.15
    target = {"credentials": {"secretName": "github"}, "owner": "myorg", "repo": "my-app"}
    host = scene.another_host(pace=0.01)

    def waited(run_id: object, conclusion: str) -> Heard:
        config = target | {"runID": spell(run_id), "expectedConclusion": conclusion}
        return host.run(scene.promotion, Step("wait", config, "gha-wait-for-workflow"))

    dispatched = host.run(scene.promotion, step())
    assert waited(dispatched.run_id, "success").status == "Succeeded"
    outputs = {alias: output or {} for alias, output in scene.promotion.shared_state.items()}
    assert (outputs["dispatch"]["runID"], outputs["wait"]["conclusion"]) == (dispatched.run_id, "success")
    assert outputs["wait"]["url"] == outputs["dispatch"]["url"]
    assert waited(outputs["dispatch"]["runID"], outputs["wait"]["conclusion"]).status == "Succeeded"
    assert len(scene.github.runs) == 1


# ---------------------------------------------------------------- refused: said at once, in words, and final


def test_a_github_that_nobody_trusts_is_said_at_once_and_gets_nothing(scene_of: MakeScene, tmp_path: Path) -> None:
    scene = scene_of(name="api.acme.ghe.com")
    scene.write_secret(accessToken=scene.token, baseURL="https://untrusted.example.com")
    assert scene.proxy is not None
    issued = Authority(tmp_path).issue("server", names=("untrusted.example.com",))
    with serve(scene.github, tls=(issued.certificate, issued.key)) as url:
        scene.proxy.leads["untrusted.example.com:443"] = int(url.rpartition(":")[2])
        heard = scene.host.run(scene.promotion, step(timeout=300))
    assert (heard.status, heard.final, heard.output) == ("Failed", True, {})
    assert heard.message.startswith("nothing was dispatched: ")
    assert "untrusted.example.com" in heard.message
    assert "SSL_CERT_FILE" in heard.message
    assert scene.github.count() == 0


# ---------------------------------------------------------------- transient: Running, then an end


def test_a_proxy_that_is_down_for_a_moment_sends_nothing_twice(scene_of: MakeScene) -> None:
    scene = scene_of(name="api.github.com")
    assert scene.proxy is not None
    scene.proxy.refuses_with = 503
    try:
        while "503" not in (first := scene.host.call(scene.promotion, step(timeout=60))).message:
            assert first.status == "Running"
    finally:
        scene.proxy.refuses_with = None
    assert scene.host.run(scene.promotion, step(timeout=60)).status == "Succeeded"
    assert scene.github.count() == 1
