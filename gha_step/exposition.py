"""Metrics in Prometheus' text form, made by its own library when somebody asks. It counts nothing."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gha_step.metrics import Counts, Level, Times

_BOUNDS: Final = [*(str(float(bound)) for bound in Times.bounds), "+Inf"]


class _Shown(Collector):
    def __init__(self, counts: Iterable[Counts], times: Iterable[Times], levels: Iterable[Level]) -> None:
        self._counts = counts
        self._times = times
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        for counts in self._counts:
            counter = CounterMetricFamily(counts.name, counts.about, labels=counts.labels)
            for values, number in counts.numbers().items():
                counter.add_metric(values, number, created=counts.since)
            yield counter
        for times in self._times:
            histogram = HistogramMetricFamily(times.name, times.about, labels=times.labels)
            for values, (numbers, total) in times.numbers().items():
                histogram.add_metric(values, list(zip(_BOUNDS, accumulate(numbers), strict=True)), total)
                created = dict(zip(times.labels, values, strict=True))
                histogram.add_sample(f"{times.name}_created", created, times.since)
            yield histogram
        for level in self._levels:
            gauge = GaugeMetricFamily(level.name, level.about, labels=level.labels)
            for values, stands_at in level.numbers.items():
                gauge.add_metric(values, stands_at)
            yield gauge


def exposition(counts: Iterable[Counts], times: Iterable[Times], levels: Iterable[Level]) -> bytes:
    """All of them, as `/metrics` shows them."""
    return generate_latest(_Shown(counts, times, levels))
