"""What becomes of the messages of Port's topic, turn by turn; Port is emulated on a real socket."""

import base64
import dataclasses
import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gha_step.contract.errors import LedgerUnavailable
from gha_step.contract.secret import Token
from gha_step.emulator import Answer, Response, bad_gateway
from gha_step.emulator.port import EXAMPLE_CLIENT_SECRET, Action, ActionRun, Credentials, Port, kafka_message
from gha_step.emulator.port import Kafka as Brokers
from gha_step.inbound.port.api import PortApi
from gha_step.inbound.port.client import PortClient
from gha_step.inbound.port.errors import BrokerTrouble, NotSent
from gha_step.inbound.port.intake import Held
from gha_step.inbound.port.kafka import RESUME_AT, Kafka
from gha_step.inbound.port.kafka_login import Topic as Settings
from gha_step.inbound.port.messages import PortRun, Unusable
from gha_step.inbound.port.triage import EARLY, MOST_DOUBTED
from tests.support.clock import VirtualClock

from .topic import AtOnce, Hands, Topic

ACTION = Action("deploy", invocation="GITHUB")
PASSWORD = "the-password-for-kafka"
PLAIN = Settings(security="SASL_PLAINTEXT")


class Here:
    """One process that reads a topic."""

    def __init__(self, api: PortApi, client: PortClient, clock: VirtualClock, port: Port, options: Settings) -> None:
        port.kafka = Brokers(("127.0.0.1:1",), "org_emulated", PASSWORD)
        self.port = port
        self.clock = clock
        self.topic = Topic()
        self.hands = Hands(clock.forward)
        self.counts: Counter[str] = Counter()
        self.secret = Token(EXAMPLE_CLIENT_SECRET)
        self.no_secret: NotSent | None = None
        self.records: set[str] = set()
        self.no_ledger = False
        self.kafka = Kafka(
            api,
            self.hands,
            topic=options,
            decrypt=("secret_input",),
            secret=self._secret,
            secret_name="the Secret of GHA_STEP_PORTIO_SECRET",
            org_id=lambda: None if client.grant is None else client.grant.org_id,
            known=self._known,
            connect=self.topic.connect,  # type: ignore[arg-type]  # it has the same methods
            clock=clock,
            readers=AtOnce(),
            count=lambda result: self.counts.update([result]),
        )

    def _secret(self) -> Token:
        if self.no_secret is not None:
            raise self.no_secret
        return self.secret

    def _known(self, run_id: str) -> bool:
        if self.no_ledger:
            raise LedgerUnavailable("away")
        return run_id in self.records

    def turns(self, times: int = 6) -> None:
        """So many turns, a second apart."""
        for _ in range(times):
            self.kafka.turn()
            self.clock.forward(1.0)

    def press(self, action: Action = ACTION, inputs: Any = None, **changes: Any) -> ActionRun:
        """A press of the button, and its message."""
        run = self.port.press(action, inputs or {"image_tag": "1"})
        self.send(run, **changes)
        return run

    def send(
        self,
        run: ActionRun,
        *,
        secret: str = EXAMPLE_CLIENT_SECRET,
        partition: int = 0,
        age: float = 0.0,
        change: Callable[[bytes], bytes] = bytes,
        **options: Any,
    ) -> int:
        signer = Credentials("x", secret)
        value = change(kafka_message(self.port, run, signer, **options))
        return self.topic.send(value, partition=partition, at=self.clock.now() - age)

    @property
    def taken(self) -> list[str]:
        return [run.press.run.id for run in self.hands.runs]

    @property
    def committed(self) -> int:
        return self.topic.committed.get(0, 0)


@pytest.fixture
def new(api: PortApi, client: PortClient, clock: VirtualClock, port: Port) -> Callable[..., Here]:
    return lambda **changes: Here(api, client, clock, port, dataclasses.replace(PLAIN, **changes))


@pytest.fixture
def here(new: Callable[..., Here]) -> Here:
    return new()


def only(here: Here) -> Held:
    (run,) = here.hands.runs
    return run


# ---------------------------------------------------------------- whose message it is, and when it is committed


