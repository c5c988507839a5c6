"""The one door by which Port's ways in hand over a run: it is recorded, sent through the ledger, and held until then.

A way in calls `Intake.take` for every run that it gets hold of, and looks at the `Held` that it is given: whether its
place is free again, and whether a message of it may be committed. What Port is told, the ack of a claim among it, is no
way in's work: the follower does that from the ledger.

Source: port.md rules 2, 3, 8 and 9.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from gha_step.inbound.port.messages import Kind, PortRun, Unusable

Via: TypeAlias = Literal["claims", "kafka"]

FRESH: Final = 10.0  # seconds for which what Port has shown counts: older, a run is read again just before its send
MOST_KEPT: Final = 64 << 20  # bytes of inputs of runs that wait without a place


@dataclass(frozen=True)
class Press:
    """One run that a way in has got hold of.

    :param run: as `messages` reads it. An `Unusable` one gets a record that is rejected, and is told `not dispatched`
        with its problem: a wrong signature, an action of another type and the like come in this way too.
    :param open_at: monotonic seconds at which Port was asked for what showed the run IN_PROGRESS last: the begin of the
        claim, or of the read. ``None``: Port does not show it so yet (a 404, WAITING_FOR_APPROVAL): it is recorded at
        once, and read with growing pauses, without a place, until it is, or the wait is over.
    """

    run: PortRun | Unusable
    via: Via
    open_at: float | None


class Held(Protocol):
    """A run in hand. Its parts only go from false to true, except ``waiting``; any thread may look at them."""

    @property
    def decided(self) -> bool:
        """The send is decided: its record is past `reserved` and `sending`, or the run was seen to have ended.

        The place is free, and a Kafka message of it may be committed. Also true, from the record's first write on, of
        a run whose ``open_at`` is ``None``: the ledger and its follower see to its end.
        """

    @property
    def waiting(self) -> bool:
        """It waits for GitHub's rate limit, for the gate or for Port to show it: it is kept, but takes no place."""

    @property
    def forgotten(self) -> bool:
        """It is in hand no more, and nothing was decided: it has to come again (claims: it does by itself)."""


class Intake(Protocol):
    """The door. No method waits for a network."""

    def take(self, press: Press) -> Held:
        """Record the run and send it. Of a run that is in hand already: what holds it, with the new content.

        A run that was sent already only has its ack brought forward. More than `free` may be taken; the ways in see to
        it that they are not.
        """

    def holds(self, kind: Kind, run_id: str) -> bool:
        """Whether a run is in hand at this moment, waiting or not."""

    @property
    def free(self) -> int:
        """Places that are free: how many runs may be taken now. 0 also while as much waits as may be kept."""

    @property
    def draining(self) -> bool:
        """The process stops: nothing more is to be taken."""

    def actions(self) -> Counter[str]:
        """How many places each action (`PortRun.action`) takes."""

    def wait(self, seconds: float, until: Callable[[], bool]) -> None:
        """Return when ``until`` holds, or after ``seconds``: it is asked whenever a `Held` or the places change."""
