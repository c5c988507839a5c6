"""What operators see: metrics in Prometheus' form and structured logs on stderr. It decides nothing."""

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gha_step.contract.errors import StepError

log: Final = logging.getLogger("gha_step")

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Telemetry:
    """The metrics of one server."""

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
        self._rate_limits = _Budgets()
        self.registry.register(self._rate_limits)
        self._contradicted = self._counter(
            "contradicted_runs", "Run IDs that GitHub's own late answer replaced. Alarm on any."
        )

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"gha_step_{name}", about, labels, registry=self.registry)

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

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Budgets(Collector):
    """The lowest since somebody last asked: tokens have budgets of their own, and a metric names no token."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lowest: dict[str, float] = {}

    def saw(self, host: str, share: float) -> None:
        with self._lock:
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
    """Every line names its subject, be it an empty one: log queries can rely on it."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name in _FIELDS:
            if not hasattr(record, name):
                setattr(record, name, "")
        return True


class _OneLine(logging.Formatter):
    """Text whose first line cannot be broken or forged by a name in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        line = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def configure_logging(level: str, form: str) -> None:
    """Structured logs on stderr, as JSON or as text; other libraries' from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        from pythonjsonlogger.json import JsonFormatter

        handler.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}" + "".join(f"{{{name}}}" for name in _FIELDS),
                style="{",
                rename_fields={"levelname": "level", "name": "logger"},
                timestamp="time",
            )
        )
    else:
        words = " ".join(f"{name}=%({name})s" for name in _FIELDS)
        handler.setFormatter(_OneLine(f"%(asctime)s %(levelname)s %(message)s {words}"))
    handler.addFilter(_SubjectFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())


def subject(parts: tuple[str, ...], promotion: str, run: int | None = None) -> dict[str, Any]:
    """The fields that tell whose line it is, for ``extra=``."""
    return {"project": parts[0], "promotion": promotion, "alias": parts[-1], "run": run or ""}
