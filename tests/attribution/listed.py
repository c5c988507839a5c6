"""Listings and records to try attribution on. Seconds are counted from a whole one on GitHub's clock."""

from collections.abc import Collection, Iterable
from typing import Any

from gha_step.contract.listing import WorkflowRun, WorkflowRuns
from gha_step.ledger.attribution import Look, Others, attribute
from gha_step.ledger.keys import marker_of
from gha_step.ledger.record import Record, State
from gha_step.ledger.transitions import Event, Looked, advance
from tests.ledger.records import record

EPOCH = 1_700_000_000.0
SETTLE = 20.0
SETTLED = 21.0  # both Dates are cut to whole seconds: only then have 20 s really passed
TIMEOUT = 60
OVER = 60.0  # max(timeout, S + 10)
KEY = "ab" * 32
MARKER = marker_of(KEY)
FOREIGN = marker_of("cd" * 32)
PROMOTION = "test.01abc"


def listed(run_id: int = 7, *, at: float = 1.0, **changes: Any) -> WorkflowRun:
    """A run as a listing shows it, created ``at``."""
    fields: dict[str, Any] = {
        "id": run_id,
        "url": url(run_id),
        "event": "workflow_dispatch",
        "head_branch": "main",
        "created_at": EPOCH + at,
        "actor": "kargo-bot",
        "title": "Deploy",
    }
    return WorkflowRun(**(fields | changes))


def url(run_id: int) -> str:
    return f"https://github.com/myorg/my-app/actions/runs/{run_id}"


def listing(*runs: WorkflowRun, begun: float | None = SETTLED) -> WorkflowRuns:
    """A listing that was asked for at ``begun``; ``None``: its answer bore no Date."""
    when = None if begun is None else EPOCH + begun
    return WorkflowRuns(date=when, begun=when, runs=runs)


def accepted_without_id(**changes: Any) -> Record:
    """GitHub said 204 at second 0; the run was not created before second -5; two listings have been read."""
    fields: dict[str, Any] = {"answered_date": EPOCH, "floor": EPOCH - 5, "listings": 2, "timeout": TIMEOUT}
    return record(State.ACCEPTED_WITHOUT_ID, **(fields | changes))


NO_ANSWER = "api.github.com has not answered within 30 s"


def unknown(**changes: Any) -> Record:
    """The answer was lost; the baseline's floor is second -5; two listings have been read."""
    fields: dict[str, Any] = {"floor": EPOCH - 5, "listings": 2, "timeout": TIMEOUT, "reason": NO_ANSWER}
    return record(State.UNKNOWN, **(fields | changes))


def decide(
    looks: Record,
    seen: WorkflowRuns,
    *,
    since_sending: float | None = None,
    taken: Collection[int] = (),
    name_is_unique: bool = True,
    rivals: Iterable[Record] = (),
    unidentified: bool = False,
    settle: float = SETTLE,
) -> Event:
    """What the listing proves; ``since_sending`` is by default what GitHub's clock tells."""
    if since_sending is None:
        assert seen.begun is not None
        since_sending = seen.begun - EPOCH
    assert looks.sending_at is not None
    others = Others(frozenset(taken), tuple(rivals), unidentified=unidentified, name_is_unique=name_is_unique)
    now = looks.sending_at + since_sending
    event = attribute(Look(looks, seen, others, settle=settle, now=now))
    if not Look(looks, seen, Others(), settle=settle, now=now).may_decide:  # then nobody would have read the others
        assert isinstance(event, Looked)
    return event


def follow(looks: Record, listings: Iterable[WorkflowRuns], **options: Any) -> Record:
    """The record after these listings, or after the first of them that ends the looking."""
    for seen in listings:
        event = decide(looks, seen, **options)
        looks = advance(looks, event)
        if not isinstance(event, Looked):
            break
    return looks
