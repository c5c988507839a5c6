"""The program put together as `gha_step.wiring` does it, with a test's own clock, ledger, connections and threads."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any, TypeAlias

from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.secrets import SecretReader
from gha_step.github.connection import Connector, SocketConnector
from gha_step.ledger.record import Owner
from gha_step.ledger.store import Store
from gha_step.runtime import Clock, Workers
from gha_step.steps.dispatch.task import Joined
from gha_step.telemetry import Telemetry
from gha_step.wiring.core import ARTIFACT_HOSTS, KINDS, Core, MakeKind
from tests.support.calls import body
from tests.support.clock import VirtualClock
from tests.support.workers import TrackedWorkers

_numbers = itertools.count(1)


class Program:
    """One process's worth of gha_step, without its server."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: SecretReader | Path,
        clock: Clock | None = None,
        connector: Connector | None = None,
        tasks: Workers | None = None,
        settle: float = 1.0,
        pod: str | None = None,
        incarnation: str | None = None,
        projects: frozenset[str] | None = None,
        look_back: bool = False,
        threads: int = 16,
        artifact_hosts: frozenset[str] = ARTIFACT_HOSTS,
        kinds: Sequence[MakeKind] = KINDS,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.store = store
        self.telemetry = Telemetry()
        self.telemetry.watch_ledger(store.census)
        self.secrets = reader = DirectorySecrets(secrets) if isinstance(secrets, Path) else secrets
        self._workers: list[TrackedWorkers] = []
        self._threads = threads
        nonces = (f"nonce-{next(_numbers)}" for _ in itertools.count())
        core = Core(
            store=store,
            secrets=reader,
            connector=connector or SocketConnector(),
            clock=self.clock,
            workers=lambda limit, name: tasks if tasks is not None and name == "task" else self._tracked(limit, name),
            owner=Owner(pod=pod, incarnation=incarnation or f"process-{next(_numbers)}"),
            new_nonce=lambda: next(nonces),
            settle=settle,
            telemetry=self.telemetry,
            projects=projects,
            shared_namespace="kargo-shared-resources",
            look_back=look_back,
            artifact_hosts=artifact_hosts,
            kinds=kinds,
        )
        self.core = core
        self.dispatches = core.dispatches
        self.run_poller = core.run_poller
        self.steps = core.steps

    def _tracked(self, limit: int, name: str) -> "TrackedWorkers":
        self._workers.append(TrackedWorkers(min(limit, self._threads), name))
        return self._workers[-1]

    def close(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self.dispatches.drain()
        for workers in self._workers:
            workers.finish()

    def call(
        self,
        step_config: Any = None,
        *,
        reply_within: float = 10.0,
        age: float = 0.0,
        kind: str = "gha-dispatch-workflow",
        await_written: bool = True,
        **context: Any,
    ) -> StepResult:
        """One call, answered as soon as there is something to tell. ``age``: seconds since it came."""
        request = StepRequest.parse(body(step_config, kind=kind, **context))
        outcome = self.steps.execute(request, self.clock.monotonic() - age)
        if isinstance(outcome, StepResult):
            return outcome
        # A task that has to look for the run is ready only when it stops; by the jumping clock that is soon.
        wait([outcome.ready], reply_within)
        result = outcome.answer()
        if (
            await_written
            and isinstance(outcome, Joined)
            and result.status == "Succeeded"
            and outcome.task.job is not None
        ):
            wait([outcome.task.job], reply_within)  # a run that GitHub named is told before it is written
        return result

    def follow(self, step_config: Any = None, *, calls: int = 200, **context: Any) -> StepResult:
        """Call until the answer is final. :raises AssertionError: it is not, after so many calls."""
        for _ in range(calls):
            result = self.call(step_config, **context)
            if result.status != "Running":
                return result
            assert result.retry_after is not None
            self.clock.sleep(result.retry_after)
        raise AssertionError(f"the step did not end: {result}")


Start: TypeAlias = Callable[..., Program]  # the fixture `process`
