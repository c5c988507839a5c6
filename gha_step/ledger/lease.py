"""Whose turn it is to dispatch to a target: what the gate remembers.

It only ever delays. Anyone who may write Leases in the project can forge it, so nothing in it says which run is whose.
"""

from pydantic import ConfigDict

from gha_step.ledger.record import Frozen, Target, Version


class Lease(Frozen):
    """One dispatch at a time per project and target (by its short ref)."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # 0.1.0 wrote whose runs are whose, as well

    project: str
    target: Target
    version: Version = 0
    holder: str | None = None  # a key

    def entered(self, key: str) -> "Lease":
        """The gate with ``key`` inside."""
        return self.model_copy(update={"holder": key})
