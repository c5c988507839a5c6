"""Hints that a run has changed, and who in this process wants to know.

A hint only brings the next poll forward: it is not believed, it may be lost, and nobody polls less often because there
are hints. The sender of hints makes sure that a run gets at most one per second.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from gha_step.telemetry import log


class Hint(NamedTuple):
    """Somebody says that a workflow run has changed. Two GitHubs may use one ID: then one look is for nothing.

    ``ended``: it is said to have ended; ``dispatched``: to have been started by a dispatch.
    """

    owner: str
    repo: str
    run_id: int
    ended: bool = False
    dispatched: bool = False


Listener: TypeAlias = Callable[[Hint], None]


class Waking:
    """Passes hints on. Listeners may be called on any thread; they return at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Tell it of every hint from now on."""
        with self._lock:
            self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Tell it of no more."""
        with self._lock:
            self._listeners.remove(listener)

    def hint(self, hint: Hint) -> None:
        """Pass it on to all who listen."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener(hint)
            except Exception:  # noqa: BLE001  one that fails is no reason not to tell the others
                log.exception("a hint about run %d of %s/%s failed", hint.run_id, hint.owner, hint.repo)
