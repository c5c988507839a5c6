"""Follows a step to its end, for callers that do not repeat calls: what to execute next, when, and what has changed.
Pure.
"""

from dataclasses import replace
from typing import Any

from gha_step.contract.request import StepRequest
from gha_step.contract.result import StepResult


class Following:
    """One step that is followed; the follower executes `request` after `wait` seconds, and passes on the result."""

    def __init__(self, request: StepRequest) -> None:
        self.request = request
        """The next call."""
        self.wait: float | None = 0.0
        """Seconds until then; ``None``: the step is over."""
        self.waits_for: int | None = None
        """The run of whose change it waits: a hint at it ends the wait."""
        self._heard: tuple[Any, ...] | None = None

    def hear(self, result: StepResult) -> bool:
        """Take in the answer to `request`. Whether it says anything that the one before did not."""
        self.wait, self.waits_for = result.retry_after, result.waits_for
        output = result.output_to_wire()
        # As a host does: the step's own output is a second memory of what was dispatched.
        state = {**self.request.shared_state, self.request.caller.alias: output}
        self.request = replace(self.request, shared_state=state)
        heard = (result.status, result.message, output)
        news = heard != self._heard
        self._heard = heard
        return news
