"""What a call holds is let go of with its answer."""

import asyncio
import gc
import weakref
from concurrent.futures import Future
from typing import Any

from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.inbound.execution import Execution
from gha_step.runtime import SystemClock, ThreadWorkers
from gha_step.telemetry import Telemetry
from tests.support.calls import body
from tests.support.clock import LONG, eventually


class _Underway:
    """Has its answer once ``ready``."""

    def __init__(self) -> None:
        self.ready: Future[None] = Future()

    def answer(self) -> StepResult:
        return StepResult.running("going on", 2.0)


class _Steps:
    kinds = ("gha-dispatch-workflow",)

    def __init__(self) -> None:
        self.begun: list[weakref.ref[_Underway]] = []

    def execute(self, *_: object) -> _Underway:
        underway = _Underway()
        self.begun.append(weakref.ref(underway))
        underway.ready.set_result(None)
        return underway


def test_after_its_answer_nothing_of_a_call_waits_for_the_garbage_collector() -> None:
    steps: Any = _Steps()
    execution = Execution(
        steps, workers=ThreadWorkers(2, "test"), clock=SystemClock(), telemetry=Telemetry(), reply_within=LONG
    )
    gc.disable()
    try:
        result = asyncio.run(execution.execute(StepRequest.parse(body())))
        assert result.message == "going on"
        (begun,) = steps.begun
        eventually(lambda: begun() is None)  # its thread may let go of it a moment later
    finally:
        gc.enable()
