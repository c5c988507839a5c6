"""``gha-step serve`` in a process whose clock a test puts forward: what lasts half a minute is over at once."""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from gha_step.runtime import SystemClock
from gha_step.settings import Settings
from gha_step.telemetry import configure_logging
from gha_step.wiring.server import build

AHEAD: Final = "TESTS_CLOCK_AHEAD"  # names a file whose length in bytes says by how many seconds


class ClockAhead(SystemClock):
    """The machine's clocks, and so many seconds more."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> float:
        return super().now() + self._ahead()

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead()

    def boottime(self) -> float:
        return super().boottime() + self._ahead()

    def _ahead(self) -> int:
        return self._file.stat().st_size


def main() -> int:
    settings = Settings.parse({name: value for name, value in os.environ.items() if name.startswith("GHA_STEP_")})
    configure_logging(settings.log_level, settings.log_format)
    with closing(build(settings, os.environ, ClockAhead(Path(os.environ[AHEAD])))) as server:
        server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
