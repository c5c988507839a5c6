"""What operators see: metrics in Prometheus' format, and structured logs on stderr. It decides nothing."""

import json
import logging
import os
import platform
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from gha_step import __version__
from gha_step.contract.errors import StepError
from gha_step.contract.json_text import one_shot
from gha_step.contract.result import Status
from gha_step.metrics import Counts, Labels, Level, Times

log: Final = logging.getLogger("gha_step")

UNKNOWN_KIND: Final = "unknown"  # a call of a step kind that is not served here
REQUESTS: Final = {  # to GitHub, and the word for one that gets no answer
    "dispatch": "unclear",
    **dict.fromkeys(
        ("runs", "run", "jobs", "pending_deployments", "repository", "app_token", "app_installation", "cancel"), "error"
    ),
}
GITHUB_STATUSES: Final = (
    *("200", "201", "204", "304"),
    *("400", "401", "403", "404", "422", "429"),
    *("500", "502", "503", "504"),
)
PROJECT_STATUSES: Final = ("200", "401", "404", "413", "500", "503")
WIRES: Final = ("http", "grpc", "rest")
DELIVERIES: Final = ("hint", "ignored", "forged", "refused")
REFRESHES: Final = ("done", "unneeded", "failed")
MOST_HOSTS: Final = 32
PIECE: Final = 4096  # bytes: a pipe that can be written to takes so many at once
PATIENCE: Final = 0.2  # seconds for a reader of the log that is slow for a moment
OTHER: Final = "other"