def test_an_open_runs_message_is_handed_over_and_committed_once_its_send_is_decided(here: Here) -> None:
    before = here.clock.monotonic()
    run = here.press(inputs={"image_tag": "1.10"})
    here.turns()
    press = only(here).press
    assert isinstance(press.run, PortRun)
    assert (press.run.id, press.run.inputs, press.via) == (run.id, {"image_tag": "1.10"}, "kafka")
    assert press.open_at is not None
    assert before <= press.open_at < here.clock.monotonic()
    assert (here.committed, here.counts) == (0, {})
    only(here).decided = True
    here.turns()
    assert (here.committed, here.counts) == (1, {"recorded": 1})


def test_a_message_that_is_not_ours_is_counted_and_committed_without_a_request(here: Here) -> None:
    here.send(here.port.press(Action("w", invocation="WEBHOOK")), secret="another")
    node = here.port.press(ACTION)
    here.send(node, change=lambda raw: raw.replace(node.id.encode(), b"wfnr_abc"))
    here.topic.send(None)
    here.turns()
    assert (here.committed, here.counts, here.taken) == (3, {"foreign": 3}, [])
    assert here.port.count("get-run") == 0


def test_a_message_behind_an_undecided_one_waits_for_it(here: Here) -> None:
    first, second = here.press(), here.press()
    here.turns()
    assert here.taken == [first.id, second.id]
    here.hands.runs[1].decided = True
    here.turns()
    assert here.committed == 0
    assert here.counts == {"recorded": 1}
    here.hands.runs[0].decided = True
    here.turns()
    assert here.committed == 2


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE"])
def test_an_ended_runs_message_is_dropped_with_a_line_whatever_its_signature(
    here: Here, status: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = here.press(secret="another")
    here.port.set_status(run, status)
    with caplog.at_level(logging.INFO, "gha_step"):
        here.turns()
    assert (here.committed, here.counts, here.taken) == (1, {"dropped": 1}, [])
    assert f"message 0/0 of run {run.id} is dropped: it has ended" in caplog.text
    assert here.kafka.waiting_partitions == 0


def test_a_run_that_somebody_else_dispatched_is_dropped_unless_there_is_a_record_of_ours(here: Here) -> None:
    link = "https://github.com/myorg/my-app/actions/runs/17"
    theirs, ours, other = here.press(), here.press(), here.press()
    for run in (theirs, ours):
        here.port.workflow_patches(run, link=link)
    here.port.workflow_patches(other, link="https://example.com/job/17")
    here.records = {ours.id}
    here.turns()
    assert here.taken == [ours.id, other.id]
    assert here.counts == {"dropped": 1}


def test_whether_there_is_a_record_is_asked_until_the_ledger_says_so(here: Here) -> None:
    run = here.press()
    here.port.workflow_patches(run, link="https://github.com/myorg/my-app/actions/runs/17")
    here.records, here.no_ledger = {run.id}, True
    here.turns(20)
    assert (here.committed, here.taken) == (0, [])
    here.no_ledger = False
    here.turns(60)
    assert here.taken == [run.id]


@pytest.mark.parametrize("what", ["unknown yet", "waits for approval", "a status of the future"])
def test_a_run_that_is_not_open_yet_is_handed_over_as_such(here: Here, what: str) -> None:
    action = dataclasses.replace(ACTION, requires_approval=what == "waits for approval")
    run = here.press(action, age=EARLY - 60)
    if what == "a status of the future":
        here.port.set_status(run, "POSTPONED")  # type: ignore[arg-type]
    here.port.read_lag = 3600.0 if what == "unknown yet" else 0.0
    here.turns()
    assert (only(here).press.run.id, only(here).press.open_at) == (run.id, None)


def test_an_old_message_whose_run_port_does_not_know_is_dropped(here: Here) -> None:
    run = here.press(age=EARLY + 60)
    here.port.runs.remove(run)
    here.turns()
    assert (here.committed, here.counts, here.taken) == (1, {"dropped": 1}, [])


def test_where_the_broker_gives_no_time_stamp_an_unknown_run_may_be_new(here: Here) -> None:
    value = kafka_message(here.port, here.port.press(ACTION), Credentials("x", EXAMPLE_CLIENT_SECRET))
    here.topic.send(value, at=None)
    here.port.read_lag = 3600.0
    here.turns()
    assert only(here).press.open_at is None


def test_while_port_cannot_be_asked_the_commit_waits_and_nothing_is_handed_over(here: Here) -> None:
    here.port.faults.add(bad_gateway(), "get-run", times=5)
    run = here.press()
    here.turns(5)
    assert (here.committed, here.taken) == (0, [])
    assert here.port.count("get-run") < 5  # with growing pauses
    here.turns(80)
    assert here.taken == [run.id]


def test_a_limit_of_ports_is_waited_for(here: Here) -> None:
    here.port.limit_rate(60, "get-run")
    run = here.press()
    here.turns(30)
    assert here.port.count("get-run") == 1
    here.turns(60)
    assert here.taken == [run.id]


def test_one_run_that_port_cannot_show_holds_up_no_other(here: Here) -> None:
    first = here.port.press(ACTION)
    here.port.faults.add(bad_gateway(), "get-run", times=None, where=lambda request: first.id in request.path)
    here.send(first)
    second = here.press()
    here.turns()
    assert here.taken == [second.id]
    here.hands.runs[0].decided = True
    here.turns()
    assert here.committed == 0


def test_a_commit_that_is_lost_is_made_again(here: Here) -> None:
    here.press()
    here.turns(4)
    here.topic.broker.lose_commits = True
    here.hands.runs[0].decided = True
    here.turns(2)
    assert here.committed == 0
    here.topic.broker.lose_commits = False
    here.turns(8)
    assert here.committed == 1


# ---------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.replace(b'"workflowInputs":{', b'"workflowInputs":{"a":1,"a":2,'), "twice"),
        (lambda raw: raw.replace(b'"workflow":"deploy.yml"', b'"workflow":""'), "workflow is missing"),
        (
            lambda raw: raw.replace(b'"workflow":"deploy.yml"', b'"workflow":"deploy.yml","reportWorkflowStatus":1'),
            "rep",
        ),
    ],
)
def test_a_message_that_cannot_be_used_is_told_to_its_run(
    new: Callable[..., Here], change: Callable[[bytes], bytes], words: str
) -> None:
    here = new(security="SASL_SSL")  # where a missing signature is taken
    run = here.press(change=change, signed="not")
    here.turns()
    unusable = only(here).press.run
    assert isinstance(unusable, Unusable)
    assert (unusable.id, words in unusable.problem) == (run.id, True)
    assert here.committed == 0
    only(here).decided = True
    here.turns()
    assert (here.committed, here.counts) == (1, {"unusable": 1})


