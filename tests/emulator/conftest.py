"""An emulated GitHub whose clock the test moves."""

import pytest

from gha_step.emulator import GitHub

from .asking import Clock


@pytest.fixture
def clock() -> Clock:
    """Standing at 2023-11-14T22:13:20Z."""
    return Clock()


@pytest.fixture
def github(clock: Clock) -> GitHub:
    """github.com with the example repository."""
    return GitHub(now=clock)
