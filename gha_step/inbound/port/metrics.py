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
        self.claims = Counts("portio_claims", "Claims, by result.", "result")
        self.messages = Counts("portio_messages", "Processed messages of the topic, by result.", "result")
        self.ends_differ = Counts("portio_ends_differ", "Runs that ended differently at Port and at GitHub.")
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
    yield _level("places_free", "Free places for runs.", places_free)
    if paused is not None:
        about = "Partitions that wait for a message with a valid signature."
        yield _level("paused_partitions", about, paused)
    yield _level("follower", "1 if this process reports to Port, 0 if another one does.", leads)
    about = "Reports still to send to Port, by their records' state."
    owed: dict[Labels, float] = {(state,): count for state, (count, _) in standing.items()}
    yield Level("gha_step_portio_duties", about, ("state",), owed)
    oldest = min((made for _, made in standing.values() if made is not None), default=None)
    yield _level(
        "oldest_duty_timestamp_seconds", "Creation time of the oldest record with a report still to send.", oldest
    )
    about = "Since when the longest-failing report has been failing."
    yield _level("failing_duty_timestamp_seconds", about, failing_since)


def _level(name: str, about: str, number: float | None) -> Level:
    return Level(f"gha_step_portio_{name}", about, (), {} if number is None else {(): number})