def test_one_that_names_no_run_is_committed_with_a_line(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    here.topic.send(b'{"payload":{"action":{"invocationMethod":{"type":"GITHUB"}}}}')
    here.topic.send(b"{")
    here.turns()
    assert (here.committed, here.counts) == (2, {"unusable": 2})
    assert "message 0/0 cannot be used" in caplog.text
    assert "message 0/1 cannot be used" in caplog.text


# ---------------------------------------------------------------- signatures


def test_while_no_signature_was_right_a_wrong_one_waits_and_the_secret_is_named(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        here.press(secret="another")
    here.turns(30)
    assert (here.committed, here.taken, here.counts) == (0, [], {})
    assert all(isinstance(one.run, Unusable) for one in here.kafka._messages.values())  # no inputs are kept
    assert here.kafka.waiting_partitions == 1
    assert caplog.text.count("is not signed with the client secret") == 1
    assert "GHA_STEP_PORTIO_SECRET" in caplog.text
    assert not here.kafka.refused


def test_at_most_a_hundred_wait_per_partition(here: Here) -> None:
    for _ in range(MOST_DOUBTED + 30):
        here.press(secret="another")
    here.turns(20)
    assert here.topic.broker.paused == {0}
    read = here.topic.broker.positions[0]
    assert MOST_DOUBTED <= read <= MOST_DOUBTED + 1
    here.turns(100)
    assert here.topic.broker.positions[0] == read


@pytest.mark.parametrize("partition", [0, 1])
def test_one_right_signature_lets_the_wrong_ones_be_told(here: Here, partition: int) -> None:
    wrong = [here.press(secret="another") for _ in range(3)]
    here.turns(10)
    right = here.press(partition=partition)
    here.turns(10)
    assert sorted(here.taken) == sorted([*(run.id for run in wrong), right.id])
    told = [run.press.run for run in here.hands.runs if isinstance(run.press.run, Unusable)]
    assert {run.problem for run in told} == {"its message is not signed with our client secret"}
    for run in here.hands.runs:
        run.decided = True
    here.turns()
    assert here.counts == {"wrong_signature": 3, "recorded": 1}
    assert here.topic.committed == {0: 3 + (partition == 0), **({1: 1} if partition else {})}
    assert here.kafka.waiting_partitions == 0


def test_a_partition_that_is_paused_for_signatures_goes_on_when_another_has_a_right_one(here: Here) -> None:
    for _ in range(MOST_DOUBTED + 5):
        here.press(secret="another")
    here.turns(20)
    assert here.topic.broker.paused == {0}
    here.press(partition=1)
    for _ in range(10):
        here.turns(5)
        for run in here.hands.runs:
            run.decided = True
    assert here.counts == {"wrong_signature": MOST_DOUBTED + 5, "recorded": 1}
    assert here.committed == MOST_DOUBTED + 5


def test_when_the_secret_changes_those_that_wait_are_read_and_judged_again(here: Here) -> None:
    runs = [here.press(secret="the-new-secret") for _ in range(MOST_DOUBTED + 5)]
    here.turns(20)
    assert here.taken == []
    here.secret = Token("the-new-secret")
    for _ in range(10):
        here.turns(5)
        for run in here.hands.runs:
            run.decided = True
    assert sorted(here.taken) == sorted(run.id for run in runs)
    assert here.counts == {"recorded": len(runs)}
    assert here.committed == len(runs)


def test_after_the_secret_has_changed_trust_begins_anew(here: Here) -> None:
    here.press()
    here.turns()
    here.secret = Token("the-new-secret")
    here.turns(3)
    here.press()
    here.turns(10)
    assert len(here.taken) == 1
    assert here.kafka.waiting_partitions == 1


def test_a_message_signed_with_the_previous_secret_blocks_nobody(here: Here) -> None:
    here.secret = Token("the-new-secret")
    old = here.press()
    new_one = here.press(secret="the-new-secret")
    here.turns(10)
    told = {run.press.run.id: type(run.press.run) for run in here.hands.runs}
    assert told == {old.id: Unusable, new_one.id: PortRun}


def test_a_right_signature_of_the_previous_secret_proves_nothing_of_the_new_one(here: Here) -> None:
    here.port.faults.add(bad_gateway(), "get-run")
    old = here.press()
    here.turns(3)
    assert here.taken == []  # its run is read later
    here.secret = Token("the-new-secret")
    here.press(secret="another")
    here.turns(20)
    assert here.taken == [old.id]
    assert here.kafka.waiting_partitions == 1


@pytest.mark.parametrize(("security", "taken"), [("SASL_SSL", True), ("SASL_PLAINTEXT", False), ("SSL", False)])
def test_a_missing_signature_is_taken_over_a_trusted_connection_only(
    new: Callable[..., Here], security: str, taken: bool
) -> None:
    here = new(security=security)
    here.press(signed="not")
    here.turns()
    assert bool(here.taken) is taken
    assert here.kafka.waiting_partitions == (0 if taken else 1)


def test_an_unsigned_message_proves_nothing(new: Callable[..., Here]) -> None:
    here = new(security="SASL_SSL")
    here.press(signed="not")
    here.press(secret="another")
    here.turns(10)
    assert here.kafka.waiting_partitions == 1


def test_a_forged_message_does_not_end_a_run_that_is_in_hand(here: Here) -> None:
    run = here.press()
    here.turns()
    here.send(run, secret="another")
    here.turns()
    assert isinstance(only(here).press.run, PortRun)
    assert here.counts == {"wrong_signature": 1}


def test_a_run_that_is_not_open_yet_needs_a_right_signature_too(here: Here) -> None:
    here.press(dataclasses.replace(ACTION, requires_approval=True), secret="another")
    here.turns()
    assert here.taken == []
    assert here.kafka.waiting_partitions == 1


# ---------------------------------------------------------------- bounds


def test_a_full_house_pauses_and_goes_on_as_places_are_free(here: Here) -> None:
    here.hands.places = 10
    for number in range(40):
        here.press(partition=number % 2)
    here.turns(10)
    assert len(here.taken) == 10
    assert here.topic.broker.paused == {0, 1}
    here.turns(10)
    assert len(here.taken) == 10
    for run in here.hands.runs[: RESUME_AT - 1]:
        run.decided = True
    here.turns(10)
    assert len(here.taken) == 10
    here.hands.runs[RESUME_AT].decided = True
    here.turns(10)
    assert len(here.taken) == 10 + RESUME_AT
    for _ in range(10):
        for run in here.hands.runs:
            run.decided = True
        here.turns(10)
    assert len(here.taken) == 40
    assert here.topic.committed == {0: 20, 1: 20}


def test_a_run_that_waits_takes_no_place(here: Here) -> None:
    here.hands.places = 1
    here.press()
    here.turns()
    here.hands.runs[0].waiting = True
    here.press()
    here.turns()
    assert len(here.taken) == 2


def test_a_run_that_had_to_be_forgotten_comes_again(here: Here) -> None:
    first, second = here.press(), here.press()
    here.turns()
    here.hands.runs[1].decided = True
    here.hands.runs[0].forgotten = True
    here.turns()
    assert here.taken == [first.id, second.id, first.id]
    assert here.committed == 0
    here.hands.runs[2].decided = True
    here.turns()
    assert (here.committed, here.counts) == (2, {"recorded": 2})


# ---------------------------------------------------------------- rebalances, stops


def test_a_partition_that_goes_is_committed_and_its_messages_are_left_to_its_next_owner(here: Here) -> None:
    for partition in (0, 0, 1):
        here.press(partition=partition)
    here.turns()
    here.hands.runs[0].decided = True
    here.kafka._look_at_held()
    here.topic.broker.rebalance(1)
    assert here.topic.committed[0] == 1
    here.hands.runs[1].decided = True  # too late for this owner
    here.turns()
    assert here.topic.committed[0] == 1
    here.topic.broker.rebalance(0, 1)
    here.turns()
    assert [run.press.run.id for run in here.hands.runs].count(here.taken[1]) == 2


def test_of_a_partition_that_is_lost_nothing_is_committed(here: Here) -> None:
    here.press()
    here.turns()
    here.hands.runs[0].decided = True
    here.kafka._look_at_held()
    here.topic.broker.rebalance(1, lost=True)
    assert here.committed == 0


def test_a_stop_commits_what_is_decided_and_leaves_the_group(here: Here) -> None:
    here.press()
    here.press()
    here.turns()
    here.hands.runs[0].decided = True
    here.hands.draining = True
    here.topic.broker.poll = here.clock.forward  # type: ignore[method-assign]
    here.kafka.run()
    assert here.committed == 1
    assert here.topic.broker.closed


# ---------------------------------------------------------------- Port's and its brokers' troubles


def test_the_login_is_ports_and_no_message_says_the_password(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "gha_step"):
        here.turns()
    where, login = here.topic.broker.where, here.topic.broker.login
    assert login is not None
    assert (where.brokers, login.username, str(login.password)) == (("127.0.0.1:1",), "org_emulated", "***")
    assert login.password.reveal() == PASSWORD
    assert (where.topic, where.group) == ("org_emulated.github.runs", "org_emulated.gha-step")
    assert PASSWORD not in caplog.text + repr(login)


def test_a_login_that_fails_is_asked_for_again_at_once_if_it_was_good_then_every_minute(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    here.turns()
    here.topic.broker.troubles.append(BrokerTrouble("login", "SASL authentication failed"))
    here.port.kafka = Brokers(("127.0.0.1:1",), "org_emulated", "a-new-password")
    here.turns(1)
    assert here.kafka.refused
    here.topic.refuse.append(BrokerTrouble("login", "no"))
    here.turns(20)
    assert here.port.count("kafka-credentials") == 2
    here.turns(40)
    assert here.port.count("kafka-credentials") == 3
    assert here.topic.broker.login is not None
    assert here.topic.broker.login.password == Token("a-new-password")
    assert not here.kafka.refused
    assert caplog.text.count("refuse the login") == 1
    run = here.press()
    here.turns()
    assert here.taken == [run.id]


def test_credentials_that_port_refuses_are_a_line_and_asked_for_every_minute(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    here.port.kafka = None
    begun = here.clock.monotonic()
    here.turns(100)
    assert here.kafka.refused
    assert here.port.count("kafka-credentials") <= 1 + (here.clock.monotonic() - begun) / 60
    assert caplog.text.count("Port refuses the login to Kafka") == 1


def test_a_topic_that_is_missing_is_a_line_with_the_fix_and_is_found_when_it_is_there(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    here.turns(1)
    here.kafka.turn()
    here.topic.broker.troubles += [BrokerTrouble("topic", "Unknown topic or partition")] * 3
    here.turns(3)
    assert here.kafka.refused
    assert caplog.text.count("GHA_STEP_PORTIO_KAFKA_TOPIC") == 1
    here.topic.broker.assigned([])
    assert here.kafka.refused
    run = here.press()
    here.turns()
    assert here.taken == [run.id]
    assert not here.kafka.refused


@pytest.mark.parametrize("cause", ["group", "certificate"])
def test_what_brokers_refuse_is_a_line_with_the_fix(here: Here, cause: Any, caplog: pytest.LogCaptureFixture) -> None:
    here.turns(2)
    here.topic.broker.troubles.append(BrokerTrouble(cause, "no"))
    here.turns(1)
    assert here.kafka.refused
    assert {"group": "GHA_STEP_PORTIO_KAFKA_GROUP", "certificate": "GHA_STEP_PORTIO_KAFKA_CA"}[cause] in caplog.text


def test_brokers_that_are_away_are_no_refusal(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    here.turns(2)
    here.topic.broker.troubles += [BrokerTrouble("trouble", "1/1 brokers are down")] * 10
    here.turns(12)
    assert not here.kafka.refused
    assert caplog.text.count("brokers are down") == 1
    assert not here.topic.broker.closed


def test_a_consumer_that_cannot_go_on_is_replaced(here: Here) -> None:
    run = here.press()
    here.turns(3)
    here.topic.broker.troubles.append(BrokerTrouble("broken", "fenced"))
    here.turns(6)
    assert len(here.topic.connections) == 2
    assert here.taken.count(run.id) == 1  # it comes again, and is in hand already
    here.hands.runs[0].decided = True
    here.turns(3)
    assert here.committed == 1


def test_without_the_organisations_id_the_variable_is_named(
    here: Here, caplog: pytest.LogCaptureFixture, client: PortClient
) -> None:
    here.kafka._org_id = lambda: None
    here.turns(2)
    assert here.kafka.refused
    assert "GHA_STEP_PORTIO_ORG_ID" in caplog.text


def test_with_brokers_and_no_login_port_is_not_asked_for_any(new: Callable[..., Here]) -> None:
    here = new(security="PLAINTEXT", brokers=("k:1",))
    here.kafka._org_id = lambda: "other"
    here.turns()
    assert here.port.count("kafka-credentials") == 0
    broker = here.topic.broker
    assert (broker.where.brokers, broker.login, broker.where.topic) == (("k:1",), None, "other.github.runs")


def test_without_the_secret_nothing_is_read(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    here.no_secret = NotSent("the Secret port-credentials cannot be read")
    run = here.press()
    here.turns(10)
    assert here.topic.connections == []
    assert caplog.text.count("port-credentials cannot be read") == 1
    here.no_secret = None
    here.turns()
    assert here.taken == [run.id]


def test_a_secret_that_cannot_be_read_for_a_while_stays_what_it_was(here: Here) -> None:
    here.turns(2)
    here.no_secret = NotSent("away")
    run = here.press()
    here.turns()
    assert here.taken == [run.id]


# ---------------------------------------------------------------- decryption


def encrypted(text: str, secret: str = EXAMPLE_CLIENT_SECRET) -> str:
    iv = os.urandom(16)
    return base64.b64encode(iv + AESGCM(secret.encode()[:32]).encrypt(iv, text.encode(), None)).decode()


def test_inputs_that_port_encrypted_are_decrypted_and_are_nowhere_else(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "gha_step"):
        here.press(inputs={"secret_input": encrypted("s3cret-value"), "other": encrypted("x")})
        here.turns()
    run = only(here).press.run
    assert isinstance(run, PortRun)
    assert run.inputs["secret_input"] == "s3cret-value"
    assert run.inputs["other"] != "x"
    assert run.secret == {"secret_input"}
    assert "s3cret-value" not in repr(run)
    assert "s3cret-value" not in caplog.text


@pytest.mark.parametrize(
    "value", ["plain", encrypted("x", "another secret that has 32 bytes too")], ids=["plain", "another's"]
)
def test_an_input_that_cannot_be_decrypted_is_told_and_nothing_is_dispatched(here: Here, value: str) -> None:
    here.press(inputs={"secret_input": value})
    here.turns()
    run = only(here).press.run
    assert isinstance(run, Unusable)
    assert "input 'secret_input'" in run.problem
    only(here).decided = True
    here.turns()
    assert here.counts == {"unusable": 1}


# ---------------------------------------------------------------- whatever somebody writes into the topic

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
ODD = [
    b"",
    b"\xff\xfe",
    b"{" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'"\\ud800"',
    b"1e999999",
    b"0" * 5_000_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b"\x00" * 1000,
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: f"{value[:8]!r} of {len(value)}")
def test_what_is_no_message_is_committed(here: Here, value: bytes) -> None:
    here.topic.send(value)
    here.turns()
    assert here.committed == 1
    assert here.counts.total() == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(st.data())
def test_whatever_is_in_the_topic_the_next_message_is_read_and_no_secret_is_told(
    here: Here, caplog: pytest.LogCaptureFixture, data: st.DataObject
) -> None:
    caplog.clear()
    for _ in range(data.draw(st.integers(1, 4))):
        here.topic.send(_odd(here, data))
    before = len(here.topic.messages[0])
    run = here.press()
    with caplog.at_level(logging.DEBUG, "gha_step"):
        for _ in range(4):
            here.turns(2)
            for one in here.hands.runs:
                one.decided = True
    assert run.id in here.taken
    assert here.committed == before + 1
    assert "reading Port's messages failed" not in caplog.text
    assert EXAMPLE_CLIENT_SECRET not in caplog.text
    assert len(max(caplog.text.splitlines(), key=len, default="")) < 2_000


def _odd(here: Here, data: st.DataObject) -> bytes:
    """Bytes, JSON, or a good message with a part of it replaced, doubled or cut."""
    good = kafka_message(here.port, here.port.press(ACTION), Credentials("x", EXAMPLE_CLIENT_SECRET))
    match data.draw(st.sampled_from(["bytes", "json", "part", "cut", "doubled", "flipped"])):
        case "bytes":
            return data.draw(st.binary(max_size=200))
        case "json":
            return json.dumps(data.draw(JSON)).encode()
        case "part":
            return json.dumps(_replaced(json.loads(good), data)).encode()
        case "cut":
            return good[: data.draw(st.integers(0, len(good)))]
        case "doubled":
            return good[:-1] + b"," + good[1:]
        case _:
            at = data.draw(st.integers(0, len(good) - 1))
            return good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]


def _replaced(value: Any, data: st.DataObject) -> Any:
    if not isinstance(value, dict) or not value or data.draw(st.integers(0, 3)) == 0:
        return data.draw(JSON)
    key = data.draw(st.sampled_from(sorted(value)))
    return {**value, key: _replaced(value[key], data)}


def test_an_answer_of_ports_that_is_no_run_is_asked_for_again(here: Here) -> None:
    here.port.faults.add(Answer(Response.of(200, {"ok": True})), "get-run", times=2)
    run = here.press()
    here.turns(20)
    assert here.taken == [run.id]
