"""Numbers by label values, as in Prometheus. It knows neither events nor the text format."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Final, NamedTuple, TypeAlias

Labels: TypeAlias = tuple[str, ...]


class _Family:
    """Numbers of one name."""

    def __init__(self, name: str, about: str, *labels: str) -> None:
        self.name = f"gha_step_{name}"
        self.about = about
        self.labels = labels
        self.since = time.time()
        self._lock = threading.Lock()


class Counts(_Family):
    """How often something happened, by the values of its labels."""

    def __init__(self, name: str, about: str, *labels: str) -> None:
        super().__init__(name, about, *labels)
        self._numbers: dict[Labels, int] = {} if labels else {(): 0}

    def expect(self, *labels: Iterable[str]) -> None:
        """Begin at 0 for each combination of these values."""
        with self._lock:
            for values in product(*labels):
                self._numbers.setdefault(values, 0)

    def add(self, *values: str) -> None:
        """It happened once more."""
        with self._lock:
            self._numbers[values] = self._numbers.get(values, 0) + 1

    def numbers(self) -> dict[Labels, int]:
        with self._lock:
            return dict(self._numbers)


class Times(_Family):
    """How long something took, in seconds, by the values of its labels: how often up to each bound, and in all."""

    bounds: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

    def __init__(self, name: str, about: str, *labels: str) -> None:
        super().__init__(name, about, *labels)
        self._numbers: dict[Labels, tuple[list[int], float]] = {}

    def expect(self, values: Iterable[str]) -> None:
        """Begin at 0 for each of these values of the one label."""
        with self._lock:
            for value in values:
                self._numbers.setdefault((value,), ([0] * (len(self.bounds) + 1), 0.0))

    def add(self, seconds: float, *values: str) -> None:
        """It took so long once more."""
        with self._lock:
            counts, total = self._numbers.get(values) or ([0] * (len(self.bounds) + 1), 0.0)
            counts[bisect_left(self.bounds, seconds)] += 1
            self._numbers[values] = counts, total + seconds

    def numbers(self) -> dict[Labels, tuple[list[int], float]]:
        with self._lock:
            return {values: (list(counts), total) for values, (counts, total) in self._numbers.items()}


class Level(NamedTuple):
    """What something stands at now, by the values of its labels."""

    name: str
    about: str
    labels: Labels
    numbers: Mapping[Labels, float]
