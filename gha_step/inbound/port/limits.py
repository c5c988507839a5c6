"""When Port may be asked again, read from its answers. Pure.

Source: facts/port.md 3: x-ratelimit-reset is documented as seconds until the reset in one version of the page, as
epoch seconds in another.
"""

from typing import Final

from gha_step.github.messages import Answer, date, number, retry_after

LONGEST: Final = 600.0  # seconds: no wait is longer without a new try
SHORTEST: Final = 1.0
DEFAULT: Final = 30.0  # seconds, where a refusal does not say how long
_EPOCH: Final = 1_000_000  # above it a reset is a point in time, below it a number of seconds


def wait_of(answer: Answer) -> float | None:
    """Seconds for which nothing more may be asked after this answer; ``None``: no limit holds.

    A 429 says so always; any other answer by having used up the last request of its window.
    """
    if answer.status == 429:
        wait = _reset(answer)
        if wait is None:
            wait = retry_after(answer)
        return _bounded(DEFAULT if wait is None else wait)
    if number(answer.headers.get("x-ratelimit-remaining")) == 0 and (wait := _reset(answer)) is not None:
        return _bounded(wait)
    return None


def _reset(answer: Answer) -> float | None:
    """Seconds until the limit's window ends, by the answer's own Date where a point in time is told."""
    reset = number(answer.headers.get("x-ratelimit-reset"))
    if reset is None or reset <= _EPOCH:
        return reset
    now = date(answer)
    return None if now is None else reset - now


def _bounded(wait: float) -> float:
    return min(max(wait, SHORTEST), LONGEST)
