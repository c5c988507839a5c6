"""The gate's record: which dispatch to a target may be sent next.

It can only delay dispatches. Anyone who may write Leases in the project can forge it, so it does not say which run
belongs to whom.
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
