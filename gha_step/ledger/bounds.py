"""How long each text of a record may be, and how to shorten a record: one table, which deploy/crd repeats.

Too long names are refused before anything is sent (:func:`too_long`); GitHub's texts are cut or left out
(:func:`fitted`).
"""

from collections.abc import Callable, Iterable
from typing import Final

from gha_step.ledger.duties import LONGEST_ID, LONGEST_LABEL, LONGEST_REFERENCE
from gha_step.ledger.record import Candidate, Record

NAME: Final = 2048  # characters
LINK: Final = 4096
REASON: Final = 1024  # bytes that we write; older versions wrote more
RUNS: Final = 5000

# By the paths of the CustomResourceDefinition; characters.
LENGTHS: Final = {
    "step.key": 64,
    "step.keyParts[]": NAME,
    "step.promotion": NAME,
    "step.promotionUid": NAME,
    "request.target.apiBase": NAME,
    "request.target.repo": NAME,
    "request.target.workflow": NAME,
    "request.target.ref": NAME,
    "request.inputsHash": 64,
    "request.marker": 64,
    "request.markerInput": NAME,
    "progress.state": 32,
    "progress.nonce": 128,
    "progress.owner.pod": NAME,
    "progress.owner.incarnation": 128,
    "progress.seen[].url": LINK,
    "progress.actor": NAME,
    "progress.candidates[].url": LINK,
    "progress.reason": 65536,
    "run.url": LINK,
    "run.source": 32,
    "report.via": 32,
    "report.kind": 32,
    "report.id": LONGEST_ID,
    "report.ack": 32,
    "report.said[]": 32,
    "report.label": LONGEST_LABEL,
    "report.cancel": 32,
    "abort.mode": 32,
    "abort.secret": LONGEST_REFERENCE,
    "abort.url": LONGEST_REFERENCE,
    "abort.end": 32,
    "abort.outcome": 32,
}
COUNTS: Final = {
    "step.keyParts": 4,
    "progress.baselineIds": 10_000,
    "progress.seen": RUNS,
    "progress.candidates": RUNS,
    "report.said": 2,
}


def too_long(named: Iterable[tuple[str, str]]) -> str | None:
    """Which value no record can hold, if any.

    :param named: names as the user knows them, and values.
    """
    for name, value in named:
        if len(value) > NAME:
            return f"{name}: has {len(value)} characters; the maximum is {NAME}"
    return None


def fitted(record: Record, page: Callable[[int], str]) -> Record:
    """The record with what others decide cut to what it may hold.

    :param page: the address that we compute for a run.
    """
    changes: dict[str, object] = {}
    if record.reason is not None and len(record.reason.encode()) > REASON:
        changes["reason"] = record.reason.encode()[: REASON - 3].decode(errors="ignore") + "…"
    if record.actor is not None and len(record.actor) > NAME:
        changes["actor"] = None
    if record.run is not None and len(record.run.url) > LINK:
        changes["run"] = record.run.model_copy(update={"url": page(record.run.id)})
    for name, runs in (("seen", record.seen), ("candidates", record.candidates)):
        if runs and (len(runs) > RUNS or any(len(run.url) > LINK for run in runs)):
            changes[name] = tuple(_linked(run, page) for run in runs[:RUNS])
    return record.model_copy(update=changes) if changes else record


def _linked(run: Candidate, page: Callable[[int], str]) -> Candidate:
    return run if len(run.url) <= LINK else run.model_copy(update={"url": page(run.id)})


def without_optional(record: Record) -> Record:
    """The same evidence in the fewest words, for a store that refuses the whole as too large.

    The runs that were seen, and those of the baseline, are evidence as long as the run is looked for.
    """
    changes: dict[str, object] = {"reason": record.reason and record.reason[:100]}
    if record.final:
        changes |= {"baseline_ids": (), "seen": (), "candidates": record.candidates[:10]}
    return record.model_copy(update=changes)
