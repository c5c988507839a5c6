"""What a call to a step returns: an answer, or something under way that will have one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, NamedTuple, Protocol

from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.values import ConfigModel

SOON: Final = 2.0  # seconds
BUSY: Final = StepResult.running("busy: no worker is free at the moment; nothing is known about this step yet", SOON)


class Underway(Protocol):
    """Work that outlives the call.

    ``ready`` ends when there is something better to tell than `Running`, or the work has stopped for now.
    ``answer()`` is what to tell at this moment; it waits for nothing.
    """

    @property
    def ready(self) -> "Future[None]": ...

    def answer(self) -> StepResult: ...


class Call(NamedTuple):
    """One call of one step. ``arrived``: monotonic seconds; what the call starts may begin to send for 15 s."""

    request: StepRequest
    arrived: float


class StepKind(Protocol):
    """One kind of step."""

    kind: str

    @property
    def config(self) -> type[ConfigModel]:
        """What a step of this kind may have as its config."""

    def execute(self, call: Call) -> StepResult | Underway:
        """Do one step's worth: quickly, and with at most one look at anything far away.

        :raises StepError: the call cannot go on; see `gha_step.steps.registry`.
        """


class Later:
    """A kind that is imported and made when the first step of it comes, or somebody asks for its config."""

    def __init__(self, kind: str, make: Callable[[], StepKind]) -> None:
        self.kind = kind
        self._make = make
        self._lock = threading.Lock()
        self._made: StepKind | None = None

    def _kind(self) -> StepKind:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    @property
    def config(self) -> type[ConfigModel]:
        return self._kind().config

    def execute(self, call: Call) -> StepResult | Underway:
        return self._kind().execute(call)
