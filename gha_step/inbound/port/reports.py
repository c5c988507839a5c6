"""What Port is told of a dispatch: bodies of PATCHes and log lines, for action runs and workflow nodes. Pure.

What a workflow has told Port itself (a link that is not ours, a summary, keys of a node's output) stays as it is: our
words then go into the log only. It does not know when something is told, or whether Port took it.

Source: port.md rule 5; facts/port.md 3 and 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gha_step.contract.json_text import parse_json
from gha_step.github.messages import LONGEST_LINK, text
from gha_step.github.runs import FINE, ObservedJob, ObservedRun
from gha_step.inbound.port.wire_json import MOST_VALUES
from gha_step.steps.wait.snapshot import Outputs

LONGEST_SUMMARY: Final = 64 << 10  # bytes
LONGEST_LINE: Final = 8 << 10  # bytes of a log line
MOST_LINKS: Final = 3  # on a node
KEPT_LINKS: Final = 10  # of a run, and LONGEST_LINK characters of each: they are kept as long as it is followed
KEPT_OUTPUT: Final = 64 << 10  # bytes of the answer that holds it: a larger one stays at Port as it is
QUEUED: Final = "queued"
IN_PROGRESS: Final = "in progress"
WAITING: Final = "waiting in GitHub"
NOT_DISPATCHED: Final = "not dispatched"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class RunAtPort:
    """An action run as Port shows it."""

    status: str
    links: tuple[str, ...] = ()
    summary: str = ""
    updated_by: str = ""
    ended_at: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing about it can be changed any more. A status that Port invents has not ended."""
        return self.status in ("SUCCESS", "FAILURE") or bool(self.ended_at)

    @property
    def by_a_person(self) -> bool:
        """Whether a person changed it last: people stand as `provider|ID`, machines as their client ID."""
        return "|" in self.updated_by


@dataclass(frozen=True)
class NodeAtPort:
    """A node run as Port shows it. ``output``: ``None`` where it is too large to be kept."""

    status: str
    links: tuple[str, ...] = ()
    output: Mapping[str, Any] | None = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing about it can be changed any more."""
        return self.status == "COMPLETED"


AtPort = RunAtPort | NodeAtPort


@dataclass(frozen=True)
class Line:
    """A log line. ``label``: the run's status label, which travels on it (an action run's only)."""

    message: str
    label: str | None = None
    level: Literal["INFO", "ERROR"] = "INFO"


@dataclass(frozen=True)
class End:
    """How a run's report ends: one log line, then one PATCH."""

    line: Line
    patch: dict[str, Any]


def run_at_port(body: bytes) -> RunAtPort:
    """An action run in a 200. :raises ValueError: it is none."""
    run = _object(_object(parse_json(body, most=MOST_VALUES)).get("run"))
    link = run.get("link")
    return RunAtPort(
        status=text(run.get("status")),
        links=_strings(link if isinstance(link, list) else [link]),
        summary=text(run.get("summary")),
        updated_by=text(run.get("updatedBy")),
        ended_at=text(run.get("endedAt")),
    )


def node_at_port(body: bytes) -> NodeAtPort | None:
    """The one node run of a listing by external ID; ``None``: it lists none. :raises ValueError: it is no listing."""
    runs = _object(parse_json(body, most=MOST_VALUES)).get("runs")
    if not isinstance(runs, list):
        raise ValueError("no list of node runs")  # noqa: TRY004  the answer is odd, not a caller's type
    if not runs:
        return None
    node = _object(runs[0])
    links, output = node.get("links"), node.get("output")
    return NodeAtPort(
        status=text(node.get("status")),
        links=_strings(links if isinstance(links, list) else []),
        output=None if len(body) > KEPT_OUTPUT else output if isinstance(output, dict) else {},
    )


def link_patch(seen: AtPort, page: str, external_id: str | None) -> dict[str, Any]:
    """The PATCH that says which run it is; a link that the workflow has set stands. Empty: there is nothing to say."""
    said: dict[str, Any] = {} if external_id is None else {"externalRunId": external_id}
    if isinstance(seen, NodeAtPort):
        whole = all(len(link) < LONGEST_LINK for link in seen.links)  # else they cannot be told back as they are
        if page not in seen.links and len(seen.links) < MOST_LINKS and whole:
            said["links"] = [*seen.links, page]
    elif not seen.links:
        said["link"] = page
    return said


def label_of(run: ObservedRun) -> str:
    """A running workflow's label, as Port shows it beside the run."""
    match run.status:
        case "waiting":
            return WAITING
        case "requested" | "queued" | "pending":
            return QUEUED
        case _:
            return IN_PROGRESS


def dispatched(page: str, run: ObservedRun | None) -> Line:
    """The line with the link, and the first label where it is known."""
    return Line(f"Workflow dispatched: {page}", None if run is None else label_of(run))


def progress(run: ObservedRun, environments: Sequence[str] = ()) -> Line:
    """The line of another label."""
    label = label_of(run)
    if label == WAITING and environments:
        where = f"Workflow is waiting in GitHub for environment {', '.join(environments)}"
        return Line(_cut(where, LONGEST_LINE), label)
    return Line(f"Workflow is {label}", label)


