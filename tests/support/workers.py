"""Threads whose work a test can wait for."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from gha_step.runtime import ThreadWorkers
from tests.support.clock import LONG

T = TypeVar("T")


class TrackedWorkers:
    """Threads whose work can be waited for; see `Workers`."""

    def __init__(self, limit: int, name: str) -> None:
        self._threads = ThreadWorkers(limit, name)
        self._jobs: list[Future[Any]] = []

    def spawn(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        return self._track(self._threads.spawn(work, share))

    def follow(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        return self._track(self._threads.follow(work, share))

    def _track(self, job: "Future[T]") -> "Future[T]":
        self._jobs = [job for job in self._jobs if not job.done()]
        self._jobs.append(job)
        return job

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return self._threads.join(job, seconds)

    def finish(self, seconds: float = LONG) -> None:
        """Wait until nothing is under way. :raises AssertionError: something still is."""
        assert not wait(self._jobs, timeout=seconds).not_done, "work goes on after the test"
