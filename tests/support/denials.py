"""What the API server denies, heard until it lasts."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from gha_step.contract.errors import StepError, Unavailable
from gha_step.kube import ASK_AGAIN
from tests.support.clock import VirtualClock

E = TypeVar("E", bound=StepError)


def told_at_last(call: Callable[[], object], clock: VirtualClock, final: type[E]) -> E:
    """What ``call`` ends with; before that it may pass, is to be asked again soon, and is told in the same words."""
    words = []
    for pause in (7.0, 8.0):
        with pytest.raises(Unavailable) as passing:
            call()
        words.append(str(passing.value))
        assert passing.value.retry_after == ASK_AGAIN
        clock.forward(pause)
    with pytest.raises(final) as caught:
        call()
    assert caught.value.retry_after is None
    assert words == [str(caught.value)] * 2
    return caught.value
