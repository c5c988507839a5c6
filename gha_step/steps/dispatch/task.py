"""One key's work in this process, as calls see it while it goes on."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from gha_step.contract.result import StepResult
from gha_step.ledger.record import Record, Run
from gha_step.steps.dispatch.answers import BUSY, Note, tell
from gha_step.steps.dispatch.request import DispatchRequest

_REMEMBERED: Final = 10_000


@dataclass(frozen=True)
class Witness:
    """What the host kept of our own earlier output, in ``sharedState``: the ledger's record may be gone."""

    target: str  # hash
    run_id: int | None
    url: str


class Task:
    """One key's work in this process. `record` and `note` are only ever replaced, so that anybody may read them."""

    def __init__(self, record: Record, order: DispatchRequest | None, joined: float) -> None:
        self.record = record
        self.order = order
        self.joined = joined
        self.note: Note | None = None
        self.exact: Run | None = None
        self.warning = ""
        self.diagnosis: str | None = None
        self.ready: Future[None] = Future()
        self.job: Future[None] | None = None

    def tell_now(self) -> None:
        """There is something worth telling."""
        if not self.ready.done():
            self.ready.set_result(None)


@dataclass(frozen=True)
class Joined:
    """One call's view of the task that it joined; see `gha_step.steps.kind.Underway`."""

    task: Task
    order: DispatchRequest | None
    problem: str | None
    withdraw: Callable[[Task], bool] = field(repr=False)

    @property
    def ready(self) -> "Future[None]":
        return self.task.ready

    def answer(self) -> StepResult:
        if self.withdraw(self.task):
            return StepResult.running(BUSY.message, BUSY.retry_after)
        task = self.task
        return tell(
            task.record,
            note=task.note,
            exact=task.exact,
            order=self.order,
            problem=self.problem,
            warning=task.warning,
            diagnosis=task.diagnosis,
        )


class Memory(OrderedDict[str, Any]):
    """A dictionary that forgets its oldest entry."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > _REMEMBERED:
            self.popitem(last=False)
