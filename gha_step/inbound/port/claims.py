"""The claim loop: claims action runs and workflow nodes of our installation from Port, and passes them to the intake.

`claiming` decides what to claim and when; the intake decides what happens to a run. If this process dies with a claimed
run, Port offers it again when its visibility timeout ends.

Source: port.md rules 2, 9 and 11.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from gha_step.contract.memory import Memory
from gha_step.inbound.port import claiming
from gha_step.inbound.port.api import PortApi
from gha_step.inbound.port.claiming import Claim, Pace, Places, Rules, Wait
from gha_step.inbound.port.errors import PortError, Refused
from gha_step.inbound.port.intake import Intake, Press
from gha_step.inbound.port.messages import Kind, Nameless, of_claimed_node, of_claimed_run
from gha_step.inbound.port.refusals import ASK_EVERY, Refusals
from gha_step.runtime import Clock
from gha_step.telemetry import log

CLAIMS: Final = "claims"  # names of ways in, for messages and metrics
NODES: Final = "nodes"
_LINGER: Final = 30.0  # seconds after which the places are looked at even if nobody said that they changed
_WAYS: Final[dict[Kind, str]] = {"run": CLAIMS, "node": NODES}
_WHAT: Final[dict[Kind, str]] = {"run": "action runs", "node": "workflow nodes"}


class Claims:
    """A way in: see the module.

    :param personal: whether the token is known to be a person's.
    :param count: hears of each run that was claimed whether it is `new` or comes `again`; of a claim that brought none
        `empty`, of one without an answer `error`.
    """

    name = CLAIMS

    def __init__(
        self,
        api: PortApi,
        intake: Intake,
        *,
        installation: str,
        version: str,
        visibility: float,
        rules: Rules,
        clock: Clock,
        personal: Callable[[], bool] = lambda: False,
        count: Callable[[str], None] = lambda result: None,
    ) -> None:
        self._api = api
        self._intake = intake
        self._installation = installation
        self._version = version
        self._visibility = visibility
        self._rules = rules
        self._clock = clock
        self._personal = personal
        self._count = count
        now = clock.monotonic()
        self._pace = Pace({"run": now, "node": now})
        self._register_at: float | None = now  # None: there is a registration
        self._well_at: dict[Kind, float] = {"run": now, "node": now}
        self._seen: Memory[str, None] = Memory()  # runs that were claimed before: such a one is not new
        self._refusals = Refusals()
        self._refused: set[str] = set()

    @property
    def refused(self) -> bool:
        """Whether Port refuses claims of action runs now."""
        return CLAIMS in self._refused

    @property
    def nodes_refused(self) -> bool:
        """Whether Port refuses claims of workflow nodes now: it may not serve their routes at all."""
        return NODES in self._refused

    def run(self) -> None:
        """Claim until the process stops. Nothing that Port answers ends it."""
        while not self._intake.draining:
            try:
                self.turn()
            except Exception:  # noqa: BLE001  the next turn may do better, and nobody else would claim
                log.exception("claiming from Port failed")
                self._wait(self._rules.poll)

    def turn(self) -> None:
        """One claim, or one wait."""
        places = Places(self._intake.free, self._intake.actions())
        now = self._clock.monotonic()
        match claiming.next_claim(self._pace, places, now, self._rules):
            case Wait(None):
                self._wait(_LINGER, lambda: self._intake.free > 0)
            case Wait(float() as seconds):
                self._wait(seconds)
            case Claim() as claim:
                self._claim(claim)

    def _wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        self._intake.wait(seconds, lambda: self._intake.draining or until())

    def _claim(self, claim: Claim) -> None:
        begun = self._clock.monotonic()
        try:
            self._register(begun)
            found = self._ask(claim)
        except PortError as error:
            self._count("error")
            self._failed(claim.kind, error)
            return
        except Exception:
            self._pace = self._pace.at(claim.kind, begun + ASK_EVERY)  # the other kind is claimed meanwhile
            raise
        now = self._clock.monotonic()
        self._well(claim.kind, now)
        if not found:
            self._count("empty")
        new = sum([self._take(claim.kind, one, begun) for one in found[: claim.limit]])  # more comes again by itself
        self._pace = claiming.claimed(self._pace, claim, len(found), new, now, self._rules)

    def _ask(self, claim: Claim) -> Sequence[Any]:
        if claim.kind == "run":
            return self._api.claim_runs(self._installation, claim.limit, self._visibility, claim.exclude)
        return self._api.claim_nodes(self._installation, claim.limit, self._visibility)

    def _take(self, kind: Kind, value: Any, claimed_at: float) -> bool:
        """Hand one over; whether it was not known."""
        run = of_claimed_run(value) if kind == "run" else of_claimed_node(value)
        if isinstance(run, Nameless):
            self._count("again")
            self._say("nameless", run.problem, "Port gave us a claim that cannot be used: %s", run.problem)
            return False
        new = run.id not in self._seen and not self._intake.holds(kind, run.id)
        self._seen[run.id] = None
        self._count("new" if new else "again")
        self._intake.take(Press(run, "claims", claimed_at))
        return new

    def _register(self, now: float) -> None:
        """See to it that the installation is known to Port. That Port refuses this need not hold up claims.

        :raises PortError: it is not known whether it is.
        """
        if self._register_at is None or now < self._register_at:
            return
        try:
            found = self._api.register(self._installation, self._version)
        except Refused as error:
            self._register_at = now + ASK_EVERY
            words = "the installation %s cannot be registered at Port: %s. Fix: allow it, or register it by hand"
            self._say("registration", f"{error.status}", words, self._installation, error)
            return
        if found.objection:
            self._register_at = now + ASK_EVERY
            words = (
                "GHA_STEP_PORTIO_INSTALLATION: %s exists at Port, but %s. Fix: choose an installation ID "
                "that nothing else uses"
            )
            self._say("registration", found.objection, words, self._installation, found.objection)
            return
        self._register_at = None
        self._refusals.ends("registration")
        if found.made:
            log.info("registered the installation %s at Port: actions can choose it now", self._installation)
            self._pace = self._pace.at("node", now)  # its refusal may have been due to that
        else:
            log.info("the installation %s is registered at Port already: actions can choose it", self._installation)

    def _failed(self, kind: Kind, error: PortError) -> None:
        now = self._clock.monotonic()
        self._pace = claiming.failed(self._pace, kind, error, now, self._rules)
        way, why = _WAYS[kind], claiming.refusal(error)
        if isinstance(error, Refused) and error.status == 404 and kind == "run" and self._register_at is None:
            self._register_at = now  # somebody has removed it
        if why is None:
            if now >= self._well_at[kind] + ASK_EVERY and self._refusals.begins(way, "trouble", now):
                log.warning("Port cannot be asked for %s: %s; asked again", _WHAT[kind], error)
            return
        self._refused.add(way)
        self._say(way, why, "no %s are claimed from Port: %s%s", _WHAT[kind], error, self._advice(kind, error))

    def _advice(self, kind: Kind, error: PortError) -> str:
        if self._personal():
            return ". The client ID in GHA_STEP_PORTIO_SECRET is a person's. Fix: use a machine's credentials"
        if kind == "node" and isinstance(error, Refused) and error.status == 404:
            return "; asked again in an hour. Actions are not affected"
        return "; asked again every minute"

    def _well(self, kind: Kind, now: float) -> None:
        self._well_at[kind] = now
        self._refused.discard(_WAYS[kind])
        if self._refusals.ends(_WAYS[kind]):
            log.info("%s are claimed from Port again", _WHAT[kind])

    def _say(self, way: str, why: str, words: str, *arguments: object) -> None:
        """An error line when it begins, and every hour."""
        if self._refusals.begins(way, why, self._clock.monotonic()):
            log.error(words, *arguments)
