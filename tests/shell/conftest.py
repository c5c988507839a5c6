"""A machine with a GitHub, for every test of the shell."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .commands import Shell, shell


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Shell]:
    with shell(tmp_path) as opened:
        yield opened
