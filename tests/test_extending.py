"""A step kind and a way in are added from outside the package, by what CONTRIBUTING.md says and nothing else."""

import json
import re
import urllib.request
from pathlib import Path

import pytest
from pydantic import Field

from gha_step.contract.request import Caller, Step, StepRequest
from gha_step.contract.result import Output, StepResult
from gha_step.contract.values import ConfigModel, Text
from gha_step.inbound.execution import Execution
from gha_step.inbound.http import Resource
from gha_step.inbound.web import Request, Response
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import SystemClock, ThreadWorkers
from gha_step.steps.kind import Call, StepKind
from gha_step.wiring.core import KINDS, Parts
from tests.inbound.wire import post
from tests.support.calls import body
from tests.support.clock import LONG
from tests.support.core import Program
from tests.support.server import serving


class GreetConfig(ConfigModel):
    """What a template writes under ``config``."""

    name: Text = Field(alias="name", description="Whom to greet.")


class GreetOutput(Output):
    """What the step leaves in ``output``."""

    greeting: str = Field(alias="greeting", description="The greeting.")


class Greet:
    """See `gha_step.steps.kind.StepKind`."""

    kind = "greet"
    config: type[ConfigModel] = GreetConfig

    def execute(self, call: Call) -> StepResult:
        config = GreetConfig.parse(call.request.step.config)
        return StepResult.succeeded("greeted", GreetOutput(greeting=f"hello {config.name}"))


def greet(parts: Parts) -> StepKind:
    assert parts.clock is not None
    return Greet()


class Greetings:
    """A way in: ``GET /api/v1/greetings/NAME`` for one project; see `gha_step.inbound.http.Resource`."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def owns(self, raw_path: bytes) -> bool:
        return raw_path.startswith(b"/api/v1/greetings/")

    async def answer(self, request: Request) -> Response:
        name = request.scope["path"].rsplit("/", 1)[1]
        caller = Caller(("demo", "greetings", name), proved=True)
        result = await self._execution.execute(StepRequest(caller, Step(kind="greet", config={"name": name})))
        return Response(result.to_wire())


def test_a_step_kind_is_added_by_its_own_class_and_one_line_of_wiring(tmp_path: Path) -> None:
    program = Program(store=SqliteStore(tmp_path / "ledger.db"), secrets=tmp_path, kinds=(*KINDS, greet))
    with serving(program) as url:
        reply = post(url, body({"name": "Ada"}, kind="greet"))
        assert (reply.json["status"], reply.json["output"]) == ("Succeeded", {"greeting": "hello Ada"})
        wrong = post(url, body({"nmae": "Ada"}, kind="greet"))
        assert wrong.json["terminal"] is True
        assert "config.nmae" in wrong.json["message"]
        assert post(url, body(kind="gha-wait-for-workflow", config={})).json["status"] == "Failed"
    program.close()


def test_a_way_in_is_added_by_its_own_class_and_one_line_of_wiring(tmp_path: Path) -> None:
    program = Program(store=SqliteStore(tmp_path / "ledger.db"), secrets=tmp_path, kinds=(*KINDS, greet))
    execution = Execution(
        program.steps,
        workers=ThreadWorkers(2, "call"),
        clock=SystemClock(),
        telemetry=program.telemetry,
        reply_within=5.0,
    )
    greetings: Resource = Greetings(execution)
    with serving(program, resources=[greetings]) as url:
        with urllib.request.urlopen(f"{url}/api/v1/greetings/Ada", timeout=LONG) as answer:
            assert json.load(answer)["output"] == {"greeting": "hello Ada"}
        assert post(url, body({"name": "Bo"}, kind="greet")).json["status"] == "Succeeded"
    program.close()


ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    named = re.findall(r"`((?:gha_step|tests|deploy|docs)/[\w./*-]*)`", (ROOT / page).read_text())
    assert named
    assert [path for path in named if "NAME" not in path and not list(ROOT.glob(path.rstrip("/")))] == []


def test_what_the_pages_name_in_code_is_there() -> None:
    for path, name in [
        ("gha_step/wiring/core.py", "KINDS"),
        ("gha_step/inbound/rest/resource.py", "KINDS"),
        ("gha_step/inbound/http.py", "class Resource(Protocol)"),
        ("gha_step/inbound/process.py", "class Listener(Protocol)"),
        ("gha_step/wiring/server.py", "def _ledger("),
        ("tests/ledger/store_contract.py", "STORES"),
    ]:
        assert name in (ROOT / path).read_text(), (path, name)
