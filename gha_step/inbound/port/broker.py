"""A consumer of one topic: wraps librdkafka for `kafka`. Nothing is decided here.

Imported only if Kafka is on. librdkafka's own log is shown only with GHA_STEP_LOG_LEVEL=debug; its problems are
reported once, as `BrokerTrouble`.

Source: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md.
"""

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message, TopicPartition

from gha_step.inbound.port.errors import BrokerTrouble, Cause
from gha_step.inbound.port.kafka_login import BROKER, KafkaLogin, Topic
from gha_step.inbound.port.messages import MAX_MESSAGE
from gha_step.telemetry import log

PREFETCH: Final = 16 << 10  # KiB of messages that wait in memory
METADATA_EVERY: Final = 60.0  # seconds until a topic that was missing is looked for again
WITHIN: Final = 10.0  # seconds for requests that are waited for

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True)
class Delivered:
    """A message. ``at``: its time stamp, seconds since 1970; ``None``: it has none, or no value."""

    partition: int
    offset: int
    at: float | None
    value: bytes | None


class Broker:
    """See the module. It is used from one thread; the callbacks are called within its methods.

    :param login: ``None``: the brokers ask for none.
    :param assigned: hears which partitions are ours from now on.
    :param taken: hears which are no more; within the call they may still be committed, unless they are ``lost``.
    :raises BrokerTrouble: the consumer cannot be made.
    """

    def __init__(
        self,
        topic: Topic,
        login: KafkaLogin | None,
        *,
        assigned: Callable[[Sequence[int]], None],
        taken: Callable[[Sequence[int], bool], None],
    ) -> None:
        self._topic = topic.topic
        self._from_the_end = topic.reset == "latest"
        self._login = login
        self._assigned = assigned
        self._taken = taken
        self._errors: deque[KafkaError] = deque(maxlen=100)
        self._commit_failed = False
        self.committing = 0
        """How many commits have no answer yet, of those that were not waited for."""
        if (why := _objection(topic)) is not None:
            raise BrokerTrouble("settings", why)
        try:
            self._consumer = Consumer(self._configuration(topic))
            self._consumer.subscribe(
                [topic.topic],
                on_assign=self._on_assign,
                on_revoke=lambda _, places: self._on_revoke(places, lost=False),
                on_lost=lambda _, places: self._on_revoke(places, lost=True),
            )
        except (KafkaException, ValueError, TypeError) as error:
            raise BrokerTrouble("settings", self._words(error)) from None

    def _configuration(self, topic: Topic) -> dict[str, Any]:
        made: dict[str, Any] = {
            "bootstrap.servers": ",".join(topic.brokers),
            "group.id": topic.group,
            "client.id": "gha-step",
            "security.protocol": topic.security,
            "auto.offset.reset": topic.reset,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "allow.auto.create.topics": False,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": round(topic.session * 1000),
            "topic.metadata.refresh.interval.ms": round(METADATA_EVERY * 1000),
            "queued.min.messages": 100,
            "queued.max.messages.kbytes": PREFETCH,
            "fetch.message.max.bytes": MAX_MESSAGE,
            "fetch.max.bytes": 2 * MAX_MESSAGE,
            "socket.keepalive.enable": True,
            "error_cb": self._errors.append,
            "on_commit": self._on_commit,
            "logger": _quiet(),
        }
        if self._login is not None:
            made |= {
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": self._login.username,
                "sasl.password": self._login.password.reveal(),
            }
        if topic.ca:
            made["ssl.ca.location"] = topic.ca
        return made

    def poll(self, seconds: float) -> Delivered | None:
        """The next message, if one comes within so much time. :raises BrokerTrouble: something to tell."""
        try:
            message = self._consumer.poll(seconds)
        except KafkaException as error:
            raise self._trouble(error.args[0]) from None
        if self._errors:
            raise self._trouble(self._errors.popleft())
        if message is None:
            return None
        if (told := message.error()) is not None:
            raise self._trouble(told)
        return _delivered(message)

    def pause(self, partitions: Sequence[int]) -> None:
        """Deliver nothing of these. :raises BrokerTrouble: they are not ours now."""
        self._do(lambda: self._consumer.pause(self._of(partitions)))

    def resume(self, partitions: Sequence[int]) -> None:
        """Deliver of these again. :raises BrokerTrouble: they are not ours now."""
        self._do(lambda: self._consumer.resume(self._of(partitions)))

    def seek(self, partition: int, offset: int) -> None:
        """Deliver from there on. :raises BrokerTrouble: it cannot be done now."""
        self._do(lambda: self._consumer.seek(TopicPartition(self._topic, partition, offset)))

    def commit(self, offsets: Mapping[int, int], *, wait: bool) -> None:
        """Tell how far it is done. Without ``wait`` a failure shows in `commit_failed`.

        :raises BrokerTrouble: it was not taken.
        """
        places = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        if wait:
            self._do(lambda: self._consumer.commit(offsets=places, asynchronous=False))
        else:
            self._do(lambda: self._consumer.commit(offsets=places, asynchronous=True))
            self.committing += 1

    def commit_failed(self) -> bool:
        """Whether a commit was not taken since this was last asked."""
        failed, self._commit_failed = self._commit_failed, False
        return failed

    def close(self) -> None:
        """Leave the group."""
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.debug("the consumer did not close well: %s", self._words(error))

    def _do(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except KafkaException as error:
            raise self._trouble(error.args[0]) from None

    def _of(self, partitions: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in partitions]

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if self._from_the_end:
            places = self._pinned(consumer, places)
        consumer.incremental_assign(places)
        self._assigned([place.partition for place in places])

    def _pinned(self, consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
        """With their offsets. A new group's beginning is committed before anything has come: else what comes while we
        are down would be behind `latest`."""
        try:
            found = consumer.committed(places, timeout=WITHIN)
            new = [place for place in found if place.offset < 0]
            for place in new:
                _, place.offset = consumer.get_watermark_offsets(place, timeout=WITHIN)
            if new:
                consumer.commit(offsets=new, asynchronous=False)
        except KafkaException as error:
            log.warning("the new group's first offset could not be committed: %s", self._words(error))
            return places
        return found

    def _on_revoke(self, places: list[TopicPartition], *, lost: bool) -> None:
        self._taken([place.partition for place in places], lost)

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        self.committing = max(0, self.committing - 1)
        self._commit_failed |= error is not None or any(place.error is not None for place in places)

    def _trouble(self, error: Any) -> BrokerTrouble:
        code = error.code() if isinstance(error, KafkaError) else None
        cause: Cause = "broken" if isinstance(error, KafkaError) and error.fatal() else _CAUSES.get(code, "trouble")
        return BrokerTrouble(cause, self._words(error))

    def _words(self, error: Any) -> str:
        """What librdkafka says, on one line, without our login."""
        text = error.args[0] if isinstance(error, Exception) and error.args else error
        said = str(text.str() if isinstance(text, KafkaError) else text)
        if self._login is not None:
            said = self._login.password.hide(said)
        return " ".join(said.split())[:500]


_CAUSES: Final[dict[Any, Cause]] = {
    KafkaError._AUTHENTICATION: "login",  # noqa: SLF001  so its documentation names it
    KafkaError.SASL_AUTHENTICATION_FAILED: "login",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "login",
    KafkaError.ILLEGAL_SASL_STATE: "login",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "login",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "topic",
    KafkaError._UNKNOWN_TOPIC: "topic",  # noqa: SLF001  so its documentation names it
    KafkaError._UNKNOWN_PARTITION: "topic",  # noqa: SLF001  so its documentation names it
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.TOPIC_EXCEPTION: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.INVALID_GROUP_ID: "group",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "group",
    KafkaError._SSL: "certificate",  # noqa: SLF001  so its documentation names it
    KafkaError._FATAL: "broken",  # noqa: SLF001  so its documentation names it
}


def _objection(topic: Topic) -> str | None:
    """What librdkafka would take for something else, or end the process for."""
    if not _TOPIC.fullmatch(topic.topic):  # one that begins with ^ is a pattern
        return f"{topic.topic[:50]!r} is not the name of a topic"
    if not topic.group or not topic.group.isprintable():
        return "the group has no name"
    if not topic.brokers or not all(BROKER.fullmatch(one) for one in topic.brokers):
        return "brokers are written host:port"
    return None


def _delivered(message: Message) -> Delivered:
    kind, milliseconds = message.timestamp()
    partition, offset, value = message.partition(), message.offset(), message.value()
    assert partition is not None
    assert offset is not None
    at = None if kind == TIMESTAMP_NOT_AVAILABLE or milliseconds <= 0 else milliseconds / 1000
    return Delivered(partition, offset, at, value if isinstance(value, bytes) else None)


def _quiet() -> logging.Logger:
    logger = logging.getLogger("gha_step.librdkafka")
    logger.setLevel(logging.DEBUG if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL + 1)
    return logger