def ended(
    seen: AtPort,
    run: ObservedRun,
    jobs: Sequence[ObservedJob],
    more_jobs: int = 0,
    *,
    wanted: bool,
    outputs: Outputs | None = None,
) -> End:
    """What is told once the workflow has ended. ``jobs``: those that failed. Without ``wanted`` the line alone.

    :param outputs: what the workflow has uploaded for later nodes, or why that cannot be used.
    """
    conclusion = run.conclusion or ""
    words = conclusion.replace("_", " ")
    if conclusion == "cancelled" and not any(job.began for job in jobs):
        jobs, more_jobs = (), 0  # none can tell why
    why = "" if conclusion in FINE else _why(run, jobs)
    about = "" if outputs is None or outputs.missing else outputs.problem or outputs.note
    line = Line(_cut(f"Workflow ended: {words}{why} ({run.url}){about and f'; outputs: {about}'}", LONGEST_LINE))
    if not wanted:
        return End(line, {})
    if isinstance(seen, NodeAtPort):
        own = {"workflowRunUrl": run.url, "workflowRunId": run.url.rsplit("/", 1)[-1], "conclusion": conclusion}
        if outputs is not None and outputs.json:
            own["outputs"] = parse_json(outputs.json)
        result = "SUCCESS" if conclusion in FINE else "CANCELLED" if conclusion == "cancelled" else "FAILED"
        output = {} if seen.output is None else {"output": {**own, **seen.output}}
        return End(line, {**_node_end(result, words), **output})
    return End(line, _run_end(seen, status_of(conclusion), words, _summary(run, words, why, jobs, more_jobs)))


def not_dispatched(seen: AtPort, message: str) -> End:
    """What is told of a run for which nothing was sent."""
    line = Line(_cut(f"Not dispatched: {message}", LONGEST_LINE), level="ERROR")
    if isinstance(seen, NodeAtPort):
        return End(line, _node_end("FAILED", NOT_DISPATCHED))
    return End(line, _run_end(seen, "FAILURE", NOT_DISPATCHED, line.message))


def unknown(page: str, candidates: Sequence[str]) -> Line:
    """What is told at once where nobody can know whether the workflow was dispatched, or which run it is."""
    which = f"; candidates: {', '.join(candidates)}" if candidates else ""
    words = f"The workflow may have been dispatched, and is not dispatched again. Look at {page}{which}"
    return Line(_cut(words, LONGEST_LINE), UNKNOWN, "ERROR")


def unknown_end(seen: AtPort, line: Line) -> End:
    """The end of such a run. ``line``: what was told at once."""
    if isinstance(seen, NodeAtPort):
        return End(line, _node_end("FAILED", UNKNOWN))
    return End(line, _run_end(seen, "FAILURE", UNKNOWN, line.message))


def line_body(line: Line, *, node: bool) -> dict[str, Any]:
    """A log line as the route takes it. A node's label goes by PATCH, not on its lines."""
    if node:
        return {"logs": [{"level": line.level, "message": line.message}]}
    return {"message": line.message} if line.label is None else {"message": line.message, "statusLabel": line.label}


def status_alone(patch: Mapping[str, Any]) -> dict[str, Any]:
    """The PATCH of an end without what Port may have refused in it."""
    return {key: patch[key] for key in ("status", "result") if key in patch}


def status_of(conclusion: str) -> str:
    """A conclusion as the status of an action run."""
    return "SUCCESS" if conclusion in FINE else "FAILURE"


def _run_end(seen: RunAtPort, status: str, label: str, summary: str) -> dict[str, Any]:
    patch = {"status": status, "statusLabel": label}
    return patch if seen.summary else {**patch, "summary": _cut(summary, LONGEST_SUMMARY)}


def _node_end(result: str, label: str) -> dict[str, Any]:
    return {"status": "COMPLETED", "result": result, "statusLabel": {"text": label}}


def _why(run: ObservedRun, jobs: Sequence[ObservedJob]) -> str:
    if run.conclusion == "cancelled" and not jobs:
        return (
            ", before a job began: by a newer run of its concurrency group, or a person (with `queue: max` in the "
            "workflow's concurrency the runs wait for their turn)"
        )
    if jobs:
        return f": {_job(jobs[0])}" + (f", and {len(jobs) - 1} more" if len(jobs) > 1 else "")
    return f": {run.meaning.words}" if run.meaning.words else ""


def _job(job: ObservedJob) -> str:
    step = f" in its step {job.failed_step!r}" if job.failed_step else ""
    errors = "".join(f": {error}" for error in job.annotations[:1])
    return f"job {job.name!r} ended with {(job.conclusion or 'nothing').replace('_', ' ')}{step}{errors}"


def _summary(run: ObservedRun, words: str, why: str, jobs: Sequence[ObservedJob], more: int) -> str:
    """Markdown: the end, the link, and the failed jobs, as many as fit."""
    head = f"Workflow ended: {words}{'' if jobs else why}. [Run]({run.url})"
    lines: list[str] = []
    room = LONGEST_SUMMARY - len(head.encode()) - 100  # for the line that says how many more there are
    for job in jobs:
        line = f"- {_job(job)}" + (f": [job]({job.url})" if job.url else "")
        room -= len(line.encode()) + 1
        if room < 0:
            break
        lines.append(line)
    if left := len(jobs) - len(lines) + more:
        lines.append(f"- and {left} more")
    return "\n".join([head, *([""] if lines else []), *lines])


def _cut(text: str, bytes_at_most: int) -> str:
    raw = text.encode()
    return text if len(raw) <= bytes_at_most else raw[: bytes_at_most - 3].decode(errors="ignore") + "…"


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004  the answer is odd, not a caller's type
    return value


def _strings(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(value[:LONGEST_LINK] for value in values[:KEPT_LINKS] if isinstance(value, str) and value)
