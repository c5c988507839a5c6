"""What comes next for a report that Port is owed, and what an outcome changes. Pure: times are given.

A follower carries out one `Step` after another and writes what has changed of the `Report` into the ledger in between.
What it merely `Known`s may be lost with its process: then it is asked for again, and at worst a log line is said or a
PATCH is sent once more. Nothing here licenses a dispatch.

Source: port.md rules 1, 2, 5 to 8; model/port_model.py.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from gha_step.github.runs import ObservedJob, ObservedRun, Phase
from gha_step.inbound.port import reports
from gha_step.inbound.port.reports import AtPort, Line, NodeAtPort, RunAtPort
from gha_step.ledger.duties import Report
from gha_step.ledger.record import FINAL, Record, State
from gha_step.steps.dispatch.answers import run_page, workflow_page
from gha_step.steps.wait.snapshot import Outputs

Part: TypeAlias = Literal["link", "external ID", "label", "end", "status alone"]

FIRST_LOOK: Final = 5.0  # seconds between looks at a run, growing to the last
LAST_LOOK: Final = 60.0
LINK_WITHIN: Final = 5.0  # seconds in which the first look, which knows the external ID, may still come before the link
FRESH: Final = 10.0  # seconds after the send within which no workflow can have told Port anything yet
GONE_AFTER: Final = 600.0  # seconds: a 404 is believed when another one follows so much later
FORCE_AFTER: Final = 360.0  # seconds; GitHub gives clean-up steps under `if: always()` five minutes
LINGER: Final = 30.0  # seconds between two looks at what nothing happens to
ACK_AGAIN: Final = 5.0  # seconds after an ack without an answer, in which the rest goes on …
ACK_REFUSED: Final = 600.0  # … and after one that Port refuses
# Statuses by which Port refuses what a PATCH or a line says, or that anything is said; any other may pass.
_FINAL_STATUSES: Final = (400, 409, 413, 422)


@dataclass(frozen=True)
class Known:
    """What this process knows besides. ``port``: as Port showed it last; ``stale``: it may be another by now."""

    since: float = 0.0
    port: AtPort | None = None
    stale: bool = True
    missing_since: float | None = None  # Port's 404
    id_told: bool = False  # a node's external ID went out after its link
    unreadable: bool = False  # a node that no read by its external ID shows, although it was told
    doubted: bool = False  # a listing of active runs does not show it, or a PATCH was lost: it is to be read
    refusal: "tuple[Patch | Say, int] | None" = None  # what Port would not take, until that is settled
    end_refused: int = 0  # how often Port refused the end of a run that is open
    run: ObservedRun | None = None
    next_look: float = 0.0
    interval: float = FIRST_LOOK
    gone_since: float | None = None  # GitHub's 404
    gone: bool = False
    external_id: str | None = None
    jobs: tuple[ObservedJob, ...] = ()  # that failed, once it has ended
    more_jobs: int = 0
    outputs: Outputs | None = None  # of a node's run that has ended
    environments: tuple[str, ...] = ()
    line_said: bool = False  # of what is unknown, on a node
    cancelled_at: float | None = None
    ack_at: float = 0.0  # when the ack is asked for again


@dataclass(frozen=True)
class Rules:
    """The settings. Seconds."""

    queue: float = 3600.0
    unknown: float = 3600.0
    cancel: Literal["off", "on", "force"] = "off"


@dataclass(frozen=True)
class Wait:
    """Nothing to do for so many seconds, unless something is heard meanwhile."""

    seconds: float


@dataclass(frozen=True)
class Ack:
    """Acknowledge the claim."""


@dataclass(frozen=True)
class ReadPort:
    """Read the run at Port."""


@dataclass(frozen=True)
class Look:
    """Look at the run at GitHub."""


@dataclass(frozen=True)
class Resume:
    """Let the ledger's own work on this key go on: it finds out what became of the send."""


@dataclass(frozen=True)
class Reject:
    """Move the record from reserved to rejected."""

    reason: str


@dataclass(frozen=True)
class Patch:
    """PATCH the run at Port. ``label``: what it shows then, where it says so."""

    part: Part
    body: dict[str, Any] = field(hash=False)
    label: str = ""


@dataclass(frozen=True)
class Say:
    """Add a line to the run's log at Port."""

    part: Part
    line: Line


@dataclass(frozen=True)
class Cancel:
    """Cancel the run at GitHub."""

    force: bool


@dataclass(frozen=True)
class Close:
    """Nothing more is owed. ``words`` for our log; ``differs``: Port and GitHub tell two different ends."""

    words: str
    error: bool = False
    differs: bool = False


