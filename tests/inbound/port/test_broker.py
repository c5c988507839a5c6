"""The consumer, against librdkafka's own mock cluster: what the tests of the way in take for granted of theirs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from gha_step.contract.secret import Token
from gha_step.inbound.port.broker import Broker, Delivered
from gha_step.inbound.port.errors import BrokerTrouble
from gha_step.inbound.port.kafka_login import KafkaLogin
from gha_step.inbound.port.kafka_login import Topic as What
from tests.support.clock import eventually
from tests.support.kafka import TOPIC, Topic, mock_cluster


@pytest.fixture(scope="module")
def topic() -> Iterator[Topic]:
    with mock_cluster() as opened:
        yield opened


class Member:
    """A member of a group, and what it was told."""

    def __init__(self, what: What, login: KafkaLogin | None = None) -> None:
        self.ours: set[int] = set()
        self.taken: list[tuple[list[int], bool]] = []
        self.troubles: list[BrokerTrouble] = []
        self.broker = Broker(what, login, assigned=self._assigned, taken=self._taken)

    def _assigned(self, partitions: Sequence[int]) -> None:
        self.ours |= set(partitions)

    def _taken(self, partitions: Sequence[int], lost: bool) -> None:
        self.ours -= set(partitions)
        self.taken.append((sorted(partitions), lost))

    def poll(self, seconds: float = 0.1) -> Delivered | None:
        try:
            return self.broker.poll(seconds)
        except BrokerTrouble as error:
            self.troubles.append(error)
            return None

    def next(self) -> Delivered:
        found: list[Delivered] = []

        def came() -> bool:
            if (delivered := self.poll()) is not None:
                found.append(delivered)
            return bool(found)

        eventually(came)
        return found[0]

    def nothing(self) -> bool:
        return all(self.poll() is None for _ in range(8))

    def until(self, condition: Callable[[], bool]) -> None:
        eventually(lambda: (self.poll(), condition())[1])


@contextmanager
def member(topic: Topic, group: str, **changes: Any) -> Iterator[Member]:
    # The mock cluster does not hear that a member leaves.
    made = Member(replace(What(TOPIC, group, topic.login.brokers, "PLAINTEXT", session=6.0), **changes))
    yield made
    made.broker.close()


def test_messages_come_in_order_are_paused_sought_and_committed_and_the_next_member_goes_on(topic: Topic) -> None:
    first = topic.send(b"a", at=1_700_000_000.0)
    topic.send(None)
    with member(topic, "one") as here:
        assert here.next() == Delivered(0, first, 1_700_000_000.0, b"a")
        assert here.next().value is None
        here.broker.pause([0])
        topic.send(b"b")
        assert here.nothing()
        here.broker.seek(0, first)
        assert here.nothing()
        here.broker.resume([0])
        assert [here.next().offset for _ in range(3)] == [first, first + 1, first + 2]
        here.broker.commit({0: first + 1}, wait=False)
        here.until(lambda: not here.broker.committing)
        assert not here.broker.commit_failed()
        assert topic.committed(group="one") == first + 1
        here.broker.commit({0: first + 2}, wait=True)
    assert here.taken[0][0] == [0, 1, 2, 3]
    assert here.ours == set()
    with member(topic, "one") as here:
        assert here.next().value == b"b"


def test_a_second_member_gets_its_share_and_the_first_may_commit_what_goes(topic: Topic) -> None:
    with member(topic, "two") as one:
        one.until(lambda: one.ours == {0, 1, 2, 3})
        with member(topic, "two") as two:
            eventually(lambda: (one.poll(), two.poll(), len(one.ours) == len(two.ours) == 2)[2])
            assert one.ours | two.ours == {0, 1, 2, 3}
            assert [lost for _, lost in one.taken] == [False]
        one.until(lambda: one.ours == {0, 1, 2, 3})


def test_a_new_group_that_begins_at_the_end_is_pinned_there(topic: Topic) -> None:
    """Else what comes while nobody reads would never be read."""
    topic.send(b"before")
    with member(topic, "three", reset="latest") as here:
        here.until(lambda: bool(here.ours))
    topic.send(b"while nobody reads")
    with member(topic, "three", reset="latest") as here:
        assert here.next().value == b"while nobody reads"


def test_brokers_that_are_away_are_trouble_and_close_does_not_wait_for_them(topic: Topic) -> None:
    with member(topic, "four", brokers=("127.0.0.1:1",)) as here:
        here.until(lambda: bool(here.troubles))
        assert {trouble.cause for trouble in here.troubles} == {"trouble"}


@pytest.mark.parametrize(
    "changes",
    [
        {"security": "SSL", "ca": "/does/not/exist"},
        {"brokers": ()},
        {"brokers": ("http://kafka:9092",)},
        {"topic": "^org.*"},
        {"topic": ""},
        {"group": ""},
        {"security": "SASL_SSL"},
    ],
)
def test_what_librdkafka_does_not_take_is_said(changes: dict[str, Any]) -> None:
    what = replace(What(TOPIC, "five", ("127.0.0.1:1",), "PLAINTEXT"), **changes)
    login = KafkaLogin((), "", Token("")) if what.security == "SASL_SSL" else None
    with pytest.raises(BrokerTrouble) as caught:
        Broker(what, login, assigned=lambda _: None, taken=lambda *_: None)
    assert caught.value.cause == "settings"


def test_a_password_is_in_no_words_of_a_trouble() -> None:
    secret = "the-password-of-the-organisation"
    brokers, login = ("127.0.0.1:1",), KafkaLogin((), "user", Token(secret))
    here = Member(What(TOPIC, "six", brokers, "SASL_PLAINTEXT"), login)
    here.until(lambda: bool(here.troubles))
    here.broker.close()
    assert secret not in repr(login) + "".join(str(trouble) for trouble in here.troubles)
