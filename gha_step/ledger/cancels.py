"""The record of a cancel step: which attempt of which run it found, so that it cancels no later one. Pure.

It is the record of a step that never dispatches anything: `rejected`. The text of its reason is for people, and has all
the data.
"""

import re
from typing import Final, NamedTuple

from gha_step.ledger.record import Record

WORKFLOW: Final = "gha-cancel-workflow"  # in the place of a workflow's file
_REASON: Final = re.compile(r"this step cancels attempt ([0-9]{1,9}) of run ([0-9]{1,19})")


class Cancels(NamedTuple):
    """What a cancel step cancels."""

    attempt: int
    run_id: int

    @property
    def reason(self) -> str:
        """As the record says it."""
        return f"this step cancels attempt {self.attempt} of run {self.run_id}"


def cancels(record: Record) -> Cancels | None:
    """What this record keeps, if it is a cancel step's; ``None``: it is that of a dispatch."""
    found = _REASON.fullmatch(record.reason or "") if record.target.workflow == WORKFLOW else None
    return None if found is None else Cancels(int(found[1]), int(found[2]))
