"""The HTTP server in this process, around a `Program`."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gha_step.contract.secret import Token
from gha_step.inbound.execution import Execution
from gha_step.inbound.http import Resource, http_app
from gha_step.inbound.process import ServerProcess
from gha_step.inbound.promotions import Promotions
from gha_step.inbound.readiness import Readiness
from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.inbound.rest.project_tokens import ProjectTokens
from gha_step.inbound.rest.resource import ProjectApi
from gha_step.runtime import ThreadWorkers
from tests.support.calls import BEARER
from tests.support.clock import LONG
from tests.support.core import Program


@contextmanager
def serving(
    program: Program,
    *,
    token: str | None = BEARER,
    workers: int = 16,
    reply_within: float = 20.0,
    served: bool = True,
    projects: bool = False,
    promotions: Promotions | None = None,
    collect: Callable[[], bytes] | None = None,
    readiness: Readiness | None = None,
    resources: Sequence[Resource] = (),
) -> Iterator[str]:
    """The HTTP server around it, on a loopback port of its own; gives its URL."""
    clock = program.clock
    calls = ThreadWorkers(workers, "call")
    execution = Execution(
        program.steps, workers=calls, clock=clock, telemetry=program.telemetry, reply_within=reply_within
    )
    readiness = readiness or Readiness()
    refused = RefusedCallers(clock, program.telemetry)
    project_api = ProjectApi(
        execution,
        ProjectTokens(program.secrets, workers=ThreadWorkers(workers, "proof"), clock=clock),
        promotions,
        workers=calls,
        clock=clock,
        telemetry=program.telemetry,
        refused=refused,
        draining=lambda: readiness.draining,
    )
    app = http_app(
        execution=execution if served else None,
        token=None if token is None else Token(token),
        readiness=readiness,
        refused=refused,
        collect=collect or program.telemetry.exposition,
        resources=[*resources, *([project_api] if projects else [])],
    )
    server = ServerProcess(
        app=app,
        host="127.0.0.1",
        port=0,
        readiness=readiness,
        execution=execution,
        on_the_wire=lambda: program.dispatches.on_the_wire,
        begin_no_more=program.dispatches.drain,
        clock=clock,
    )
    thread = threading.Thread(target=lambda: server.run(signals=False), name="tested-server")
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(LONG)
        assert not thread.is_alive()
