"""The one door by which Port's ways in hand over a run: it is recorded, sent through the ledger, and held until then.

A way in calls `Intake.take` for every run that it gets hold of, and looks at the `Held` that it is given: whether its
place is free again, and whether a message of it may be committed. What Port is told, the ack of a claim among it, is no
way in's work: the follower does that from the ledger.

Source: port.md rules 2, 3, 8 and 9.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, Literal, Protocol, TypeAlias

from gha_step.contract.errors import ConfigError, LedgerError, LedgerUnavailable, StepError, Unavailable
from gha_step.contract.request import Asked, Caller
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token
from gha_step.github.dispatch import Workflow
from gha_step.github.errors import RateLimited
from gha_step.inbound.port.errors import PortError
from gha_step.inbound.port.github import GitHubOfPort, passing
from gha_step.inbound.port.messages import Kind, PortRun, Unusable
from gha_step.inbound.port.reports import RunAtPort
from gha_step.inbound.rounds import Bell, Rounds
from gha_step.ledger.bounds import too_long
from gha_step.ledger.duties import Report
from gha_step.ledger.keys import digest
from gha_step.ledger.record import Payload, Record, State, Target
from gha_step.ledger.store import Store
from gha_step.runtime import Clock, Workers
from gha_step.steps.dispatch.answers import Note
from gha_step.steps.dispatch.request import DispatchCall, DispatchRequest, Key
from gha_step.steps.dispatch.task import Joined
from gha_step.steps.dispatch.tasks import DispatchTasks
from gha_step.telemetry import log, subject

Via: TypeAlias = Literal["claims", "kafka"]

FRESH: Final = 10.0  # seconds for which what Port has shown counts: older, a run is read again just before its send
MOST_KEPT: Final = 64 << 20  # bytes of runs that wait without a place
EACH: Final = 4 << 10  # bytes that one takes without its inputs
AT_ONCE: Final = 32  # turns: each may wait for a Secret, the ledger, Port or GitHub
LOOK: Final = 1.0  # seconds between two looks at a dispatch under way; its end is heard at once
SHORTEST: Final = 1.0  # seconds between two tries, …
LONGEST: Final = 60.0  # … growing to this
APART: Final = 0.5  # seconds between two tries of those that wait at gates, however many they are
LATE: Final = 330.0  # seconds for which an owner's late word may still say that nothing was sent
_NO_TARGET: Final = Target(api_base="", repo="", workflow="", ref="")


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


_Name: TypeAlias = tuple[Kind, str]


@dataclass
class Held:
    """A run in hand. Any thread may look at it; it is written by the one turn of its name, and by `Door.take`, which
    only replaces ``press``. ``decided`` and ``forgotten`` only become true."""

    press: Press
    decided: bool = False
    """The send is decided: its record is past `reserved` and `sending`, or the run was seen to have ended.

    The place is free, and a Kafka message of it may be committed. Also true, from the record's first write on, of a run
    whose ``open_at`` is ``None``: the ledger and its follower see to its end.
    """
    waiting: bool = False
    """It waits for GitHub's rate limit, for the gate or for Port to show it: it is kept, but takes no place."""
    forgotten: bool = False
    """It is in hand no more, and nothing was decided: it has to come again (claims: it does by itself)."""
    at_gate: bool = False
    joined: Joined | None = None
    tries: int = 0  # in a row in which nothing could be sent
    late_until: float | None = None  # monotonic: kept for an owner's late word
    why: str = ""  # it waits, as the log has it

    @property
    def name(self) -> _Name:
        return self.press.run.kind, self.press.run.id

    @property
    def kept(self) -> int:
        """Bytes: of its inputs, and of what each run in hand takes."""
        run = self.press.run
        if isinstance(run, Unusable):
            return EACH
        return EACH + sum(len(name) + len(text.encode()) for name, text in run.inputs.items())

    @property
    def takes_place(self) -> bool:
        return not (self.decided or self.waiting)


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


