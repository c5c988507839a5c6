"""What becomes of a Kafka message, by its run at Port and by its signature. Pure.

Until one signature is right, nobody knows whether the Secret or the message is wrong: then messages with a wrong one
wait, and some more are read in the hope for a right one. After that, the wrong ones are refused. It begins anew when
the Secret changes.

Source: port.md rules 3 and 4.
"""

import re
from typing import Final, Literal, TypeAlias

from gha_step.contract.secret import Token
from gha_step.inbound.port.reports import RunAtPort
from gha_step.inbound.port.signature import Verdict

EARLY: Final = 600.0  # seconds of a message's age within which Port's reads may lag behind it
MOST_DOUBTED: Final = 100  # messages of one partition that wait for a right signature; then no more of it is read
OPEN: Final = "IN_PROGRESS"
Judgement: TypeAlias = Literal["good", "wrong", "doubtful"]
Standing: TypeAlias = Literal["open", "not yet"]
_RUN_PAGE: Final = re.compile(r"https?://[^/]+/.*/actions/runs/[0-9]+")


class Dropped(str):
    """A message with which nothing is done; the text says why."""

    __slots__ = ()


def needs_record(run: RunAtPort | None) -> bool:
    """Whether it matters if there is a record of ours."""
    return run is not None and not run.ended and any(_RUN_PAGE.match(link) for link in run.links)


def standing(run: RunAtPort | None, *, recorded: bool, age: float | None) -> Standing | Dropped:
    """Whether a message's run is open, not open yet, or nothing is to be done for it.

    :param run: as Port shows it; ``None``: it does not.
    :param recorded: whether there is a record of ours, where that matters.
    :param age: the message's, in seconds; ``None``: not known, so it may be new.
    """
    if run is None:
        return "not yet" if age is None or age <= EARLY else Dropped("Port does not know it")
    if run.ended:
        return Dropped("it has ended")
    if needs_record(run) and not recorded:
        return Dropped("somebody else has started a workflow for it")
    return "open" if run.status == OPEN else "not yet"


class Trust:
    """What is known of the client secret. Its owner uses it from one thread.

    :param unsigned: whether a message without a signature is taken: the broker is known by its certificate.
    """

    def __init__(self, *, unsigned: bool) -> None:
        self._unsigned = unsigned
        self.secret: Token | None = None
        self.proved = False
        """Whether a signature was right since the start, or since the Secret changed."""
        self.generation = 0
        """Which secret this is: another number, another secret."""

    def secret_is(self, secret: Token) -> bool:
        """The client secret as it is now; whether it is another one than it was."""
        if self.secret is not None and self.secret == secret:
            return False
        changed = self.secret is not None
        self.secret, self.proved = secret, False
        self.generation += 1
        return changed

    def judge(self, verdict: Verdict, generation: int) -> Judgement:
        """What to do with an open run's message; ``generation``: of the secret that it was compared with."""
        if verdict == "right":
            self.proved = self.proved or generation == self.generation
            return "good"
        if verdict == "missing" and self._unsigned:
            return "good"
        return "wrong" if self.proved and generation == self.generation else "doubtful"
