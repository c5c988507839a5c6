"""How long a dispatch that was not sent waits for a GitHub that cannot be reached. Pure.

Source: ledger.md, "State × event": unreachable or rate-limited without interruption for `timeout`. A record with a
report waits until its follower ends it (port.md, rule 1).
"""

import math

from gha_step.ledger.record import Record


def time_left(record: Record, now: float) -> float:
    """Seconds for which GitHub may still be unreachable before the step gives up."""
    if record.report is not None:
        return math.inf
    return record.timeout - (now - (now if record.trouble_since is None else record.trouble_since))


def too_late(record: Record, now: float, asked: float | None, trouble: str) -> str | None:
    """Why trying again makes no sense any more, if it does not.

    :param asked: seconds for which GitHub asks us to wait, where it said so.
    """
    left = time_left(record, now)
    if left > 0 and (asked is None or asked <= left):
        return None
    return f"{trouble.rstrip('.')}; the step's timeout of {record.timeout} s leaves no time to try again"
