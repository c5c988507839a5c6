"""Stand-ins for the brokers and the intake: a topic in memory, and runs that a test decides."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gha_step.inbound.port.broker import Delivered
from gha_step.inbound.port.errors import BrokerTrouble
from gha_step.inbound.port.intake import Held, Press
from gha_step.inbound.port.kafka_login import KafkaLogin
from gha_step.inbound.port.kafka_login import Topic as Where
from gha_step.inbound.port.messages import Kind

T = TypeVar("T")


@dataclass
class Topic:
    """What the brokers hold."""

    messages: dict[int, list[Delivered]] = field(default_factory=lambda: {0: [], 1: []})
    committed: dict[int, int] = field(default_factory=dict)
    connections: "list[Broker]" = field(default_factory=list)
    refuse: list[BrokerTrouble] = field(default_factory=list)  # connections

    def send(self, value: bytes | None, *, partition: int = 0, at: float | None = None) -> int:
        kept = self.messages[partition]
        kept.append(Delivered(partition, len(kept), at, value))
        return len(kept) - 1

    def connect(
        self,
        where: Where,
        login: KafkaLogin | None,
        *,
        assigned: Callable[[Sequence[int]], None],
        taken: Callable[[Sequence[int], bool], None],
    ) -> "Broker":
        if self.refuse:
            raise self.refuse.pop(0)
        self.connections.append(Broker(self, where, login, assigned, taken))
        return self.connections[-1]

    @property
    def broker(self) -> "Broker":
        return self.connections[-1]


class Broker:
    """See `gha_step.inbound.port.broker.Broker`."""

    def __init__(
        self,
        topic: Topic,
        where: Where,
        login: KafkaLogin | None,
        assigned: Callable[[Sequence[int]], None],
        taken: Callable[[Sequence[int], bool], None],
    ) -> None:
        self.topic = topic
        self.where = where
        self.login = login
        self.assigned = assigned
        self.taken = taken
        self.positions: dict[int, int] = {}
        self.paused: set[int] = set()
        self.troubles: list[BrokerTrouble] = []
        self.commits: list[dict[int, int]] = []
        self.lose_commits = False
        self.committing = 0
        self.closed = False
        self._failed = False
        self._begun = False

    def poll(self, seconds: float) -> Delivered | None:
        assert not self.closed
        if not self._begun:
            self.rebalance(*self.topic.messages)
        if self.troubles:
            raise self.troubles.pop(0)
        for partition, position in self.positions.items():
            if partition not in self.paused and position < len(self.topic.messages[partition]):
                self.positions[partition] += 1
                return self.topic.messages[partition][position]
        return None

    def rebalance(self, *partitions: int, lost: bool = False) -> None:
        """These are its from now on."""
        self._begun = True
        gone = [partition for partition in self.positions if partition not in partitions]
        if gone:
            self.taken(gone, lost)
        new = [partition for partition in partitions if partition not in self.positions]
        self.positions = {
            partition: self.positions.get(partition, self.topic.committed.get(partition, 0)) for partition in partitions
        }
        self.paused -= {*gone, *new}
        self.assigned(new)

    def pause(self, partitions: Sequence[int]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Sequence[int]) -> None:
        self.paused -= set(partitions)

    def seek(self, partition: int, offset: int) -> None:
        self.positions[partition] = offset

    def commit(self, offsets: dict[int, int], *, wait: bool) -> None:
        if self.lose_commits:
            self._failed = True
            return
        self.commits.append(dict(offsets))
        self.topic.committed |= offsets

    def commit_failed(self) -> bool:
        failed, self._failed = self._failed, False
        return failed

    def close(self) -> None:
        self.closed = True
        self.taken(list(self.positions), False)


class Hands:
    """See `gha_step.inbound.port.intake.Intake`."""

    def __init__(self, forward: Callable[[float], None]) -> None:
        self.runs: list[Held] = []
        self.places = 100
        self.draining = False
        self._forward = forward

    def take(self, press: Press) -> Held:
        found = self._of(press.run.kind, press.run.id)
        if found is not None:
            found.press = press
            return found
        self.runs.append(Held(press))
        return self.runs[-1]

    def _of(self, kind: Kind, run_id: str) -> Held | None:
        return next((one for one in self.in_hand if (one.press.run.kind, one.press.run.id) == (kind, run_id)), None)

    @property
    def in_hand(self) -> list[Held]:
        return [run for run in self.runs if not (run.decided or run.forgotten)]

    def holds(self, kind: Kind, run_id: str) -> bool:
        return self._of(kind, run_id) is not None

    @property
    def free(self) -> int:
        return max(0, self.places - sum(not run.waiting for run in self.in_hand))

    def actions(self) -> Counter[str]:
        return Counter(run.press.run.action for run in self.in_hand)

    def wait(self, seconds: float, until: Callable[[], bool]) -> None:
        if not until():
            self._forward(seconds)


class AtOnce:
    """Workers that do it in the caller's thread."""

    def spawn(self, work: Callable[[], T], share: str = "") -> "Future[T]":
        done: Future[T] = Future()
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001  it is the caller's
            done.set_exception(error)
        return done

    follow = spawn

    def join(self, job: "Future[Any]", seconds: float) -> bool:
        return True
