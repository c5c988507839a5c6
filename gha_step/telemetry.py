"""What operators see: metrics in Prometheus' form and structured logs on stderr. It decides nothing."""

import json
import logging
import platform
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gha_step import __version__
from gha_step.contract.errors import StepError
from gha_step.contract.result import Status

log: Final = logging.getLogger("gha_step")

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
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
MOST_HOSTS: Final = 32
OTHER: Final = "other"


class Telemetry:
    """The metrics of one server. A counter begins at 0 for every label value that is known beforehand.

    Where it began with its first event, `increase()` would miss that one: it sees no change from nothing to 1.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._steps = self._counter("steps", "Answers to step calls.", "kind", "status")
        self._step_seconds = self._histogram("step_seconds", "Time to answer a step call.", "kind")
        self._dispatches = self._counter("dispatches", "Dispatches by the state they reached.", "outcome")
        self._requests = self._counter("github_requests", "Requests to GitHub.", "request", "status")
        self._request_seconds = self._histogram("github_request_seconds", "Time of one request.", "request")
        self._project_requests = self._counter(
            "project_requests", "Requests to the REST resource of projects, by HTTP status.", "resource", "status"
        )
        self._refused_callers = self._counter("refused_callers", "Calls without the right token.", "wire")
        self._deliveries = self._counter(
            "github_webhook_deliveries", "Deliveries of GitHub's webhook, by what came of them.", "result"
        )
        self._rate_limits = _Budgets()
        self.registry.register(self._rate_limits)
        self._contradicted = self._counter(
            "contradicted_runs", "Run IDs that GitHub's own late answer replaced. Alarm on any."
        )
        self._gauge("build_info", "Always 1; the labels say what runs.", "version", "python").labels(
            __version__, platform.python_version()
        ).set(1)
        for wire in WIRES:
            self._refused_callers.labels(wire)
        for request, unanswered in REQUESTS.items():
            self._request_seconds.labels(request)
            for status in (*GITHUB_STATUSES, unanswered):
                self._requests.labels(request, status)

    def expect(self, kinds: Iterable[str], outcomes: Iterable[str]) -> None:
        """Begin at 0 for the step kinds of this server, and for the states that a dispatch can reach."""
        for kind in (*kinds, UNKNOWN_KIND):
            self._step_seconds.labels(kind)
            for status in Status:
                self._steps.labels(kind, status)
        for outcome in outcomes:
            self._dispatches.labels(outcome)

    def expect_webhook(self) -> None:
        """Begin at 0 for deliveries of GitHub's webhook."""
        for result in DELIVERIES:
            self._deliveries.labels(result)

    def expect_resources(self, resources: Iterable[str]) -> None:
        """Begin at 0 for the resources that are served over REST."""
        for resource, status in product(resources, PROJECT_STATUSES):
            self._project_requests.labels(resource, status)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"gha_step_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"gha_step_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, *labels: str) -> Histogram:
        return Histogram(f"gha_step_{name}", about, labels, buckets=_SECONDS, registry=self.registry)

    def step(self, kind: str, status: str, seconds: float) -> None:
        """A call to a step was answered."""
        self._steps.labels(kind, status).inc()
        self._step_seconds.labels(kind).observe(seconds)

    def dispatch(self, outcome: str) -> None:
        """A dispatch reached a state: `sending`, or what came of it."""
        self._dispatches.labels(outcome).inc()

    def github_request(self, request: str, status: str, seconds: float) -> None:
        """A request to GitHub ended with an HTTP status, or with `error` or `unclear`."""
        self._requests.labels(request, status).inc()
        self._request_seconds.labels(request).observe(seconds)

    def project_request(self, resource: str, status: int) -> None:
        """A request to the REST resource was answered. ``resource``: dispatches, waits or none."""
        self._project_requests.labels(resource, str(status)).inc()

    def refused_caller(self, wire: str) -> None:
        """A call had no token, or a wrong one. ``wire``: one of `WIRES`."""
        self._refused_callers.labels(wire).inc()

    def webhook_delivery(self, result: str) -> None:
        """A delivery of GitHub's webhook was taken as a hint, ignored, or refused; see `DELIVERIES`."""
        self._deliveries.labels(result).inc()

    def github_budget(self, host: str, headers: Mapping[str, str]) -> None:
        """An answer came from GitHub; its headers, in lower case, tell what is left of its token's budget."""
        limit, remaining = (headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining"))
        if re.fullmatch(r"[1-9][0-9]{0,8}", limit) and re.fullmatch(r"[0-9]{1,9}", remaining):
            self._rate_limits.saw(host, int(remaining) / int(limit))

    def contradicted(self) -> None:
        """An attributed run ID turned out to be wrong."""
        self._contradicted.inc()

    def watch_ledger(self, census: Callable[[], Mapping[str, tuple[int, float | None]]]) -> None:
        """Show what stands in the ledger, asked whenever somebody asks.

        :param census: by state, how many records, and when the oldest was made: seconds since the epoch.
        """
        self.registry.register(_LedgerStates(census))

    def watch_readiness(self, ready: Callable[[], bool]) -> None:
        """Show whether the server takes calls, asked whenever somebody asks."""
        self._gauge("ready", "1 while the server takes calls, 0 while it starts or stops.").set_function(ready)

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Budgets(Collector):
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

    def describe(self) -> Iterator[Metric]:
        about = "What is left of GitHub's hourly budget, 0 to 1: of all tokens the least, since this was last asked."
        yield GaugeMetricFamily("gha_step_github_budget_ratio", about, labels=["host"])

    def collect(self) -> Iterator[Metric]:
        (family,) = self.describe()
        with self._lock:
            lowest, self._lowest = self._lowest, {}
        for host, share in lowest.items():
            family.add_metric([host], share)  # type: ignore[attr-defined]
        yield family


class _LedgerStates(Collector):
    def __init__(self, census: Callable[[], Mapping[str, tuple[int, float | None]]]) -> None:
        self._census = census
        self._told = ""

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("gha_step_ledger_records", "Ledger records by state.", labels=["state"])
        about = "When the oldest record in a state was made, in seconds since the epoch."
        yield GaugeMetricFamily("gha_step_ledger_oldest_record_timestamp_seconds", about, labels=["state"])

    def collect(self) -> Iterator[Metric]:
        records, made = self.describe()
        try:
            census = self._census()
        except StepError as error:  # the other metrics are needed most when the ledger is away
            if str(error) != self._told:  # and not again with every look
                log.warning("ledger records cannot be counted: %s", error)
            self._told = str(error)
            return
        self._told = ""
        for state, (count, oldest) in census.items():
            records.add_metric([state], count)  # type: ignore[attr-defined]
            if oldest is not None:
                made.add_metric([state], oldest)  # type: ignore[attr-defined]
        yield records
        yield made


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


class _JsonLine(logging.Formatter):
    """One JSON object a line. Libraries for it take four times as long, and each dispatch writes two lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= {name: getattr(record, name) for name in _FIELDS}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        line["time"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        return json.dumps(line, default=str)


def configure_logging(level: str, form: str) -> None:
    """Structured logs on stderr, as JSON or as text; other libraries' from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine() if form == "json" else _OneLine("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(_SubjectFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())


def subject(parts: tuple[str, ...], promotion: str, run: int | None = None) -> dict[str, Any]:
    """The fields that tell whose line it is, for ``extra=``."""
    return {"project": parts[0], "promotion": promotion, "alias": parts[-1], "run": run or ""}