class Telemetry:
    """The metrics of one server. A counter begins at 0 for every label value that is known beforehand.

    Where it began with its first event, `increase()` would miss that one: it sees no change from nothing to 1.
    """

    def __init__(self) -> None:
        self._steps = Counts("steps", "Answers to step calls.", "kind", "status")
        self._step_seconds = Times("step_seconds", "Time to answer a step call.", "kind")
        self._requests = Counts("github_requests", "Requests to GitHub.", "request", "status")
        self._request_seconds = Times("github_request_seconds", "Time of one request.", "request")
        self.dispatches = Counts("dispatches", "Dispatches by the state they reached.", "outcome")
        about = "Requests to the REST resource of projects, by HTTP status."
        self.project_requests = Counts("project_requests", about, "resource", "status")
        self.refused_callers = Counts("refused_callers", "Calls without the right token.", "wire")
        self.malformed_calls = Counts("malformed_calls", "Calls that cannot be executed.", "wire")
        about = "Deliveries of GitHub's webhook, by result."
        self.deliveries = Counts("github_webhook_deliveries", about, "result")
        about = "Results of cancelOnAbort after the promotion ended."
        self.aborts = Counts("cancel_on_abort", about, "outcome")
        about = "Promotions to refresh after a delivery of the webhook, by result."
        self.refreshes = Counts("promotion_refreshes", about, "result")
        about = "Run IDs that GitHub's own late answer replaced. Alarm on any."
        self.contradicted = Counts("contradicted_runs", about)
        self._rate_limits = _Budgets()
        self._more: list[Counts] = []
        self._levels: list[Callable[[], Iterable[Level]]] = [_build_info, self._rate_limits.levels]
        self.refused_callers.expect(WIRES)
        self.malformed_calls.expect(WIRES)
        self._request_seconds.expect(REQUESTS)
        for request, unanswered in REQUESTS.items():
            self._requests.expect([request], [*GITHUB_STATUSES, unanswered])

    def expect(self, kinds: Iterable[str], outcomes: Iterable[str]) -> None:
        """Begin at 0 for the step kinds of this server, and for the states that a dispatch can reach."""
        kinds = (*kinds, UNKNOWN_KIND)
        self._step_seconds.expect(kinds)
        self._steps.expect(kinds, Status)
        self.dispatches.expect(outcomes)

    def step(self, kind: str, status: str, seconds: float) -> None:
        """A call to a step was answered."""
        self._steps.add(kind, status)
        self._step_seconds.add(seconds, kind)

    def github_request(self, request: str, status: str, seconds: float) -> None:
        """A request to GitHub ended with an HTTP status, or with `error` or `unclear`."""
        self._requests.add(request, _bounded(status))
        self._request_seconds.add(seconds, request)

    def github_budget(self, host: str, headers: Mapping[str, str]) -> None:
        """An answer came from GitHub; its headers, in lower case, tell what is left of its token's budget."""
        limit, remaining = (headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining"))
        if re.fullmatch(r"[1-9][0-9]{0,8}", limit) and re.fullmatch(r"[0-9]{1,9}", remaining):
            self._rate_limits.saw(host, int(remaining) / int(limit))

    def watch_aborts(self, owed: Callable[[], int]) -> None:
        """Show how many promotions are watched for cancelOnAbort, asked whenever somebody asks."""
        about = "Promotions watched for cancelOnAbort; 0 if another process watches them."
        self._levels.append(lambda: [Level("gha_step_cancel_on_abort_open", about, (), {(): owed()})])

    def watch_ledger(self, census: Callable[[], Mapping[str, tuple[int, float | None]]]) -> None:
        """Show what stands in the ledger, asked whenever somebody asks.

        :param census: by state, how many records, and when the oldest was made: seconds since the epoch.
        """
        self._levels.append(_LedgerStates(census).levels)

    def watch_readiness(self, ready: Callable[[], bool]) -> None:
        """Show whether the server takes calls, asked whenever somebody asks."""
        about = "1 while the server takes calls, 0 while it starts or stops."
        self._levels.append(lambda: [Level("gha_step_ready", about, (), {(): ready()})])

    def watch(self, counts: Iterable[Counts], levels: Callable[[], Iterable[Level]]) -> None:
        """Show these as well; the levels are asked for whenever somebody asks."""
        self._more += counts
        self._levels.append(levels)

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them."""
        from gha_step.exposition import exposition  # a tenth of a start, and only those pay who ask

        counts = (
            *(self._steps, self.dispatches, self._requests, self.project_requests, self.refused_callers),
            *(self.malformed_calls, self.deliveries, self.refreshes, self.contradicted, self.aborts),
            *self._more,
        )
        levels = (level for ask in self._levels for level in ask())
        return exposition(counts, (self._step_seconds, self._request_seconds), levels)


def _bounded(status: str) -> str:
    """A server may invent a thousand statuses: those that are not known beforehand are counted by their class."""
    return status if status in GITHUB_STATUSES or not status.isdigit() else f"{status[0]}xx"


def _build_info() -> Iterator[Level]:
    values = (__version__, platform.python_version())
    yield Level("gha_step_build_info", "Always 1; the labels have the versions.", ("version", "python"), {values: 1})


class _Budgets:
    """The lowest since somebody last asked: tokens have budgets of their own, and a metric names no token.

    Projects name hosts: only the first get a name of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lowest: dict[str, float] = {}
        self._hosts: set[str] = set()

    def saw(self, host: str, share: float) -> None:
        with self._lock:
            if len(self._hosts) < MOST_HOSTS:
                self._hosts.add(host)
            elif host not in self._hosts:
                host = OTHER
            self._lowest[host] = min(share, self._lowest.get(host, share))

    def levels(self) -> Iterator[Level]:
        with self._lock:
            lowest, self._lowest = self._lowest, {}
        about = "Remaining share of GitHub's hourly rate limit, 0 to 1: the lowest of all tokens since the last scrape."
        yield Level(
            "gha_step_github_budget_ratio", about, ("host",), {(host,): share for host, share in lowest.items()}
        )


class _LedgerStates:
    def __init__(self, census: Callable[[], Mapping[str, tuple[int, float | None]]]) -> None:
        self._census = census
        self._told = ""

    def levels(self) -> Iterator[Level]:
        try:
            census = self._census()
        except StepError as error:  # the other metrics are needed most when the ledger is away
            if str(error) != self._told:  # and not again with every look
                log.warning("ledger records cannot be counted: %s", error)
            self._told = str(error)
            return
        self._told = ""
        records: dict[Labels, float] = {(state,): count for state, (count, _) in census.items()}
        yield Level("gha_step_ledger_records", "Ledger records by state.", ("state",), records)
        about = "Creation time of the oldest record in each state, in seconds since the epoch."
        made: dict[Labels, float] = {(state,): oldest for state, (_, oldest) in census.items() if oldest is not None}
        yield Level("gha_step_ledger_oldest_record_timestamp_seconds", about, ("state",), made)


_FIELDS: Final = ("project", "promotion", "alias", "run")


class _SubjectFilter(logging.Filter):
    """Every line names its subject, even an empty one: log queries can rely on it."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name in _FIELDS:
            if not hasattr(record, name):
                setattr(record, name, "")
        return True


class _OneLine(logging.Formatter):
    """Text with the fields that are not empty, whose first line cannot be broken or forged by a name in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        fields = [f"{name}={value}" for name in _FIELDS if (value := getattr(record, name)) != ""]
        line = " ".join([super().formatMessage(record), *fields])
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


_ENCODE: Final = one_shot(json.JSONEncoder(default=str))


class _JsonLine(logging.Formatter):
    """One JSON object a line. Libraries for it take four times as long."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: getattr(record, name) for name in _FIELDS}
        if record.exc_info:
            fields["exc_info"] = self.formatException(record.exc_info)
        return _json_line(record.levelname, record.name, record.getMessage(), fields, record.created)


def _json_line(level: str, logger: str, message: str, fields: Mapping[str, Any], created: float) -> str:
    time_of_day = datetime.fromtimestamp(created, UTC).isoformat()
    return _ENCODE({"level": level, "logger": logger, "message": message, **fields, "time": time_of_day})


class _Stderr(logging.StreamHandler[TextIO]):
    """Lines that nobody takes off our hands are dropped and counted: whoever waited to write them would stand still."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._descriptor = _descriptor(stream)
        self._dropped = 0
        self._torn = False  # whether the last line was not written to its end

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._descriptor is None:  # a test's stream
                super().emit(record)
            else:
                self._offer(self._descriptor, lambda: self.format(record))
        except Exception:  # noqa: BLE001  as every handler of the library does
            self.handleError(record)

    def tell(self, level: int, message: str, fields: Mapping[str, Any]) -> bool:
        """Write a JSON line of ours without the library's record; whether that could be done."""
        if self._descriptor is None or not isinstance(self.formatter, _JsonLine):
            return False
        try:
            with self.lock:  # type: ignore[union-attr]  # which every handler has
                self._offer(
                    self._descriptor,
                    lambda: _json_line(logging.getLevelName(level), log.name, message, fields, time.time()),
                )
        except Exception:  # noqa: BLE001  whoever dispatches need not know of it: the library's way says what is wrong
            return False
        return True

    def _offer(self, descriptor: int, form: Callable[[], str]) -> None:
        if not _takes_some(descriptor, 0.0 if self._dropped else PATIENCE):
            self._dropped += 1
            return
        if lost := self._dropped:
            self._dropped = 0
            words = "%d log lines were lost, because nothing read stderr"
            told = logging.LogRecord(log.name, logging.WARNING, "", 0, words, (lost,), None)
            self.filter(told)
            self._write(descriptor, self.format(told), room=True)
        self._write(descriptor, form(), room=not lost)

    def _write(self, descriptor: int, text: str, *, room: bool) -> None:
        line = ("\n" if self._torn else "") + text + "\n"
        rest = line.encode(errors="backslashreplace")
        while rest and (room or _takes_some(descriptor, PATIENCE)):
            os.write(descriptor, rest[:PIECE])
            rest, room = rest[PIECE:], False
        self._torn = bool(rest)
        self._dropped += self._torn


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:
        return None


def _takes_some(descriptor: int, seconds: float) -> bool:
    """Whether `PIECE` can be written without waiting: a pipe says so only when it has room for so much."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def configure_logging(level: str, form: str) -> None:
    """Structured logs on stderr, as JSON or as text; other libraries' from warnings on."""
    # No line says where in the code it was written, nor by which thread; to find out takes a third of a line's time:
    # https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None  # noqa: SLF001  as that page says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _Stderr(sys.stderr)
    handler.setFormatter(_JsonLine() if form == "json" else _OneLine("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(_SubjectFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())


def tell(level: int, message: str, whose: Mapping[str, Any]) -> None:
    """``log.log(level, "%s", message, extra=whose)``, which takes four times as long: each dispatch has two such lines.

    Where anybody else listens, or looks at records, it is that.
    """
    if not log.isEnabledFor(level):
        return
    handlers = logging.root.handlers
    ours = handlers[0] if len(handlers) == 1 and not log.handlers and not log.filters else None
    if not (isinstance(ours, _Stderr) and ours.tell(level, message, whose)):
        log.log(level, "%s", message, extra=whose)


def subject(parts: tuple[str, ...], promotion: str, run: int | None = None) -> dict[str, Any]:
    """The fields that tell whose line it is, for ``extra=``."""
    return {"project": parts[0], "promotion": promotion, "alias": parts[-1], "run": run or ""}
