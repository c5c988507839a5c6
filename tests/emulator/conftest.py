"""An emulated GitHub whose clock the test moves."""

import pytest

from gha_step.emulator import GitHub
from tests.support.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """Standing at 2023-11-14T22:13:20Z."""
    return VirtualClock()


@pytest.fixture
def github(clock: VirtualClock) -> GitHub:
    """github.com with the example repository."""
    return GitHub(now=clock.now)
