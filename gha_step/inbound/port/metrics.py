"""The metrics of Port's ways in. It decides nothing."""

from collections.abc import Iterator, Mapping
from typing import Final

from gha_step.metrics import Counts, Labels, Level

MESSAGES: Final = ("recorded", "foreign", "dropped", "unusable", "wrong_signature")
CLAIMS: Final = ("new", "again", "empty", "error")


class PortMetrics:
    """What one server counts, from 0 for every label value that is known beforehand."""

    def __init__(self) -> None:
        self.requests = Counts("portio_requests", "Requests to Port.", "route", "result")
        self.claims = Counts("portio_claims", "Claims, by what they brought.", "result")
        self.messages = Counts("portio_messages", "Messages of the topic, once they are decided.", "result")
        self.ends_differ = Counts("portio_ends_differ", "Runs that ended at Port otherwise than at GitHub.")
        self.claims.expect(CLAIMS)
        self.messages.expect(MESSAGES)

    @property
    def counts(self) -> tuple[Counts, ...]:
        """All of them."""
        return self.requests, self.claims, self.messages, self.ends_differ


def levels(
    *,
    refused: Mapping[str, bool],
    places_free: int,
    paused: int | None,
    leads: bool,
    standing: Mapping[str, tuple[int, float | None]],
    failing_since: float | None,
) -> Iterator[Level]:
    """How things stand now.

    :param refused: by way in. ``paused``: partitions that wait for a right signature; ``None``: no topic is read.
    :param standing: by state, how many reports are owed, and when the oldest record of them was made.
    """
    about = "1 while Port refuses this way in."
    yield Level("gha_step_portio_refused", about, ("way",), {(way,): one for way, one in refused.items()})
    yield _level("places_free", "Places for runs that are free.", places_free)
    if paused is not None:
        about = "Partitions that wait for a message with a right signature."
        yield _level("paused_partitions", about, paused)
    yield _level("follower", "1 where reports are worked off, 0 where another process does it.", leads)
    about = "Reports that Port is owed, by their records' state."
    owed: dict[Labels, float] = {(state,): count for state, (count, _) in standing.items()}
    yield Level("gha_step_portio_duties", about, ("state",), owed)
    oldest = min((made for _, made in standing.values() if made is not None), default=None)
    yield _level("oldest_duty_timestamp_seconds", "When the oldest record that owes a report was made.", oldest)
    about = "When the step began to fail that has failed for longest."
    yield _level("failing_duty_timestamp_seconds", about, failing_since)


def _level(name: str, about: str, number: float | None) -> Level:
    return Level(f"gha_step_portio_{name}", about, (), {} if number is None else {(): number})