@dataclass(frozen=True)
class Rules:
    """The settings. ``timeout`` in seconds; ``repos``: patterns, none for any."""

    project: str
    places: int = 200
    timeout: float = 300.0
    org: str = ""
    repos: tuple[str, ...] = ()


class NotYet(Unavailable):
    """Nothing may be sent for the run now. ``queued``: because others, or a limit of GitHub's, come first."""

    def __init__(self, message: str, retry_after: float, *, queued: bool = False) -> None:
        super().__init__(message, retry_after)
        self.queued = queued


class Door:
    """See `Intake`.

    :param read_run: an action run as Port shows it now, or ``None``.
    :param decided: hears of every record whose dispatch is decided.
    :param workers: makes a bounded set of threads, from a limit and a name.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        github: GitHubOfPort,
        read_run: Callable[[str], RunAtPort | None],
        dispatches: DispatchTasks,
        store: Store,
        clock: Clock,
        workers: Callable[[int, str], Workers],
        decided: Callable[[Record], None],
    ) -> None:
        self._rules = rules
        self._github = github
        self._read_run = read_run
        self._dispatches = dispatches
        self._store = store
        self._clock = clock
        self._decided = decided
        threads = workers(AT_ONCE + 8, "port")
        self._rounds: Rounds[_Name] = Rounds(self._turn, clock=clock, workers=threads, at_once=AT_ONCE, what="Port")
        self._bell = Bell(threads)
        self._lock = threading.Lock()  # never held across a call into any of the above
        self._held: dict[_Name, Held] = {}
        self.draining = False

    # ---------------------------------------------------------------- the ways in

    def take(self, press: Press) -> Held:
        name = (press.run.kind, press.run.id)
        with self._lock:
            held = self._held.get(name)
            if held is None:
                held = self._held[name] = Held(press)
            else:
                latest = max((at for at in (press.open_at, held.press.open_at) if at is not None), default=None)
                held.press = replace(press, open_at=latest)
        self._rounds.soon(name)
        return held

    def holds(self, kind: Kind, run_id: str) -> bool:
        return (kind, run_id) in self._held

    @property
    def free(self) -> int:
        with self._lock:
            taken = sum(held.takes_place for held in self._held.values())
            full = self._kept() >= MOST_KEPT
        return 0 if full else max(0, self._rules.places - taken)

    def actions(self) -> Counter[str]:
        with self._lock:
            return Counter(held.press.run.action for held in self._held.values() if held.takes_place)

    def wait(self, seconds: float, until: Callable[[], bool]) -> None:
        deadline = self._clock.monotonic() + seconds
        while True:
            rung = self._bell.listen()
            if until() or (left := deadline - self._clock.monotonic()) <= 0:
                return
            self._bell.wait(rung, left)

    def run(self) -> None:
        """Give turns until `drain`."""
        self._rounds.run()

    def drain(self) -> None:
        """Take and begin nothing more. What is not decided comes again, or its record ends by itself."""
        self.draining = True
        self._rounds.stop()
        self._bell.ring()

    def _kept(self) -> int:
        return sum(held.kept for held in self._held.values() if not held.takes_place)

    # ---------------------------------------------------------------- a turn

    def _turn(self, name: _Name) -> float | None:
        held = self._held.get(name)
        if held is None or self.draining:
            return None
        try:
            return self._step(held)
        except LedgerUnavailable as error:
            self._say(held, f"nothing is sent without the ledger: {error}")
            return self._again(held, error.retry_after)
        except LedgerError as error:  # a record that this version cannot read: the run stays with those who can
            log.error("%s", error, extra=self._subject(held))
            self._forget(held)
            return None
        finally:
            self._bell.ring()

    def _step(self, held: Held) -> float | None:
        joined = held.joined
        if joined is not None:
            record = joined.task.record
            if not joined.ready.done() and record.state in (State.RESERVED, State.SENDING):
                return LOOK
            held.joined = None
            return self._judge(held, record, joined.task.note)
        key = self._key(held.press)
        found = self._store.read(self._rules.project, key.hash)
        if found is not None and found.state not in (State.RESERVED, State.SENDING):
            return self._end(held, found)
        call = self._call(held, key)
        outcome = self._dispatches.decide(call)
        if isinstance(outcome, Joined):
            held.joined = outcome
            outcome.ready.add_done_callback(lambda _: self._rounds.soon(held.name))
            return LOOK
        queued = isinstance(call.problem, NotYet) and call.problem.queued
        return self._judge(held, self._store.read(self._rules.project, key.hash), _note(outcome, queued=queued))

    def _judge(self, held: Held, record: Record | None, note: Note | None) -> float | None:
        """What a try has come to. ``record``: as it stands; of version 0: it is not stored yet."""
        if record is not None and record.state not in (State.RESERVED, State.SENDING):
            return self._end(held, record)
        stored = record is not None and record.version != 0
        not_open = held.press.open_at is None
        held.waiting = stored and (not_open or (note is not None and note.queued))
        held.decided |= stored and not_open
        if note is not None:
            self._say(held, note.message)
        if held.waiting and held.press.via == "claims" and self._kept() > MOST_KEPT:
            self._forget(held)  # it is recorded, and comes again
            return None
        held.at_gate = note is not None and note.at_gate
        pause = self._again(held, None if note is None else note.retry_after)
        return min(max(pause, APART * self._at_gates()), LONGEST) if held.at_gate else pause

    def _at_gates(self) -> int:
        with self._lock:
            return sum(held.at_gate for held in self._held.values())

    def _end(self, held: Held, record: Record) -> float | None:
        now = self._clock.monotonic()
        held.decided, held.waiting, held.at_gate = True, False, False
        self._decided(record)
        if record.state is State.UNKNOWN:  # its owner may still hear that nothing was sent
            if held.late_until is None:
                held.late_until = now + LATE
            if now < held.late_until:
                return LONGEST / 2
        with self._lock:
            self._held.pop(held.name, None)
        return None

    def _forget(self, held: Held) -> None:
        held.forgotten = True
        with self._lock:
            self._held.pop(held.name, None)

    def _again(self, held: Held, asked: float | None) -> float:
        held.tries += 1
        if asked is not None:
            return min(max(asked, SHORTEST), LONGEST)
        return min(SHORTEST * 1.5 ** min(held.tries, 20), LONGEST)

    def _say(self, held: Held, message: str) -> None:
        why = message.removeprefix("nothing dispatched yet: ")
        if why != held.why:
            log.info("nothing dispatched yet: %s", why, extra=self._subject(held))
        held.why = why

    def _subject(self, held: Held) -> dict[str, object]:
        kind, run_id = held.name
        return subject((self._rules.project, kind), run_id)

    # ---------------------------------------------------------------- what is asked of the core

    def _key(self, press: Press) -> Key:
        run = press.run
        report = Report(
            via=press.via,
            kind=run.kind,
            id=run.id,
            wanted=run.wanted,
            ack="open" if press.via == "claims" else "none",
        )
        return Key.of(caller_of(self._rules.project, run.kind, run.id), report)

    def _call(self, held: Held, key: Key) -> DispatchCall:
        run, arrived = held.press.run, self._clock.monotonic()
        problem: StepError | None = None
        request: DispatchRequest | None = None
        if isinstance(run, Unusable):
            return DispatchCall(key, None, _payload(_NO_TARGET), ConfigError(run.problem), None, arrived)
        owner = run.org or self._rules.org
        target = Target(api_base="", repo=f"{owner}/{run.repo}".lower(), workflow=run.workflow, ref=run.ref or "")
        payload = _payload(target, digest(dict(run.inputs)), round(self._rules.timeout))
        try:
            self._check(run, owner)
            request = self._request(held, key, run, owner)
            payload = request.payload
        except StepError as error:
            problem = error if not passing(error) or isinstance(error, NotYet) else _not_yet(error)
        if too_long(_fields(payload.target)) is not None:  # no record can hold it
            payload = _payload(_NO_TARGET)
        return DispatchCall(key, request, payload, problem, None, arrived)

    def _check(self, run: PortRun, owner: str) -> None:
        """:raises ConfigError: nothing may be started for this run."""
        if not owner:
            raise ConfigError(f"action {run.action}: org is missing: set it there, or in GHA_STEP_PORTIO_GITHUB_ORG")
        name = f"{owner}/{run.repo}"
        if self._rules.repos and not any(fnmatchcase(name.lower(), one.lower()) for one in self._rules.repos):
            raise ConfigError(
                f"action {run.action}: workflows of {name} may not be started from here: GHA_STEP_PORTIO_REPOS allows "
                f"{', '.join(self._rules.repos)}"
            )
        target = Target(api_base="", repo=name, workflow=run.workflow, ref=run.ref or "")
        if (why := too_long(_fields(target))) is not None:
            raise ConfigError(f"action {run.action}: {why}")

    def _request(self, held: Held, key: Key, run: PortRun, owner: str) -> DispatchRequest:
        """:raises StepError: there is none, now or at all."""
        repository = self._github.repository(owner, run.repo)
        if (wait := self._github.wait(repository)) > 0:
            host = repository.endpoint.host
            raise NotYet(f"rate limited by {host}; no dispatches for {wait:.0f} s", wait, queued=True)
        self._see_open(held)
        ref = run.ref or self._github.default_branch(repository)
        return DispatchRequest.of(
            key,
            Workflow(repository.endpoint, repository.owner, repository.name, run.workflow, ref),
            repository.token,
            inputs=dict(run.inputs),
            timeout=round(self._rules.timeout),
            correlation_input=None,
            renew=repository.renew,
            may_send=lambda: self._is_fresh(held),
            secrets=tuple(
                Token(value, f"the input {name}") for name, value in run.inputs.items() if name in run.secret
            ),
        )

    def _is_fresh(self, held: Held) -> bool:
        at = held.press.open_at
        return at is not None and self._clock.monotonic() - at <= FRESH and not self.draining

    def _see_open(self, held: Held) -> None:
        """Read the run again where what Port has shown of it is too old. A node cannot be read by its own ID.

        :raises ConfigError: it has ended: nothing is to be sent any more.
        :raises NotYet: it is not seen to be open now.
        """
        if self._is_fresh(held):
            return
        at = self._clock.monotonic()
        pause = min(SHORTEST * 1.5 ** min(held.tries, 20), LONGEST)
        if held.press.run.kind == "run":
            try:
                seen = self._read_run(held.press.run.id)
            except PortError as error:
                raise NotYet(f"Port cannot be asked whether the run is still wanted: {error}", pause) from None
            if seen is None:
                raise NotYet("Port does not show the run yet", pause)
            if seen.ended:
                raise ConfigError("withdrawn")
            if seen.status != "IN_PROGRESS":
                raise NotYet(f"the run is {seen.status} at Port", pause)
        held.press = replace(held.press, open_at=at)


def caller_of(project: str, kind: Kind, run_id: str) -> Caller:
    """Whose dispatch a run's is: four parts, which no host's call can name (port.md, "The record")."""
    return Caller((project, "port", kind, run_id), run_id, asked=Asked(via="Port"))


def _not_yet(error: StepError) -> NotYet:
    return NotYet(str(error), error.retry_after or SHORTEST, queued=isinstance(error, RateLimited))


def _note(result: StepResult, *, queued: bool) -> Note:
    return Note(result.message or "", result.retry_after or LONGEST / 6, queued=queued)


def _payload(target: Target, inputs_hash: str = "", timeout: int = 0) -> Payload:
    """Of a run for which there is no request, as far as the record is to remember it."""
    return Payload(
        target=target,
        inputs_hash=inputs_hash or digest({}),
        timeout=timeout,
        marker=None,
        names_promotion=False,
    )


def _fields(target: Target) -> list[tuple[str, str]]:
    return [("org and repo", target.repo), ("workflow", target.workflow), ("ref", target.ref)]
