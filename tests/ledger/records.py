"""Records to try things on."""

from typing import Any

from gha_step.ledger.duties import Cancellation, Duty, Report
from gha_step.ledger.keys import step_key
from gha_step.ledger.record import Candidate, Owner, Record, Run, State, Target
from gha_step.ledger.transitions import (
    TABLE,
    AcceptedWithoutId,
    AnswerLost,
    Event,
    ExactId,
    FoundByMarker,
    FoundByName,
    GaveUp,
    Indistinguishable,
    Looked,
    NothingFound,
    NotSent,
    OnlyCandidate,
    OwnerGone,
    Reached,
    RecordLost,
    RefusedForGood,
    RefusedForNow,
    Send,
    ToldByHost,
    Trouble,
)

OURS = Owner(pod="pod-1", incarnation="process-1")
TARGET = Target(api_base="https://api.github.com", repo="myorg/my-app", workflow="deploy.yml", ref="main")
CANDIDATE = Candidate(id=5, url="https://github.com/myorg/my-app/actions/runs/5")


def run(source: Any = "response", run_id: int = 7) -> Run:
    return Run(id=run_id, url=f"https://github.com/myorg/my-app/actions/runs/{run_id}", source=source)


def record(state: State = State.RESERVED, *, alias: str = "dispatch", **changes: Any) -> Record:
    """A stored record as it stands in ``state``, with attempt ``n`` where something was sent."""
    parts = ("demo", "uid-1", alias)
    fields: dict[str, Any] = {
        "key": step_key(*parts),
        "key_parts": parts,
        "promotion": "test.01abc",
        "version": 3,
        "state": state,
        "target": TARGET,
        "inputs_hash": "0" * 64,
        "timeout": 60,
        "created_at": 1_700_000_000.0,
    }
    if state not in (State.RESERVED, State.REJECTED):
        fields |= {"nonce": "n", "owner": OURS, "sending_at": 1_700_000_001.0}
    if state is State.ACCEPTED:
        fields["run"] = run()
    if state is State.AMBIGUOUS:
        fields["candidates"] = (CANDIDATE,)
    if state in (State.REJECTED, State.AMBIGUOUS, State.UNRESOLVED):
        fields["reason"] = "a reason"
    return Record(**(fields | changes))


REPORT = Report(via="claims", kind="run", id="r_1234567890123456")


ABORT = Cancellation(mode="cancel", secret="github-credentials")
DUTIES: tuple[Duty, ...] = (REPORT, ABORT)


def owing(made: Record, duty: Duty = REPORT, **changes: Any) -> Record:
    """The record with a duty."""
    return made.owing(duty.model_copy(update=changes))


def events(nonce: str = "n", run_id: int = 7) -> dict[type[Event], Event]:
    """One event of every kind; what only an owner may say is said of ``nonce``."""
    said: list[Event] = [
        Trouble(at=10.0, reason="unreachable"),
        Reached(),
        GaveUp(reason="no time left"),
        Send(nonce=nonce, owner=OURS, sending_at=11.0),
        NotSent(nonce=nonce),
        RefusedForNow(nonce=nonce, at=12.0, reason="rate limit"),
        RefusedForGood(nonce=nonce, reason="404"),
        AcceptedWithoutId(nonce=nonce, date=13.0, floor=8.0),
        AnswerLost(nonce=nonce, lost_at=14.0, reason="reset"),
        OwnerGone(nonce=nonce, lost_at=15.0, reason="gone"),
        ExactId(nonce=nonce, run=run("response", run_id)),
        FoundByMarker(run=run("marker", run_id)),
        FoundByName(run=run("promotion-name", run_id)),
        OnlyCandidate(run=run("only-candidate", run_id)),
        ToldByHost(run=run("host", run_id)),
        RecordLost(reason="lost"),
        Looked(seen=(CANDIDATE,), floor=9.0),
        Indistinguishable(candidates=(CANDIDATE,), reason="two"),
        NothingFound(reason="none"),
    ]
    table = {type(event): event for event in said}
    assert set(table) == set(TABLE), "an event without an example here"
    return table
