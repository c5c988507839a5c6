"""The metrics of Port's ways in. It decides nothing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX: Final = "gha_step_portio"
MESSAGES: Final = ("recorded", "foreign", "dropped", "unusable", "wrong_signature")
CLAIMS: Final = ("new", "again", "empty", "error")


class PortMetrics:
    """One server's. A counter begins at 0 for every label value that is known beforehand."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = self._counter("requests", "Requests to Port.", "route", "result")
        self._claims = self._counter("claims", "Claims, by what they brought.", "result")
        self._messages = self._counter("messages", "Messages of the topic, once they are decided.", "result")
        self._differ = self._counter("ends_differ", "Runs that ended at Port otherwise than at GitHub.")
        self._refused = self._gauge("refused", "1 while Port refuses this way in.", "way")
        for result in CLAIMS:
            self._claims.labels(result)
        for result in MESSAGES:
            self._messages.labels(result)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", about, labels, registry=self._registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", about, labels, registry=self._registry)

    def request(self, route: str, result: str) -> None:
        """A request to Port ended: with an HTTP status, or with `unreachable` or `lost`."""
        self._requests.labels(route, result).inc()

    def claim(self, result: str) -> None:
        """A claim was answered, or not: one of `CLAIMS`."""
        self._claims.labels(result).inc()

    def message(self, result: str) -> None:
        """A message was decided: one of `MESSAGES`."""
        self._messages.labels(result).inc()

    def ends_differ(self) -> None:
        """Port and GitHub tell two different ends of one run."""
        self._differ.inc()

    def watch_refused(self, way: str, refused: Callable[[], bool]) -> None:
        """Show whether Port refuses a way in."""
        self._refused.labels(way).set_function(refused)

    def watch_places(self, free: Callable[[], int]) -> None:
        """Show how many places are free."""
        self._gauge("places_free", "Places for runs that are free.").set_function(free)

    def watch_partitions(self, paused: Callable[[], int]) -> None:
        """Show how many partitions wait for a right signature."""
        self._gauge("paused_partitions", "Partitions that wait for a message with a right signature.").set_function(
            paused
        )

    def watch_duties(
        self,
        standing: Callable[[], Mapping[str, tuple[int, float | None]]],
        leads: Callable[[], bool],
        failing_since: Callable[[], float | None],
    ) -> None:
        """Show what is owed, by the process that works it off."""
        self._gauge("follower", "1 where reports are worked off, 0 where another process does it.").set_function(leads)
        self._registry.register(_Duties(standing, failing_since))


class _Duties(Collector):
    def __init__(
        self,
        standing: Callable[[], Mapping[str, tuple[int, float | None]]],
        failing_since: Callable[[], float | None],
    ) -> None:
        self._standing = standing
        self._failing_since = failing_since

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            f"{PREFIX}_duties", "Reports that Port is owed, by their records' state.", labels=["state"]
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_oldest_duty_timestamp_seconds", "When the oldest record that owes a report was made."
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_failing_duty_timestamp_seconds", "When the step began to fail that has failed for longest."
        )

    def collect(self) -> Iterator[Metric]:
        duties, oldest, failing = self.describe()
        standing = self._standing()
        for state, (count, _) in standing.items():
            duties.add_metric([state], count)  # type: ignore[attr-defined]
        made = [since for _, since in standing.values() if since is not None]
        if made:
            oldest.add_metric([], min(made))  # type: ignore[attr-defined]
        if (since := self._failing_since()) is not None:
            failing.add_metric([], since)  # type: ignore[attr-defined]
        yield duties
        yield oldest
        yield failing
