"""The output of `gha-step ledger`: a table of dispatches, or one dispatch and what to do about it. Pure.

A cancel step has a record too, stored as `rejected`; it is shown as a cancel.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from textwrap import indent
from typing import Any, Final, Literal, NamedTuple

from gha_step.contract.duration import parse_duration
from gha_step.contract.errors import StepError
from gha_step.contract.quoting import quoted
from gha_step.ledger.cancels import cancels
from gha_step.ledger.duties import Outcome, Report
from gha_step.ledger.reading import Query
from gha_step.ledger.record import FINAL, OPEN, Owner, Record, State
from gha_step.steps.cancel.config import KIND as CANCEL_KIND
from gha_step.steps.dispatch.answers import anew, tell, workflow_page

SHOWN_OF_A_KEY: Final = 12  # characters
ALIGNED: Final = 500  # lines of a table whose columns are aligned
STUCK_AFTER: Final = 1800.0  # seconds
CANCEL: Final = "cancel"  # where others have their state
_NEVER_DELETE: Final = "Do not delete this record: it keeps the step from being sent twice."


class _Words(NamedTuple):
    """Of who goes on with a dispatch: a host that calls, a person at a shell, or this server for Port."""

    goes_on: str
    looks: str
    left: str
    over: str
    certain: str = "correlationInput in the step's config"


_OF_KARGO: Final = _Words(
    "the host's next call",
    "The server looks for the run on every call of the host",
    "the host no longer calls",
    "the promotion is over",
)
_OF_PORT: Final = _Words(
    "the server's next look", "The server looks for the run by itself", "no server runs", "the run is over at Port", ""
)
_WHAT_TO_DO: Final = {
    State.RESERVED: "Nothing was sent. If {over}, there is nothing to do; otherwise {goes_on} sends it.",
    State.SENDING: (
        "A request to GitHub may be in flight. Wait: the process that sends it records GitHub's answer; if that "
        "process is gone, {goes_on} notices it. " + _NEVER_DELETE
    ),
    State.UNKNOWN: (
        "GitHub's answer was lost, so a run may or may not exist. The step is not sent again. {looks}; if {left}, "
        "check {page} yourself. " + _NEVER_DELETE
    ),
    State.ACCEPTED_WITHOUT_ID: (
        "GitHub accepted the dispatch and named no run. {looks}; if {left}, check {page} yourself. " + _NEVER_DELETE
    ),
    State.ACCEPTED: "Nothing. The run is known; follow it at {run}.",
    State.REJECTED: (
        "Nothing was dispatched, and this step will not be sent. Fix the cause given as the reason, and {anew}."
    ),
    State.AMBIGUOUS: (
        "Check the candidates: one of them may be this step's run. The step is not sent again. Only if none of them is "
        "its run, {anew}."
    ),
    State.UNRESOLVED: "Check {page} for a late run; the step is not sent again. If there is none, {anew}.",
}
_CERTAIN: Final = {
    State.AMBIGUOUS: " {certain} prevents this.",
    State.UNRESOLVED: " With {certain}, a late run is still found.",
}
_ABOUT_A_CANCEL: Final = (
    "Nothing. This {step} has dispatched nothing. While {goes_on}, do not delete this record: it keeps the {step} from "
    "cancelling a later attempt of the run."
)
_HEAD: Final = ("KEY", "STATE", "REPO", "WORKFLOW", "REF", "RUN", "AGE", "PROJECT", "PROMOTION", "ALIAS")


class NoSuchRecord(StepError):
    """No record matches, or several do."""


def wanted(
    now: float,
    *,
    project: str | None = None,
    state: str | None = None,
    open_only: bool = False,
    stuck_only: bool = False,
    since: float | None = None,
) -> Query:
    """Which records to list.

    :param since: seconds since the epoch.
    :param open_only: not over, or a report is owed.
    :param stuck_only: sent `STUCK_AFTER` ago and not over: as the alarm GhaStepRecordsStuck counts.
    :raises NoSuchRecord: there is no such state.
    """
    if state not in (None, *State, CANCEL):
        raise NoSuchRecord(f"{quoted(state)} is not a state; the states are {', '.join((*State, CANCEL))}")
    of_cancel: tuple[str, bool] | None = None
    states = frozenset(State) if state is None else frozenset({State.REJECTED if state == CANCEL else State(state)})
    if state in (CANCEL, State.REJECTED):
        of_cancel = CANCEL_KIND, state == CANCEL
    query = Query(project, states, since=since, workflow=of_cancel)
    if stuck_only:
        return query._replace(states=states & OPEN, before=now - STUCK_AFTER)
    return query._replace(states=states - FINAL, owing=states & FINAL) if open_only else query


def moment(text: str, now: float) -> float:
    """When that was, seconds since the epoch: so long ago, or a date or time; UTC where it names no zone.

    :raises NoSuchRecord: it is neither.
    """
    with suppress(ValueError):
        return now - parse_duration(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise NoSuchRecord(
            f"--since: {quoted(text)} is not a time; write 90m, 24h, 2027-01-31 or 2027-01-31T12:00:00Z"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def listed(records: Iterable[Record], now: float, *, as_json: bool) -> Iterator[str]:
    """A table, or a JSON array, piece by piece: there may be hundreds of thousands."""
    return _array(records, now) if as_json else _table(records, now)


def _array(records: Iterable[Record], now: float) -> Iterator[str]:
    before = "["
    for record in records:
        yield f"{before}\n{indent(to_json(_as_json(record, now)), '  ')}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _table(records: Iterable[Record], now: float) -> Iterator[str]:
    """One line per record."""
    rows = (_row(record, now) for record in records)
    page = [_HEAD, *islice(rows, ALIGNED)]
    if len(page) == 1:
        yield "no records\n"
        return
    while page:
        widths = [max(len(row[column]) for row in page) for column in range(len(_HEAD))]
        lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in page)
        yield "".join(f"{line.rstrip()}\n" for line in lines)
        page = list(islice(rows, ALIGNED))


def shown(records: Sequence[Record], which: str, now: float, *, as_json: bool) -> str:
    """One record, by its run or key; or those of a Promotion: as text, or as a JSON object or array.

    :raises NoSuchRecord: there is none, or a key's beginning is that of more than one.
    """
    by_key = [record for record in records if record.said_key == which]
    several = [record for record in records if record.promotion == which] or (by_key if len(by_key) > 1 else [])
    if not several:
        of_run = [record for record in records if str(_run_of(record)) == which]
        by_run = [record for record in of_run if record.run is not None] or of_run
        one = next((these for these in (by_key, by_run) if len(these) == 1), None) or [found(records, which)]
        return to_json(_as_json(one[0], now)) if as_json else describe(one[0], now)
    if as_json:
        return to_json([_as_json(record, now) for record in several])
    return "\n\n".join(describe(record, now) for record in several)


def found(records: Iterable[Record], prefix: str) -> Record:
    """The one whose key begins so.

    :raises NoSuchRecord: there is none, or more than one.
    """
    meant = [record for record in records if record.key.startswith(prefix.lower())]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        raise NoSuchRecord(
            f"{quoted(prefix)} matches no record's key, --key, Promotion or run ID; `gha-step ledger list` shows all "
            "records"
        )
    keys = ", ".join(record.key[: max(SHOWN_OF_A_KEY, len(prefix) + 4)] for record in meant[:5])
    raise NoSuchRecord(f"the keys of {len(meant)} records begin with {quoted(prefix)}; write more characters: {keys}")


def _row(record: Record, now: float) -> tuple[str, ...]:
    target = record.target
    cells = (
        record.key[:SHOWN_OF_A_KEY], state_of(record), target.repo or "-", target.workflow or "-", target.ref or "-",
        str(_run_of(record)),
        age(now - record.created_at), record.project, record.promotion or "-", record.alias,
    )  # fmt: skip
    return tuple(_printable(cell) for cell in cells)


def state_of(record: Record) -> str:
    """What is shown as its state."""
    return CANCEL if cancels(record) is not None else record.state


def _run_of(record: Record) -> int | Literal["-"]:
    """The run that it has dispatched or cancels."""
    cancelled = cancels(record)
    return cancelled.run_id if cancelled is not None else record.run.id if record.run is not None else "-"


def describe(record: Record, now: float) -> str:
    """All that is known of one record, and what to do."""
    target, run = record.target, record.run
    facts: list[tuple[str, str | None]] = [
        ("key", record.key),
        ("state", state_of(record)),
        ("step", _step(record)),
    ]
    if (cancelled := cancels(record)) is not None:
        facts += [
            ("cancels", f"attempt {cancelled.attempt} of run {cancelled.run_id} of {target.repo}, {target.api_base}"),
            ("made", _moment(record.created_at, now)),
            ("asked by", str(record.asked or "")),
            ("what to do", what_to_do(record)),
        ]
        return _lines(facts)
    facts += [
        ("dispatch", ", ".join(part for part in (str(target), target.api_base) if part)),
        ("made", _moment(record.created_at, now)),
        ("asked by", str(record.asked or "")),
        ("sent", _moment(record.sending_at, now)),
        ("sent by", _process(record.owner)),
        ("answer lost", _moment(record.lost_at, now)),
        ("accepted", _moment(record.answered_date, now)),
        ("in trouble", _moment(record.trouble_since, now)),
        ("run", f"{run.id}, known by {run.source}, {run.url}" if run else None),
        ("reason", record.reason),
        ("report", _report(record.report)),
        ("on abort", _abort(record, now)),
        ("marker", record.marker),
        ("listings", str(record.listings) if record.listings else None),
        *(("seen", f"{seen.id}, {seen.url}") for seen in record.seen if not record.final),
        *(("candidate", f"{candidate.id}, {candidate.url}") for candidate in record.candidates),
        ("version", str(record.version)),
    ]
    told = tell(record, note=None)
    facts += [("host is told", f"{told.status}: {told.message}"), ("what to do", what_to_do(record))]
    return _lines(facts)


def _lines(facts: Iterable[tuple[str, str | None]]) -> str:
    return "\n".join(f"{name + ':':12} {_printable(fact)}" for name, fact in facts if fact)


def what_to_do(record: Record) -> str:
    """In plain words, by its state."""
    if cancels(record) is not None:
        if record.said_key is None:
            return _ABOUT_A_CANCEL.format(step="step", goes_on="its promotion goes on")
        goes_on = f"you may repeat the command with {_flag_of(record)}"
        return _ABOUT_A_CANCEL.format(step="command", goes_on=goes_on)
    words = _words(record)
    text = _WHAT_TO_DO[record.state] + (_CERTAIN.get(record.state, "") if words.certain else "")
    run = record.run and record.run.url
    return text.format(page=workflow_page(record), run=run, anew=anew(record), **words._asdict())


def _words(record: Record) -> _Words:
    if record.said_key is None:
        return _OF_KARGO if record.report is None else _OF_PORT
    same = f"the same command with {_flag_of(record)}"
    looks = f"T{same[1:]} looks for the run"
    return _Words(same, looks, "do not repeat it", "do not repeat it", "--correlation-input")


def _flag_of(record: Record) -> str:
    from shlex import quote

    return f"--key {quote(record.alias)}"


def _step(record: Record) -> str:
    if record.said_key is not None:
        return f"`gha-step run` with {_flag_of(record)}, project {record.project}"
    if record.report is not None:
        return f"{record.report.kind} {record.report.id} of Port, project {record.project}"
    promotion = f" of promotion {record.promotion}" if record.promotion else ""
    return f"{record.alias}{promotion}, project {record.project}"


def _as_json(record: Record, now: float) -> dict[str, Any]:
    """A record for programs: what is stored, its age in seconds, and what to do."""
    stored = record.model_dump(mode="json", exclude_none=True)
    names: dict[str, Any] = {"project": record.project, "alias": record.alias}
    if record.asked is not None:
        names["asked"] = asdict(record.asked)
    if (cancelled := cancels(record)) is not None:
        names["cancels"] = {"run": cancelled.run_id, "attempt": cancelled.attempt}
    return {**stored, **names, "age": round(max(0.0, now - record.created_at), 3), "what_to_do": what_to_do(record)}


def to_json(value: object) -> str:
    """On several lines, for people as well."""
    return json.dumps(value, indent=2)


def age(seconds: float) -> str:
    """As kubectl writes it: 5s, 3m, 2h, 4d."""
    for unit, size, most in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{max(0, int(seconds)) // size}{unit}"
    return f"{int(seconds) // 86_400}d"


def _report(report: Report | None) -> str | None:
    if report is None:
        return None
    left = ["the claim is not acknowledged yet"] if report.ack == "open" else []
    if not report.closed:
        left += ["its link is not reported yet"] if not report.linked else []
        left += ["its end is not reported yet"] if report.wanted else []
    still = "; ".join(left) or "to be closed"
    return f"{report.kind} {report.id} of Port, by {report.via}: {'closed' if report.closed else still}"


_OUTCOMES: Final[dict[Outcome, str]] = {
    "succeeded": "the Promotion Succeeded, and the run was left alone",
    "cancelled": "the run was cancelled",
    "force-cancelled": "the run was cancelled, and force-cancelled",
    "ended": "the run had ended before",
    "another-attempt": "another attempt of the run was started later, and was left alone",
    "not-dispatched": "nothing was dispatched",
    "unknown-run": "the run was left alone, because it is not known for certain: look at it yourself",
    "given-up": "the run could not be cancelled (the log says why): look at it yourself",
}


def _abort(record: Record, now: float) -> str | None:
    """What becomes, or became, of cancelOnAbort."""
    duty = record.abort
    if duty is None:
        return None
    words = []
    if duty.end is not None:
        words.append(f"the Promotion was seen {duty.end} at {_moment(duty.ended, now)}")
    if duty.attempt is not None:
        words.append(f"attempt {duty.attempt} of the run was current then")
    if duty.asked is not None:
        words.append(f"GitHub accepted the cancel at {_moment(duty.asked, now)}")
    if duty.outcome is not None:
        words.append(_OUTCOMES[duty.outcome])
    elif duty.end is not None:
        words.append("the run still has to be cancelled")
    elif record.held:
        words.append("a follower watches the Promotion, and cancels the run if it ends without success")
    else:
        words.append(
            "only the process that dispatched it watches the Promotion, while it runs, and cancels the run if "
            "the Promotion ends without success"
        )
    return "; ".join(words)


def _moment(at: float | None, now: float) -> str | None:
    if at is None:
        return None
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC, {age(now - at)} ago"


def _process(owner: Owner | None) -> str | None:
    if owner is None:
        return None
    return f"process {owner.incarnation}" + (f" in pod {owner.pod}" if owner.pod else "")


def _printable(text: str) -> str:
    """What a terminal does not take for a command."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
