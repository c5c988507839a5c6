"""Runs of one workflow as GitHub lists them, and as the ledger judges them. Data only."""

from typing import NamedTuple


class WorkflowRun(NamedTuple):
    """What tells one run from another. ``created_at``: GitHub's clock, seconds since 1970, cut to whole seconds."""

    id: int
    url: str
    event: str
    head_branch: str
    created_at: float
    actor: str
    title: str


class WorkflowRuns(NamedTuple):
    """Runs of one workflow, newest first, as far back as was asked for.

    By GitHub's clock: ``date``, when it answered, and ``begun``, when it was asked (its Date less the time that
    this took); both are ``None`` if the answer bore no Date.
    """

    date: float | None
    begun: float | None
    runs: tuple[WorkflowRun, ...]
