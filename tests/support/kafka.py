"""Kafka for tests: librdkafka's own mock cluster, inside this process, behind what a real one offers them too."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

TOPIC: Final = "org_emulated.github.runs"
GROUP: Final = "org_emulated.gha-step"
WITHIN: Final = 60.0  # seconds


@dataclass(frozen=True)
class Login:
    """How a client gets in. ``security``: as librdkafka calls it."""

    brokers: tuple[str, ...]
    security: str = "PLAINTEXT"
    username: str = ""
    password: str = ""
    ca: str = ""

    def configuration(self, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = {"bootstrap.servers": ",".join(self.brokers), "security.protocol": self.security}
        made["log_level"] = 0  # what goes wrong is the test's to tell
        if self.username:
            made |= {
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": self.username,
                "sasl.password": self.password,
            }
        if self.ca:
            made["ssl.ca.location"] = self.ca
        return made | more


class Kafka(Protocol):
    """One organisation's topic."""

    login: Login

    def send(self, value: bytes | None, *, partition: int = 0, at: float | None = None) -> int:
        """A message; its offset. ``at``: its time stamp, seconds since 1970."""

    def committed(self, *, partition: int = 0, group: str = GROUP) -> int:
        """How far the group has committed; -1: nothing."""


class Topic:
    """See `Kafka`: a topic of a cluster that a login opens."""

    def __init__(self, login: Login, *, producer: Producer | None = None, topic: str = TOPIC) -> None:
        self.login = login
        self.topic = topic
        self._producer = producer or Producer(login.configuration())
        self._asking: dict[str, Consumer] = {}
        self.end = 0
        """How many messages were sent."""

    def send(self, value: bytes | None, *, partition: int = 0, at: float | None = None) -> int:
        sent: list[int] = []

        def told(error: Any, message: Any) -> None:
            assert error is None, error
            sent.append(message.offset())

        stamp = round(at * 1000) if at is not None else round(time.time() * 1000)
        self._producer.produce(self.topic, value, partition=partition, on_delivery=told, timestamp=stamp)
        assert self._producer.flush(WITHIN) == 0
        self.end += 1
        return sent[0]

    def committed(self, *, partition: int = 0, group: str = GROUP) -> int:
        if group not in self._asking:
            self._asking[group] = Consumer(self.login.configuration(**{"group.id": group}))
        deadline = time.monotonic() + WITHIN
        while True:
            try:
                (found,) = self._asking[group].committed([TopicPartition(self.topic, partition)], timeout=WITHIN)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return max(-1, found.offset)

    def close(self) -> None:
        for one in self._asking.values():
            one.close()


@contextmanager
def mock_cluster(topic: str = TOPIC) -> Iterator[Topic]:
    """A cluster without security, whose topics are there as soon as somebody names them, with four partitions."""
    quiet = {"log_level": 0}
    producer = Producer({"bootstrap.servers": "ignored:1", "test.mock.num.brokers": 1, **quiet})
    brokers = producer.list_topics(timeout=WITHIN).brokers.values()
    opened = Topic(Login(tuple(f"{one.host}:{one.port}" for one in brokers)), producer=producer, topic=topic)
    producer.list_topics(topic, timeout=WITHIN)
    try:
        yield opened
    finally:
        opened.close()