@dataclass(frozen=True)
class Done:
    """The report is closed."""


Step: TypeAlias = Wait | Ack | ReadPort | Look | Resume | Reject | Patch | Say | Cancel | Close | Done


def next_step(record: Record, known: Known, now: float, rules: Rules) -> Step:
    """The one thing to do now for a record with a report."""
    report = record.report
    assert report is not None
    if report.closed:
        return Done()
    if record.state is State.RESERVED:
        return _reserved(record, report, known, now, rules)
    if record.state is State.SENDING:
        return Resume() if known.next_look <= now else Wait(known.next_look - now)
    if report.ack == "open" and known.ack_at <= now:
        return Ack()
    if (step := _settled(record, report, known, now, rules)) is not None:
        return step
    match record.state:
        case State.REJECTED:
            return _not_dispatched(record, report, known)
        case State.ACCEPTED if not known.gone:
            return _accepted(record, report, known, now)
        case State.ACCEPTED | State.AMBIGUOUS | State.UNRESOLVED:
            return _unknown(record, report, known, now, rules)
        case _:
            return Resume() if known.next_look <= now else Wait(known.next_look - now)


def _reserved(record: Record, report: Report, known: Known, now: float, rules: Rules) -> Step:
    if known.port is not None and known.port.ended:
        return Reject("withdrawn")
    if (left := record.created_at + rules.queue - now) <= 0:
        waited = f": {record.reason}" if record.reason else ""
        return Reject(f"waited longer than {rules.queue:.0f} s to be sent{waited}")
    if known.doubted and report.kind == "run":
        return ReadPort()
    return Wait(min(left, LINGER))


def _settled(record: Record, report: Report, known: Known, now: float, rules: Rules) -> Step | None:
    """What Port's own view of the run asks for, before anything more is told; ``None``: to go on."""
    seen = known.port
    if known.missing_since is not None and not known.id_told and report.kind == "node" and _readable(report, known):
        return Patch("external ID", {"externalRunId": known.external_id})  # the link went out before it was known
    if (known.refusal is not None or known.doubted) and _readable(report, known) and known.stale:
        return ReadPort()
    if known.refusal is not None and known.refusal[1] == 409 and not _readable(report, known):
        return _ended(known, "has ended")
    if seen is not None and seen.ended:
        if record.state not in FINAL:
            return None  # until its run is known, which may have to be cancelled; and no record stays open for ever
        return _cancelling(record, report, known, now, rules) or _ended(known, f"is {seen.status}")
    if known.end_refused > 1:
        return Close("Port rejects the end of an open run: nothing more can be reported", error=True)
    return None


def _cancelling(record: Record, report: Report, known: Known, now: float, rules: Rules) -> Step | None:
    """A person withdrew the run: its workflow is cancelled, if that is wanted and it surely is this one."""
    by_hand = isinstance(known.port, RunAtPort) and known.port.status == "FAILURE" and known.port.by_a_person
    exact = record.state is State.ACCEPTED and record.run is not None and record.run.source == "response"
    if rules.cancel == "off" or not (by_hand and report.wanted and exact):
        return None
    if known.gone or (known.run is not None and known.run.phase is Phase.COMPLETED):
        return None
    if report.cancel == "none":
        return Cancel(force=False)
    if rules.cancel != "force" or report.cancel == "forced":
        return None
    if known.next_look <= now:
        return Look()
    # After a death nobody knows when it was asked for: the six minutes begin anew.
    if (left := (known.cancelled_at or known.since) + FORCE_AFTER - now) <= 0:
        return Cancel(force=True)
    return Wait(min(left, known.next_look - now))


def _ended(known: Known, how: str) -> Close:
    conclusion = known.run.conclusion if known.run is not None and known.run.phase is Phase.COMPLETED else None
    differs = (
        conclusion is not None
        and isinstance(known.port, RunAtPort)
        and known.port.status in ("SUCCESS", "FAILURE")
        and known.port.status != reports.status_of(conclusion)
    )
    at_github = "still running or unknown" if conclusion is None else conclusion
    return Close(f"the run {how} at Port; at GitHub: {at_github}", differs=differs)


