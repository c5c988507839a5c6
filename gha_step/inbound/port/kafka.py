"""The Kafka way in: reads the organisation's topic, and hands over to the intake what asks us for a dispatch.

What becomes of a message is decided by `triage`, how far a partition is committed by `partitions`; the brokers are
behind `broker`. A message is committed once its send is decided, or once nothing is to be done for it; until then a
death gives it back. One thread reads, and never waits for a network but the brokers'; reads of runs are on others.

Source: port.md rules 3, 4, 9 and 11.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from gha_step.contract.errors import StepError
from gha_step.contract.secret import Token
from gha_step.inbound.port import claiming, triage
from gha_step.inbound.port.api import PortApi
from gha_step.inbound.port.decryption import Undecryptable, decrypted
from gha_step.inbound.port.errors import BrokerTrouble, LoginRefused, PortError, Refused
from gha_step.inbound.port.intake import Held, Intake, Press
from gha_step.inbound.port.kafka_login import KafkaLogin, Topic
from gha_step.inbound.port.messages import Foreign, Nameless, PortRun, Unusable, of_message
from gha_step.inbound.port.partitions import Partitions, Place
from gha_step.inbound.port.refusals import ASK_EVERY, Refusals
from gha_step.inbound.port.reports import RunAtPort
from gha_step.inbound.port.signature import Verdict, verdict
from gha_step.inbound.port.triage import MOST_DOUBTED, Dropped, Trust
from gha_step.inbound.rounds import pause_after
from gha_step.runtime import Clock, Workers
from gha_step.telemetry import log

if TYPE_CHECKING:
    from gha_step.inbound.port.broker import Broker, Delivered

NAME: Final = "kafka"
READERS: Final = 16  # threads for reads of runs
AT_ONCE: Final = 100  # messages that are taken in before what they led to is looked at
BUSY: Final = 0.02  # seconds between two looks at what is under way
QUIET: Final = 0.1  # the same, while runs are in hand but nothing else happens
IDLE: Final = 0.5
COMMIT_EVERY: Final = 0.2  # seconds
COMMIT_AGAIN: Final = 5.0  # seconds after one that was not taken
SECRET_EVERY: Final = 1.0  # seconds until the Secret is looked at again
SHORTEST: Final = 1.0  # seconds between two reads of a run
LINGER: Final = 3.0  # seconds after a stop in which the brokers may still take a commit
RESUME_AT: Final = 8  # places that are free again before a full house lets in more: each pause costs a fetch
WRONG: Final = "its message is not signed with our client secret"
_REFUSALS: Final = {
    "login": "Kafka's brokers refuse the login: %s; Port is asked for it again",
    "topic": "Kafka's brokers: the topic of GHA_STEP_PORTIO_KAFKA_TOPIC is missing or not for this login: %s. Fix: let "
    "Port's support set Kafka up for the organisation, or name the topic",
    "group": "Kafka's brokers: the group is not for this login: %s. Fix: begin GHA_STEP_PORTIO_KAFKA_GROUP with "
    "ORG_ID.",
    "certificate": "Kafka's brokers cannot be trusted: %s. Fix: set GHA_STEP_PORTIO_KAFKA_CA to their CA",
    "settings": "the Kafka client cannot be made: %s; see GHA_STEP_PORTIO_KAFKA_…",
}
_Result = Literal["recorded", "foreign", "dropped", "unusable", "wrong_signature"]


@dataclass
class _Message:
    """An undecided message."""

    place: Place
    run: PortRun | Unusable
    at: float | None
    verdict: Verdict
    generation: int  # of the secret that its signature was compared with
    due: float  # when its run is read, monotonic
    tries: int = 0
    asked_at: float = 0.0
    reading: "Future[tuple[RunAtPort | None, bool]] | None" = None
    open_at: float | None = None
    stage: Literal["read", "doubtful", "ready", "held"] = "read"
    held: Held | None = None
    result: _Result = "recorded"


class Kafka:
    """See the module.

    :param topic: by the settings. ``decrypt``: names of inputs that Port has encrypted.
    :param secret: the client secret as it is now. :raises PortError: it cannot be read. ``secret_name``: for messages.
    :param known: whether the ledger has a record of an action run. :raises StepError: it cannot be asked.
    :param connect: makes the consumer.
    :param count: hears of each message that is decided: recorded, foreign, dropped, unusable or wrong_signature.
    """

    def __init__(
        self,
        api: PortApi,
        intake: Intake,
        *,
        topic: Topic,
        decrypt: Collection[str],
        secret: Callable[[], Token],
        secret_name: str,
        org_id: Callable[[], str | None],
        known: Callable[[str], bool],
        connect: "Callable[..., Broker]",
        clock: Clock,
        readers: Workers,
        count: Callable[[str], None] = lambda result: None,
    ) -> None:
        self._api = api
        self._intake = intake
        self._topic = topic
        self._decrypt = decrypt
        self._secret = secret
        self._secret_name = secret_name
        self._org_id = org_id
        self._known = known
        self._connect = connect
        self._clock = clock
        self._readers = readers
        self._count = count
        self._broker: Broker | None = None
        self._connect_at = float("-inf")
        self._login_was_good = False
        self._partitions = Partitions()
        self._messages: dict[Place, _Message] = {}
        self._paused: set[int] = set()
        self._full = False
        self._most_free = 1
        self._trust = Trust(unsigned=topic.security == "SASL_SSL")
        self._secret_at = float("-inf")
        self._commit_at = float("-inf")
        self._refusals = Refusals()
        self._refused: set[str] = set()
        self.name = NAME

    @property
    def refused(self) -> bool:
        """Whether Port, or its brokers, refuse this way in now."""
        return bool(self._refused)

    @property
    def waiting_partitions(self) -> int:
        """How many partitions have messages that wait for a right signature."""
        return len({message.place.partition for message in self._in("doubtful")})

    def run(self) -> None:
        """Read until the process stops. Nothing that a message holds, or that brokers or Port answer, ends it."""
        while not self._intake.draining:
            try:
                self.turn()
            except Exception:  # noqa: BLE001  the next turn may do better, and nobody else would read
                log.exception("reading Port's messages failed")
                self._wait(5.0)
        self._stop()

    def turn(self) -> None:
        """One step: take in what has come, see what became of what is in hand, and commit."""
        now = self._clock.monotonic()
        if self._trust.secret is None or self._in("doubtful"):
            self._look_at_secret(now)
        if self._trust.secret is None:
            self._wait(1.0)
            return
        if self._broker is None:
            if now < self._connect_at:
                self._wait(min(self._connect_at - now, 1.0))
            else:
                self._open(now)
            return
        self._take_in(self._pause())
        self._go_on()
        if self._broker is not None:  # it may have been given up
            self._settle(self._broker)

    def _wait(self, seconds: float) -> None:
        self._intake.wait(seconds, lambda: self._intake.draining)

    def _stop(self) -> None:
        """Commit what is decided, and leave the group: its next member goes on at once."""
        until = self._clock.monotonic() + LINGER
        self._look_at_held()
        self._commit(wait=False)
        while self._broker is not None and self._broker.committing and self._clock.monotonic() < until:
            self._poll(BUSY)  # a message that comes now is read again by whoever is next
        self._close()

    # ---------------------------------------------------------------- the brokers

    def _open(self, now: float) -> None:
        try:
            topic, login = self._found()
            self._broker = self._connect(topic, login, assigned=self._assigned, taken=self._taken)
        except PortError as error:
            self._connect_at = now + min(max(error.retry_after or ASK_EVERY, 1.0), ASK_EVERY)
            if (why := claiming.refusal(error)) is not None:
                self._refuse(why, "Port refuses the login to Kafka: %s; asked again every minute", error)
            elif self._refusals.begins("trouble", "trouble", now):
                log.warning("Port cannot be asked for the login to Kafka: %s; trying again", error)
        except BrokerTrouble as error:
            self._connect_at = now + ASK_EVERY
            self._trouble(error)
        else:
            log.info(
                "reads the topic %s as group %s; nothing else may read it: no other ledger, and not Port's GitHub app",
                topic.topic,
                topic.group,
            )

    def _found(self) -> tuple[Topic, KafkaLogin | None]:
        """What to read. :raises PortError: the login is not to be had, or the organisation's ID is not known."""
        topic, with_login = self._topic, self._topic.security.startswith("SASL")
        login = self._api.kafka_login() if with_login or not topic.brokers else None
        org_id = self._org_id()
        if not org_id and not (topic.topic and topic.group):
            raise LoginRefused(
                "GHA_STEP_PORTIO_ORG_ID: is required for kafka, because Port's token does not contain it", 60
            )
        whole = replace(
            topic,
            topic=topic.topic or f"{org_id}.github.runs",
            group=topic.group or f"{org_id}.gha-step",
            brokers=topic.brokers or (login.brokers if login is not None else ()),
        )
        return whole, login if with_login else None

    def _assigned(self, partitions: Sequence[int]) -> None:
        self._partitions.assigned(partitions)
        self._paused -= set(partitions)
        self._login_was_good = True
        self._well(empty=not partitions)

    def _taken(self, partitions: Sequence[int], lost: bool) -> None:
        if not lost:
            self._commit(wait=True)
        self._partitions.taken(partitions)
        self._paused -= set(partitions)
        for place in [place for place in self._messages if place.partition in partitions]:
            del self._messages[place]  # whoever has the partition now reads it again; what is held goes on

    def _poll(self, seconds: float) -> "Delivered | None":
        assert self._broker is not None
        try:
            return self._broker.poll(seconds)
        except BrokerTrouble as error:
            self._trouble(error)
            return None

    def _trouble(self, error: BrokerTrouble) -> None:
        now = self._clock.monotonic()
        if error.cause == "trouble":
            if self._refusals.begins("trouble", "trouble", now):
                log.warning("Kafka's brokers: %s; trying again", error)
        elif error.cause == "broken":
            log.error("Kafka's brokers: %s; reconnecting", error)
            self._close()
            self._connect_at = now + 1.0
        else:
            self._refuse(error.cause, _REFUSALS[error.cause], error)
        if error.cause == "login":
            self._close()
            self._connect_at = now if self._login_was_good else now + ASK_EVERY
            self._login_was_good = False

    def _refuse(self, why: str, words: str, *arguments: object) -> None:
        """An error line when it begins, and every hour."""
        self._refused.add(why)
        if self._refusals.begins("refused", why, self._clock.monotonic()):
            log.error(words, *arguments)

    def _well(self, *, empty: bool = False) -> None:
        """Something has gone well. ``empty``: but no partition is ours, so a missing topic may be missing still."""
        self._refused &= {"topic"} if empty else set()
        if not self._refused:
            refused, troubled = self._refusals.ends("refused"), self._refusals.ends("trouble")
            if refused or troubled:
                log.info("Port's messages are read again")

    def _close(self) -> None:
        """Leave the group; nothing is committed, which might take for ever where brokers are away."""
        self._partitions = Partitions()
        self._messages.clear()
        self._paused.clear()
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.close()

    def _settle(self, broker: "Broker") -> None:
        """Read again what has to come again, and commit."""
        now = self._clock.monotonic()
        for partition, offset in self._partitions.to_rewind().items():
            if partition in self._paused:
                continue
            try:
                broker.seek(partition, offset)
            except BrokerTrouble as error:
                log.debug("a partition could not be read again yet: %s", error)
            else:
                self._partitions.rewound(partition, offset)
        if broker.commit_failed():
            self._partitions.not_committed()
            self._commit_at = now + COMMIT_AGAIN
        if now >= self._commit_at:
            self._commit_at = now + COMMIT_EVERY
            self._commit(wait=False)

    def _commit(self, *, wait: bool) -> None:
        offsets = self._partitions.to_commit()
        if not offsets or self._broker is None:
            return
        try:
            self._broker.commit(offsets, wait=wait)
        except BrokerTrouble as error:
            log.debug("offsets could not be committed: %s", error)
            self._commit_at = self._clock.monotonic() + COMMIT_AGAIN
        else:
            self._partitions.committed(offsets)

    # ---------------------------------------------------------------- what comes in

    def _pause(self) -> int:
        """Pause and resume partitions as it is needed; how many messages may be taken in."""
        assert self._broker is not None
        free = self._intake.free
        self._most_free = max(self._most_free, free)
        room = free - len(self._in("read", "ready"))
        self._full = room < (min(RESUME_AT, self._most_free) if self._full else 1)
        doubted = [message.place.partition for message in self._in("doubtful")]
        wanted = {
            partition
            for partition in self._partitions.ours
            if self._full or self._partitions.crowded(partition) or doubted.count(partition) >= MOST_DOUBTED
        }
        try:
            if stop := wanted - self._paused:
                self._broker.pause(sorted(stop))
            if go := self._paused - wanted:
                self._broker.resume(sorted(go))
        except BrokerTrouble as error:
            log.debug("partitions could not be paused or resumed yet: %s", error)
        else:
            self._paused = wanted
        return 0 if self._full else min(room, AT_ONCE)

    def _take_in(self, most: int) -> None:
        seconds = BUSY if self._in("read", "ready") else QUIET if self._in("held") else IDLE
        for _ in range(max(most, 1)):
            if self._broker is None or (delivered := self._poll(seconds)) is None:
                return
            seconds = 0.0
            self._well()
            if (place := self._partitions.read(delivered.partition, delivered.offset)) is not None:
                self._enter(place, delivered)

    def _enter(self, place: Place, delivered: "Delivered") -> None:
        """A message that is new, or comes again."""
        self._look_at_secret(self._clock.monotonic())
        assert self._trust.secret is not None
        run: PortRun | Unusable | Foreign | Nameless = Foreign("no value")
        signed: Verdict = "missing"
        try:
            if delivered.value is not None:
                run = of_message(delivered.value)
                if isinstance(run, PortRun | Unusable):
                    signed = verdict(delivered.value, self._trust.secret)
        except Exception as error:  # noqa: BLE001  whatever somebody writes into the topic, the next message is read
            run, signed = Nameless(f"it cannot be read ({type(error).__name__})"), "missing"
        match run:
            case Foreign():
                self._decide(place, "foreign")
            case Nameless():
                log.error("message %s cannot be used, and has no run ID to report to: %s", place, run.problem)
                self._decide(place, "unusable")
            case _:
                due = self._clock.monotonic()
                self._messages[place] = _Message(place, run, delivered.at, signed, self._trust.generation, due)

    def _look_at_secret(self, now: float) -> None:
        """Look whether the client secret has changed. One that cannot be read for a while is what it was."""
        if now < self._secret_at:
            return
        self._secret_at = now + SECRET_EVERY
        try:
            changed = self._trust.secret_is(self._secret())
        except PortError as error:
            if self._trust.secret is None and self._refusals.begins("secret", "secret", now):
                log.error("%s; no message is read before", error)
            return
        self._refusals.ends("secret")
        if changed:
            for message in self._in("doubtful"):
                self._forget(message)

    # ---------------------------------------------------------------- what is in hand

    def _in(self, *stages: str) -> list[_Message]:
        return [message for message in self._messages.values() if message.stage in stages]

    def _go_on(self) -> None:
        for message in self._in("read"):
            if message.reading is None and message.due <= self._clock.monotonic():
                self._read(message)
            elif message.reading is not None and message.reading.done():
                self._judge(message)
        if self._trust.proved:
            for message in self._in("doubtful"):
                self._refuse_signature(message)
        for message in self._in("ready")[: max(self._intake.free, 0)]:
            self._hand_over(message)
        self._look_at_held()

    def _read(self, message: _Message) -> None:
        run_id = message.run.id
        message.asked_at = self._clock.monotonic()

        def look() -> tuple[RunAtPort | None, bool]:
            run = self._api.read_run(run_id)
            return run, triage.needs_record(run) and self._known(run_id)

        message.reading = self._readers.spawn(look)

    def _judge(self, message: _Message) -> None:
        """Its run was read."""
        assert message.reading is not None
        reading, message.reading = message.reading, None
        try:
            run, recorded = reading.result()
        except StepError as error:
            self._read_again(message, error)
            return
        except Exception:  # noqa: BLE001  one message's trouble is no other's
            log.exception("the run of message %s could not be checked", message.place)
            self._read_again(message, None)
            return
        self._refusals.ends("read")
        age = None if message.at is None else self._clock.now() - message.at
        stands = triage.standing(run, recorded=recorded, age=age)
        if isinstance(stands, Dropped):
            log.info("message %s of run %s is dropped: %s", message.place, message.run.id, stands)
            self._decide(message.place, "dropped")
            return
        message.open_at = message.asked_at if stands == "open" else None
        self._judge_signature(message)

    def _judge_signature(self, message: _Message) -> None:
        match self._trust.judge(message.verdict, message.generation):
            case "good":
                if isinstance(message.run, Unusable):
                    message.result = "unusable"
                message.stage = "ready"
                if self._trust.proved and self._refusals.ends("signature"):
                    log.info("a message has a valid signature: invalid ones are refused from now on")
            case "wrong":
                self._refuse_signature(message)
            case "doubtful" if message.generation != self._trust.generation:
                self._forget(message)  # the Secret has changed since: it is compared again
            case "doubtful":
                run = message.run
                message.run = Unusable(run.kind, run.id, run.action, WRONG)  # what may wait for days keeps no inputs
                message.stage = "doubtful"
                if self._refusals.begins("signature", "signature", self._clock.monotonic()):
                    log.error(
                        "message %s of run %s is not signed with the client secret, and no message was so far: until "
                        "one is, nothing is started or committed for such messages. Fix: check the clientSecret in %s",
                        message.place,
                        message.run.id,
                        self._secret_name,
                    )

    def _refuse_signature(self, message: _Message) -> None:
        run = message.run
        log.warning("message %s of run %s: %s", message.place, run.id, WRONG)
        if self._intake.holds(run.kind, run.id):  # by a message that was signed: it is not for this one to end it
            self._decide(message.place, "wrong_signature")
            return
        message.run = Unusable(run.kind, run.id, run.action, WRONG)
        message.result, message.stage = "wrong_signature", "ready"

    def _read_again(self, message: _Message, error: StepError | None) -> None:
        message.tries += 1
        asked = error.retry_after if error is not None else None
        now = self._clock.monotonic()
        message.due = now + pause_after(message.tries, SHORTEST, asked)
        if isinstance(error, LoginRefused | Refused) and self._refusals.begins("read", "refused", now):
            log.error(
                "Port refuses to show run %s of message %s: %s; trying again", message.run.id, message.place, error
            )

    def _hand_over(self, message: _Message) -> None:
        if isinstance(message.run, PortRun) and self._decrypt:
            message.run = self._decrypted(message.run)
            message.result = "unusable" if isinstance(message.run, Unusable) else message.result
        message.held = self._intake.take(Press(message.run, NAME, message.open_at))
        message.stage = "held"

    def _decrypted(self, run: PortRun) -> PortRun | Unusable:
        assert self._trust.secret is not None
        try:
            clear = decrypted(run.inputs, self._decrypt, self._trust.secret)
            return replace(run, inputs=clear, secret=frozenset(self._decrypt))
        except Undecryptable as error:
            return Unusable(run.kind, run.id, run.action, f"action {run.action}: {error}", run.wanted)

    def _look_at_held(self) -> None:
        for message in self._in("held"):
            assert message.held is not None
            if message.held.decided:
                self._decide(message.place, message.result)
            elif message.held.forgotten:
                self._forget(message)

    def _forget(self, message: _Message) -> None:
        """It has to come again."""
        self._partitions.forget(message.place)
        del self._messages[message.place]

    def _decide(self, place: Place, result: _Result) -> None:
        self._messages.pop(place, None)
        if self._partitions.decide(place):
            self._count(result)
