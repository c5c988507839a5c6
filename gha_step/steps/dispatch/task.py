"""The work for one key in this process, as calls see it while it runs."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from gha_step.contract.result import StepResult
from gha_step.ledger.record import Record, Run
from gha_step.steps.dispatch.answers import Note, tell
from gha_step.steps.dispatch.request import DispatchCall, DispatchRequest, never
from gha_step.steps.kind import BUSY


class Task:
    """One key's work in this process. `record` and `note` are only ever replaced, so that anybody may read them."""

    def __init__(self, record: Record, request: DispatchRequest | None, joined: float) -> None:
        self._lock = threading.Lock()
        self.record = record
        self.request = request
        self.joined = joined
        self.note: Note | None = None
        self.exact: Run | None = None
        self.warning = ""
        self.diagnosis: str | None = None
        self.ready: Future[None] = Future()
        self.job: Future[None] | None = None

    def replace_request(self, old: DispatchRequest, new: DispatchRequest) -> None:
        """Go on with ``new``, unless a call has brought another one meanwhile."""
        with self._lock:
            if self.request is old:
                self.request = new

    def newer_request(self, request: DispatchRequest) -> None:
        """A call has joined: what it asks for counts as long as nothing is sent."""
        with self._lock:
            if self.request is None or request.may_send is not never:
                self.request = request

    def tell_now(self) -> None:
        """There is something worth telling."""
        if not self.ready.done():
            self.ready.set_result(None)


class Joined(NamedTuple):
    """One call's view of the task that it joined; see `gha_step.steps.kind.Underway`."""

    task: Task
    call: DispatchCall
    withdraw: Callable[[Task], bool]

    @property
    def ready(self) -> "Future[None]":
        return self.task.ready

    def answer(self) -> StepResult:
        if self.withdraw(self.task):
            return BUSY
        task = self.task
        return tell(
            task.record,
            note=task.note,
            exact=task.exact,
            request=self.call.request,
            problem=self.call.why,
            warning=task.warning,
            diagnosis=task.diagnosis,
        )
