"""What the ledger stores for a cancel step, and whether a record is this step's.

Pure; see `gha_step.ledger.cancels`.
"""

from gha_step.contract.errors import LedgerError
from gha_step.contract.request import Caller
from gha_step.github.runs import RunReference
from gha_step.ledger.cancels import WORKFLOW, Cancels, cancels
from gha_step.ledger.keys import digest, step_key
from gha_step.ledger.record import Record, State, Target


def new_record(caller: Caller, run: RunReference, attempt: int, now: float) -> Record:
    """The record of a step that has found this attempt."""
    return Record(
        key=step_key(*caller.key_parts),
        key_parts=caller.key_parts,
        promotion=caller.promotion,
        promotion_uid=caller.promotion_uid,
        state=State.REJECTED,
        target=Target(api_base=run.endpoint.base, repo=f"{run.owner}/{run.repo}".lower(), workflow=WORKFLOW, ref="-"),
        inputs_hash=digest({}),
        timeout=1,
        created_at=now,
        asked=caller.asked,
        reason=Cancels(attempt, run.run_id).reason,
    )


def attempt_of(record: Record, caller: Caller, run: RunReference) -> int:
    """The attempt that the step found at its first call.

    :raises LedgerError: the record is another step's, or of another run.
    """
    foreign = caller.promotion_uid != "" and record.promotion_uid != caller.promotion_uid
    if foreign or record.key_parts != caller.key_parts:
        raise LedgerError(
            f"the ledger record {record.key} in the project {caller.project} is that of another Promotion: nothing is "
            "cancelled; start a promotion under a new name"
        )
    found = cancels(record)
    if found is None:
        raise LedgerError(f"the ledger record {record.key} is that of a dispatch: give this step an alias of its own")
    if found.run_id != run.run_id:
        raise LedgerError(
            f"this step has begun to cancel run {found.run_id}, and its config now names {run}: one step cancels one "
            "run; start a new promotion"
        )
    return found.attempt
