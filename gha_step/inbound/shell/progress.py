"""What a person sees on stderr while a step goes on: a line per piece of news, on a terminal also the time."""

from typing import Any, Final, TextIO

from gha_step.contract.result import StepResult
from gha_step.runtime import Clock

CLEARED: Final = "\r\x1b[K"  # the terminal's current line


class Progress:
    """Lines on ``stream``."""

    def __init__(self, stream: TextIO, clock: Clock, *, terminal: bool) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = terminal
        self._begun = clock.monotonic()
        self._links: set[str] = set()

    def say(self, text: str) -> None:
        """One line of the command itself."""
        self._write(text)

    def news(self, result: StepResult) -> None:
        """An answer that says something new; the run's link is said once."""
        message = result.message or str(result.status)
        url: Any = result.output_to_wire().get("url")
        if isinstance(url, str) and url not in self._links and url not in message:
            message = f"{message} {url}"
        if isinstance(url, str):
            self._links.add(url)
        self._write(f"[{self._elapsed}] {message}")

    def tick(self) -> None:
        """Time has passed: a terminal shows it, until the next line takes its place."""
        if self._terminal:
            self._put(f"{CLEARED}[{self._elapsed}] …")

    def _write(self, text: str) -> None:
        # What others have named must not steer a terminal.
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        self._put(f"{CLEARED if self._terminal else ''}{line}\n")

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it: the step goes on all the same
            return

    @property
    def _elapsed(self) -> str:
        seconds = int(self._clock.monotonic() - self._begun)
        return f"{seconds // 60}:{seconds % 60:02d}"
