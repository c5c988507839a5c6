"""Secrets that may be some seconds old, for callers that read the same Secret many times a second."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gha_step.contract.memory import Memory
from gha_step.credentials.secrets import LabelledSecret, SecretReader
from gha_step.runtime import Clock

KEPT: Final = 5.0  # seconds
KEPT_BYTES: Final = 32 << 20


class RecentSecrets:
    """See `SecretReader`. What cannot be read is asked for again each time."""

    def __init__(self, secrets: SecretReader, clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Memory[tuple[str, ...], tuple[Any, float]] = Memory(100, KEPT_BYTES)

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        if (found := self._recent(project, name)) is None:
            found = self._keep(self._secrets.read(project, name), project, name)
        data: Mapping[str, bytes] = found
        return data

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        if (found := self._recent(namespace)) is None:
            found = self._keep(list(self._secrets.labelled(namespace)), namespace)
        yield from found

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        return self._secrets.unlabelled(namespace)

    def _recent(self, *name: str) -> Any:
        with self._lock:
            found, until = self._kept.get(name, (None, 0.0))
        return found if self._clock.monotonic() < until else None

    def _keep(self, found: Any, *name: str) -> Any:
        with self._lock:
            self._kept[name] = (found, self._clock.monotonic() + KEPT)
        return found