def _accepted(record: Record, report: Report, known: Known, now: float) -> Step:
    run = known.run
    if not report.linked:
        sent = record.sending_at or record.created_at
        if run is None and (not known.next_look or known.next_look <= now < max(sent, known.since) + LINK_WITHIN):
            return Look()
        if known.stale and _readable(report, known) and now > sent + FRESH:
            return ReadPort()
        body = reports.link_patch(_seen(report, known), _page(record), known.external_id)
        label = reports.label_of(run) if run is not None and report.kind == "node" else ""
        if label:
            body["statusLabel"] = {"text": label}
        return Patch("link", body, label)
    if "link" not in report.said:
        return Say("link", reports.dispatched(_page(record), run))
    if run is not None and run.phase is Phase.COMPLETED:
        return _told_end(report, known, run)
    if run is not None and reports.label_of(run) != report.label:
        line = reports.progress(run, known.environments)
        if report.kind == "node":
            return Patch("label", {"statusLabel": {"text": line.label}}, line.label or "")
        return Say("label", line)
    return Look() if known.next_look <= now else Wait(known.next_look - now)


def _told_end(report: Report, known: Known, run: ObservedRun) -> Step:
    seen = _seen(report, known)
    end = reports.ended(seen, run, known.jobs, known.more_jobs, wanted=report.wanted, outputs=known.outputs)
    return _tell(report, known, end, wanted=report.wanted, label=(run.conclusion or "").replace("_", " "))


def _not_dispatched(record: Record, report: Report, known: Known) -> Step:
    end = reports.not_dispatched(_seen(report, known), record.reason or "")
    return _tell(report, known, end, wanted=True, label=reports.NOT_DISPATCHED)


def _unknown(record: Record, report: Report, known: Known, now: float, rules: Rules) -> Step:
    line = reports.unknown(_page(record), [candidate.url for candidate in record.candidates])
    if report.label != reports.UNKNOWN:
        if report.kind == "node" and known.line_said:
            return Patch("label", {"statusLabel": {"text": reports.UNKNOWN}}, reports.UNKNOWN)
        return Say("label", line)
    since = known.gone_since if known.gone and known.gone_since is not None else None
    if since is None:
        since = (record.sending_at or record.created_at) + record.timeout
    if (left := since + rules.unknown - now) > 0:
        return Resume() if known.next_look <= now else Wait(min(left, known.next_look - now))
    if not report.wanted:
        return Close("what became of the dispatch is not known")
    if known.stale and _readable(report, known):
        return ReadPort()
    end = reports.unknown_end(_seen(report, known), line)
    return _end_patch(known, end.patch, reports.UNKNOWN)


def _tell(report: Report, known: Known, end: reports.End, *, wanted: bool, label: str) -> Step:
    """Read, one line, one PATCH."""
    if known.stale and _readable(report, known):
        return ReadPort()
    if "end" not in report.said:
        return Say("end", end.line)
    if not wanted:
        return Close(f"reported by the workflow itself; {end.line.message}")
    return _end_patch(known, end.patch, label)


def _end_patch(known: Known, body: dict[str, Any], label: str) -> Patch:
    if known.end_refused:
        return Patch("status alone", reports.status_alone(body))
    return Patch("end", body, label)


def _page(record: Record) -> str:
    """The run's, or the workflow's where none is known."""
    return workflow_page(record) if record.run is None else record.run.url or run_page(record, record.run.id)


def _readable(report: Report, known: Known) -> bool:
    """A node can be read by its external ID only, once that was told."""
    return report.kind == "run" or (report.linked and known.external_id is not None and not known.unreadable)


def _seen(report: Report, known: Known) -> AtPort:
    if known.port is not None:
        return known.port
    return RunAtPort("IN_PROGRESS") if report.kind == "run" else NodeAtPort("IN_PROGRESS")


@dataclass(frozen=True)
class Took:
    """Port has taken it, or GitHub has."""


@dataclass(frozen=True)
class Refusal:
    """Port refuses it, with this status."""

    status: int


@dataclass(frozen=True)
class Unheard:
    """No answer; ``sent``: it may have been done all the same."""

    sent: bool


Outcome: TypeAlias = Took | Refusal | Unheard


def told(
    step: Ack | Patch | Say | Cancel, outcome: Outcome, report: Report, known: Known, now: float
) -> tuple[Report, Known]:
    """What the outcome of telling something changes."""
    match outcome:
        case Unheard() if isinstance(step, Ack):
            return report, replace(known, ack_at=now + ACK_AGAIN)
        case Unheard(sent):
            # A PATCH that may have been taken is followed by a read before it is repeated.
            return report, replace(known, stale=True, doubted=True) if sent and isinstance(step, Patch) else known
        case Refusal(404):
            return _missing(report, known, now)
        case Refusal(status) if isinstance(step, Patch | Say) and status in _FINAL_STATUSES:
            return _refused(step, status, report, known)
        case Refusal() if isinstance(step, Ack):  # it may have ended: the rest does not wait for the ack
            return report, replace(known, ack_at=now + ACK_REFUSED, stale=True, doubted=True)
        case Refusal():
            return report, known
    if isinstance(step, Patch) and step.part == "external ID":
        return report, replace(known, id_told=True)
    known = replace(known, missing_since=None)
    match step:
        case Ack():
            return _changed(report, ack="closed"), known
        case Cancel(force):
            return _changed(report, cancel="forced" if force else "asked"), replace(
                known, cancelled_at=now, next_look=now + LAST_LOOK
            )
        case Patch("link", _, label):
            return _changed(report, linked=True, label=label or report.label), known
        case Patch("end" | "status alone"):
            return _changed(report, closed=True), known
        case Patch() | Say():
            return _over(step, report, known)


