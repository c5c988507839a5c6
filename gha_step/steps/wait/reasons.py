"""Asks GitHub why a run failed, and what a pending run waits for: a few optional requests.

If they are refused or fail, the answer leaves their information out: a token need not be allowed to read checks, and
not every server has concurrency groups. Both are cached, so that nobody asks again for each run.
"""

import threading
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.github.concurrency import Ahead
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, Refused
from gha_step.github.run_reader import Place, RunReader
from gha_step.github.runs import ObservedJob, ObservedRun
from gha_step.github.server_capabilities import AGAIN_AFTER, ServerCapabilities
from gha_step.runtime import Clock

MOST_EXPLAINED: Final = 3  # jobs of one attempt: a request each
AHEAD_EVERY: Final = 1_200.0  # seconds between two looks at a concurrency group: with the rest 12 requests an hour
_Key: TypeAlias = tuple[Endpoint, str, Token]


@dataclass
class Known:
    """What is known of one run. ``explained``: jobs of an attempt, with what they say; ``ahead``: at the last look."""

    attempt: int = 0
    explained: tuple[ObservedJob, ...] = ()
    group: str | None = None
    ahead: Ahead | None = None
    ahead_at: float = float("-inf")


class Reasons:
    """See the module. One `Known` is used by one look at a time."""

    def __init__(self, reader: RunReader, servers: ServerCapabilities, clock: Clock) -> None:
        self._reader = reader
        self._servers = servers
        self._clock = clock
        self._lock = threading.Lock()
        self._may_not: Memory[_Key, float] = Memory()  # read the checks of a repository, and since when that is known

    def explain(
        self, known: Known, at: Place, run: ObservedRun, failed: tuple[ObservedJob, ...]
    ) -> tuple[ObservedJob, ...]:
        """The failed jobs, the first of them with their error annotations: asked for once for each attempt."""
        if known.attempt != run.attempt:
            known.attempt, known.explained = run.attempt, self._with_annotations(at, failed)
        found = {job.id: job.annotations for job in known.explained}
        return tuple(replace(job, annotations=found.get(job.id, ())) for job in failed)

    def _with_annotations(self, at: Place, failed: tuple[ObservedJob, ...]) -> tuple[ObservedJob, ...]:
        key, now = (at.run.endpoint, at.root, at.token), self._clock.monotonic()
        with self._lock:
            if now - self._may_not.get(key, float("-inf")) < AGAIN_AFTER:
                return ()
        explained: list[ObservedJob] = []
        try:
            for job in [job for job in failed if job.id is not None][:MOST_EXPLAINED]:
                explained.append(replace(job, annotations=self._reader.annotations(at, job)))
        except Refused as error:
            if error.status in (403, 404):  # an App's token that may not read checks is told one or the other
                with self._lock:
                    self._may_not[key] = now
        except GitHubError:
            pass
        return tuple(explained)

    def ahead(self, known: Known, at: Place) -> Ahead | None:
        """Whom a pending run waits for, as it was at most `AHEAD_EVERY` ago."""
        now = self._clock.monotonic()
        if now - known.ahead_at < AHEAD_EVERY or not self._servers.may_tell_groups(at.run.endpoint):
            return known.ahead
        known.ahead_at, known.ahead = now, None
        try:
            if known.group is None:
                known.group = self._reader.group(at)
            if known.group is not None:
                known.ahead = self._reader.ahead(at, known.group)
        except Refused as error:
            if error.status == 404 and known.group is None:  # the run itself is there: it was just seen
                self._servers.tells_no_groups(at.run.endpoint)
        except GitHubError:
            pass
        return known.ahead
