"""Secrets that are read as slowly as a test wants."""

import threading
from collections.abc import Iterator, Mapping

from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.secrets import LabelledSecret
from tests.support.clock import LONG


class Slow:
    """Secrets that are given only when they are let go."""

    def __init__(self, real: DirectorySecrets) -> None:
        self._real = real
        self.free = threading.Event()
        self.reads = 0

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        self.reads += 1
        self.free.wait(LONG)
        return self._real.read(project, name)

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        return self._real.labelled(namespace)

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        return self._real.unlabelled(namespace)