def _over(step: Patch | Say, report: Report, known: Known) -> tuple[Report, Known]:
    """A label or a line is at Port, or was given up."""
    match step:
        case Patch(_, _, label):
            return _changed(report, label=label), known
        case Say("link", line):
            return _changed(report, said=(*report.said, "link"), label=line.label or report.label), known
        case Say("end"):
            return _changed(report, said=(*report.said, "end")), known
        case Say(_, line) if report.kind == "node":
            return report, replace(known, line_said=True)
        case Say(_, line):
            return _changed(report, label=line.label or report.label), known


def _missing(report: Report, known: Known, now: float) -> tuple[Report, Known]:
    """Port knows no such run; believed when it says so again ten minutes later."""
    if known.missing_since is not None and now >= known.missing_since + GONE_AFTER:
        return _changed(report, closed=True), known
    return report, known if known.missing_since is not None else replace(known, missing_since=now)


def _refused(step: Patch | Say, status: int, report: Report, known: Known) -> tuple[Report, Known]:
    """The run is read, whatever Port's words; a node that cannot be read counts as open unless Port says 409."""
    no_id = isinstance(step, Patch) and step.part == "external ID"  # no read can ever find the node
    known = replace(known, refusal=(step, status), stale=True, unreadable=known.unreadable or no_id)
    return (report, known) if _readable(report, known) or status == 409 else _open_all_the_same(report, known)


def _open_all_the_same(report: Report, known: Known) -> tuple[Report, Known]:
    """The run is open, and Port has refused something: a 409 is repeated like a 503; of a 422 the end is tried once
    more with its status alone, and anything else is given up, so that the rest goes on."""
    assert known.refusal is not None
    step, status = known.refusal
    known = replace(known, refusal=None)
    if status == 409:
        return report, known
    match step:
        case Patch("end" | "status alone"):
            return report, replace(known, end_refused=known.end_refused + 1)
        case Patch("link"):
            return _changed(report, linked=True), known
        case Patch("external ID"):
            return report, replace(known, unreadable=True)
        case _:
            return _over(step, report, known)


def read(seen: AtPort | None, report: Report, known: Known, now: float) -> tuple[Report, Known]:
    """What a read of the run at Port changes; ``None``: Port shows none, which calls for a pause as a failure does."""
    if seen is None and report.kind == "node":
        since = now if known.missing_since is None else known.missing_since
        return report, replace(known, missing_since=since, unreadable=now >= since + GONE_AFTER)
    if seen is None:
        return _missing(report, known, now)
    known = replace(known, port=seen, stale=False, doubted=False, missing_since=None)
    return (report, known) if seen.ended or known.refusal is None else _open_all_the_same(report, known)


def looked(run: ObservedRun | None, known: Known, now: float, external_id: str | None = None) -> Known:
    """What a look at GitHub changes; ``None``: GitHub knows no such run."""
    interval = min(known.interval * 1.5, LAST_LOOK)
    known = replace(known, next_look=now + known.interval, interval=interval)
    if run is None:
        since = now if known.gone_since is None else known.gone_since
        return replace(known, gone_since=since, gone=now >= since + GONE_AFTER)
    # A run that has ended since is another one to Port's reader: what the workflow told may be new.
    over = run.phase is Phase.COMPLETED and (known.run is None or known.run.phase is not Phase.COMPLETED)
    return replace(
        known,
        run=run,
        gone_since=None,
        gone=False,
        external_id=external_id or known.external_id,
        stale=known.stale or over,
    )


def unseen(known: Known, now: float) -> Known:
    """A look failed, or the ledger's work was resumed: the next one comes later."""
    return replace(known, next_look=now + known.interval, interval=min(known.interval * 1.5, LAST_LOOK))


def _changed(report: Report, **changes: Any) -> Report:
    return report.model_copy(update=changes)
