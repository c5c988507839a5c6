"""An emulated Port whose clock the test moves."""

import pytest

from gha_step.emulator.port import Port, example
from tests.support.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """Standing at 2023-11-14T22:13:20Z."""
    return VirtualClock()


@pytest.fixture
def port(clock: VirtualClock) -> Port:
    """With the example's credentials, installation and action."""
    return example(Port(now=clock.now))
