"""Progress on stderr: a line for each change and, on a terminal, a line with the state and the time that the next one
replaces.
"""

import os
import shutil
from contextlib import suppress
from typing import Any, Final, TextIO

from gha_step.contract.result import StepResult
from gha_step.runtime import Clock

CLEARED: Final = "\r\x1b[K"  # the terminal's current line


class Progress:
    """Lines on ``stream``."""

    def __init__(self, stream: TextIO, clock: Clock, *, terminal: bool) -> None:
        self._stream = stream
        self._clock = clock
        self.terminal = terminal
        self._begun = clock.monotonic()
        self._links: set[str] = set()
        self._state = ""

    def say(self, text: str) -> None:
        """One line."""
        self._put(f"{CLEARED if self.terminal else ''}{_printable(text)}\n")

    def news(self, result: StepResult) -> None:
        """An answer that says something new; the run's link is said once."""
        message = result.message or str(result.status)
        url: Any = result.output_to_wire().get("url")
        self._state = message.replace(f": {url}", "")
        if url in self._links:
            message = self._state
        elif isinstance(url, str):
            self._links.add(url)
            message = message if url in message else f"{message} {url}"
        self.say(f"[{self._elapsed}] {message}")

    def tick(self, more: str = "") -> None:
        """Time has passed: a terminal shows it, with the state of things and ``more``."""
        if self.terminal:
            line = " · ".join(part for part in (self._state, more) if part) or "…"
            width = shutil.get_terminal_size().columns - len(self._elapsed) - 4
            shown = line if len(line) <= width else f"{line[: max(0, width - 1)]}…"
            self._put(f"{CLEARED}[{self._elapsed}] {_printable(shown)}")

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it: the step goes on all the same
            # What is left in the stream would fail once more as Python ends, and change the exit code.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    @property
    def _elapsed(self) -> str:
        seconds = int(self._clock.monotonic() - self._begun)
        return f"{seconds // 60}:{seconds % 60:02d}"


def _printable(text: str) -> str:
    # What others have named must not steer a terminal.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
