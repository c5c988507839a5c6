"""Decides what to claim next, and when: action runs and workflow nodes share the places. Pure: times are arguments.

Source: port.md rule 9.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gha_step.inbound.port.errors import LoginRefused, Lost, PortError, Refused
from gha_step.inbound.port.messages import Kind
from gha_step.inbound.port.refusals import ASK_EVERY

SHARE: Final = 0.3  # of the places: an action that has more is not claimed until it has less
MOST_RUNS: Final = 300  # in one claim: what Port's own integration asks for at most
MOST_NODES: Final = 100
MOST_LOST: Final = 10  # answers that count: then one run at a time is claimed
LONGEST_PAUSE: Final = 60.0  # seconds between two tries while answers are lost
NO_ROUTES: Final = 3600.0  # seconds until routes that Port does not serve are tried again


@dataclass(frozen=True)
class Rules:
    """The settings. Seconds."""

    places: int = 200
    poll: float = 3.0


@dataclass(frozen=True)
class Places:
    """How many are free, and how many each action's runs have until their send is decided."""

    free: int
    by_action: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """Claim up to ``limit``, none of the actions in ``exclude``."""

    kind: Kind
    limit: int
    exclude: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wait:
    """Nothing to claim for so many seconds; ``None``: until a place is free."""

    seconds: float | None


@dataclass(frozen=True)
class Pace:
    """When each kind is claimed next, monotonic seconds; and how many answers were lost, less those that came."""

    due: Mapping[Kind, float]
    lost: Mapping[Kind, int] = field(default_factory=dict)

    def at(self, kind: Kind, due: float, lost: int = 0) -> "Pace":
        """With another time for this kind."""
        return replace(self, due={**self.due, kind: due}, lost={**self.lost, kind: lost})


def next_claim(pace: Pace, places: Places, now: float, rules: Rules) -> Claim | Wait:
    """What to do now. Of two kinds that are due, the one that has been for longer."""
    kind = min(pace.due, key=lambda kind: pace.due[kind])
    if pace.due[kind] > now:
        return Wait(pace.due[kind] - now)
    if places.free <= 0:
        return Wait(None)
    most = min(places.free, MOST_NODES if kind == "node" else MOST_RUNS)
    # Half as many after each answer that was lost: it may have been too long to be taken.
    limit = max(1, most >> pace.lost.get(kind, 0))
    if kind == "node":
        return Claim(kind, limit)
    greedy = {action for action, taken in places.by_action.items() if taken > SHARE * rules.places}
    return Claim(kind, limit, frozenset(greedy))


def claimed(pace: Pace, claim: Claim, brought: int, new: int, now: float, rules: Rules) -> Pace:
    """After an answer: at once where it filled the limit and ``new`` of it were not known, else after POLL.

    One that brought nothing does not show that a long one would come through, and a short one not that any would.
    """
    due = now if new and brought >= claim.limit else now + rules.poll
    return pace.at(claim.kind, due, max(0, pace.lost.get(claim.kind, 0) - (brought > 0)))


def failed(pace: Pace, kind: Kind, error: PortError, now: float, rules: Rules) -> Pace:
    """After no answer, or a refusal. What it asks to wait holds, or pauses grow where an answer was lost."""
    if isinstance(error, Refused):
        return pace.at(kind, now + (NO_ROUTES if kind == "node" and error.status == 404 else ASK_EVERY))
    if isinstance(error, Lost):
        lost = min(pace.lost.get(kind, 0) + 1, MOST_LOST)
        return pace.at(kind, now + min(rules.poll * 2**lost, LONGEST_PAUSE), lost)
    wait = error.retry_after or ASK_EVERY
    return pace.at(kind, now + max(wait, rules.poll))


def refusal(error: PortError) -> str | None:
    """What kind of refusal by Port this is; ``None``: none, but trouble that passes by itself."""
    if isinstance(error, Refused):
        return f"status {error.status}"
    return "login" if isinstance(error, LoginRefused) else None
