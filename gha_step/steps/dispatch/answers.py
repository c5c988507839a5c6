"""The answer to the host about a dispatch, from the record and what this process knows. Pure.

Source: ledger.md, "What the host is told". While a dispatch may still be sent the answer is `Running`. Every other
answer comes from a final record, except a certain run ID, which may be reported while it is being written.
"""

from typing import Final, NamedTuple

from gha_step.contract.result import Link, StepResult
from gha_step.ledger.duties import NOT_DISPATCHED
from gha_step.ledger.record import Record, Run, State
from gha_step.steps.dispatch.config import DispatchEvidence, DispatchOutput
from gha_step.steps.dispatch.request import DispatchRequest

HOLD_LIMIT: Final = 60.0  # seconds: the host is never told to wait longer
NAMED_RUNS: Final = 10  # in a message; the record has them all
LINK_LABEL: Final = "GitHub Actions run"

_HOW: Final = {
    "response": "",
    "marker": ", found by its marker in the run's name",
    "promotion-name": ", found by the promotion's name in the run's name",
    "only-candidate": ", the only run that can be this one",
    "host": ", from an earlier answer; the ledger's record is gone",
}


class Note(NamedTuple):
    """Why a step waits: what to tell, and when to ask again, in seconds.

    ``final``: waiting will not help; where nothing was sent, the step ends. ``queued``: GitHub can be reached, and
    its rate limit or another dispatch comes first; ``at_gate``: the latter.
    """

    message: str
    retry_after: float
    final: bool = False
    queued: bool = False
    at_gate: bool = False


def tell(
    record: Record,
    *,
    note: Note | None,
    exact: Run | None = None,
    request: DispatchRequest | None = None,
    problem: str | None = None,
    warning: str = "",
    diagnosis: str | None = None,
) -> StepResult:
    """The answer.

    :param note: what this process knows about why the step waits.
    :param exact: GitHub's own answer, if it is in hand and not yet written.
    :param request: what this call asks for, to be compared with what was dispatched.
    :param problem: why this call cannot say what it asks for: that changes nothing for what was sent before.
    :param diagnosis: why nothing was dispatched, in better words than the record's.
    :param warning: what could not be checked before sending.
    """
    run = exact or record.run
    changed = record.sent and request is not None and request.payload.inputs_hash != record.inputs_hash
    output = _output(record, run, changed)
    if record.final and record.sent and request is not None and not record.target.same_as(request.payload.target):
        return StepResult.failed(_another_target(record, request), output)
    also = f" {warning}" if warning else ""
    if changed:
        also += " The inputs of this call differ from those that were dispatched; nothing was sent again."
    elif problem is not None:
        also += f" This call itself could not have been carried out: {problem}."
    if run is not None:
        return StepResult.succeeded(f"run {run.id} of {record.target}{_HOW[run.source]}.{also}", output)
    if record.state is State.REJECTED:
        why = diagnosis or record.reason or ""
        return StepResult.failed(why if why.startswith(NOT_DISPATCHED) else f"nothing was dispatched: {why}", output)
    return _without_run(record, note, also, output)


def _without_run(record: Record, note: Note | None, also: str, output: DispatchOutput) -> StepResult:
    match record.state:
        case State.AMBIGUOUS:
            return StepResult.failed(_ambiguous(record) + also, output)
        case State.UNRESOLVED:
            return StepResult.failed(_unresolved(record) + also, output)
        case State.RESERVED:
            note = note or Note("the dispatch is being prepared", 2.0)
            if note.final:
                return StepResult.failed(f"nothing was dispatched: {note.message}", output)
            return StepResult.running(f"nothing dispatched yet: {note.message}", note.retry_after, output)
        case State.ACCEPTED_WITHOUT_ID:
            said = f"dispatched {record.target}; looking for the run"
        case _:
            said = f"{record.target} may have been dispatched; looking for the run"
    because = f" ({note.message})" if note else ""
    return StepResult.running(f"{said}{because}.{also}", note.retry_after if note else 2.0, output)


def _output(record: Record, run: Run | None, changed: bool) -> DispatchOutput:
    if not record.sent:
        return DispatchOutput()
    evidence = DispatchEvidence(record=record.key, target=record.target.hash)
    if run is None:
        return DispatchOutput(dispatch=evidence, inputs_changed=changed or None)
    return DispatchOutput(
        run_id=run.id,
        run_id_source=run.source,
        url=run.url,
        links=(Link(url=run.url, label=LINK_LABEL),),
        inputs_changed=changed or None,
        dispatch=evidence,
    )


def anew(record: Record) -> str:
    """What a person does who wants it dispatched once more."""
    if record.said_key is not None:
        return "use another --key"
    return "start a new promotion" if record.report is None else "run the action in Port again"


def workflow_page(record: Record) -> str:
    """Where a person sees the workflow's runs."""
    return f"{_actions(record)}/workflows/{record.target.workflow}"


def run_page(record: Record, run_id: int) -> str:
    """Where a person sees a run, where nobody has told its link."""
    return f"{_actions(record)}/runs/{run_id}"


def _actions(record: Record) -> str:
    web = record.target.api_base.removesuffix("/api/v3").replace("://api.", "://", 1)
    return f"{web}/{record.target.repo}/actions"


def _another_target(record: Record, request: DispatchRequest) -> str:
    where = f" ({record.run.url})" if record.run else ""
    return (
        f"this step has already dispatched {record.target}{where}; its config now names {request.workflow} on "
        f"{request.endpoint.base}. One step dispatches once: nothing was sent for the new one. "
        f"To dispatch it, {anew(record)}"
    )


def _advice(record: Record) -> str:
    if record.marker is None:
        said = "set correlationInput: gha_step in this step's config"
        return (
            "To be certain next time, let the workflow declare an input such as gha_step, show it with "
            "`run-name: Deploy ${{ inputs.gha_step }}`, and "
            f"{said if record.said_key is None else 'give --correlation-input gha_step'}"
        )
    named_by = "correlationInput" if record.said_key is None else "--correlation-input"
    return (
        f"No run's title shows this step's marker {record.marker}: the workflow must show the input that "
        f"{named_by} names, with the line `run-name: Deploy ${{{{ inputs.{record.marker_input} }}}}` at the top "
        f"of .github/workflows/{record.target.workflow}"
    )


def _ambiguous(record: Record) -> str:
    runs = ", ".join(candidate.url for candidate in record.candidates[:NAMED_RUNS])
    if (more := len(record.candidates) - NAMED_RUNS) > 0:
        runs += f", and {more} more on {workflow_page(record)}"
    certain = "was dispatched" if record.answered_date is not None else "may have been dispatched"
    return (
        f"{record.target} {certain}, but the run could not be identified ({record.reason}): {runs}. "
        f"It is not sent again. Look at these runs. {_advice(record)}."
    )


def _unresolved(record: Record) -> str:
    page = workflow_page(record)
    if record.answered_date is not None:
        return (
            f"{record.target} was accepted by GitHub, but no run was seen ({record.reason}). "
            f"It is not sent again. See {page} for a run that appears later. {_advice(record)}."
        )
    return (
        f"{record.target} may have been dispatched ({record.reason}). It is not sent again. See {page} to find out "
        f"whether it runs, and {anew(record)} if it does not. {_advice(record)}."
    )
