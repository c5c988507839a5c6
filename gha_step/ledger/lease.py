"""Who may dispatch to a target now, and which runs are taken."""

from gha_step.ledger.record import Frozen, Target, Version


class Claim(Frozen):
    """A run that belongs to a key."""

    run_id: int
    key: str


class Lease(Frozen):
    """One dispatch at a time per target: who is inside, and which runs are taken.

    It serves usefulness only: breaking it never yields a wrong ID.
    """

    project: str
    target: Target
    version: Version = 0
    holder: str | None = None  # a key
    claimed: tuple[Claim, ...] = ()

    def entered(self, key: str) -> "Lease":
        """The gate with ``key`` inside."""
        return self.model_copy(update={"holder": key})

    def claiming(self, run_id: int, key: str) -> "Lease":
        """The gate that remembers the run as the key's; the last fifty are kept."""
        claims = (*(c for c in self.claimed if c.run_id != run_id), Claim(run_id=run_id, key=key))
        return self.model_copy(update={"claimed": claims[-50:]})

    def taken_from(self, key: str) -> frozenset[int]:
        """The runs that belong to other keys."""
        return frozenset(claim.run_id for claim in self.claimed if claim.key != key)
