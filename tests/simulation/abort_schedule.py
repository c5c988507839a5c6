"""One schedule of promotions with ``cancelOnAbort``: some are aborted, some fail or are deleted, some succeed.

What must hold besides: each duty comes to an end; the run of a promotion that ended without success is cancelled where
it is known exactly, and no other run ever is: not of one that succeeded, not a stranger's, not a later attempt. Where
nothing goes wrong, it is cancelled once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gha_step.contract.errors import Unavailable
from gha_step.emulator import GitHub, Request, Response, Run
from gha_step.inbound.abort.follower import Aborts
from gha_step.inbound.abort.rules import EXACT
from gha_step.inbound.duties import Duties
from gha_step.ledger.duties import Phase
from gha_step.ledger.record import Record
from gha_step.wiring.core import Core

from .kernel import Process
from .port_schedule import Cell, SimLeader
from .schedule import CALM_AFTER, Broken, Promotion, Schedule
from .world import EPOCH, SimClock, SimWorkers

ENDS: Final[tuple[Phase, ...]] = ("Succeeded", "Aborted", "Aborted", "Failed", "Errored", "deleted")
RACE: Final = (
    40.0  # seconds within which a person's re-run may come between a look and a cancel: GitHub has no condition
)
_CANCEL: Final = re.compile(r".*/actions/runs/([0-9]+)/(force-)?cancel")


@dataclass
class Fate:
    """What becomes of one promotion, and when. ``rerun``: seconds after its end, if a person runs it again."""

    end: Phase
    at: float
    rerun: float | None


@dataclass(frozen=True)
class Cancelled:
    """A request to cancel that has reached GitHub, and found this attempt."""

    at: float
    run_id: int
    attempt: int
    force: bool
    taken: bool


class SimPromotions:
    """As `gha_step.inbound.promotions.Promotions` reads them."""

    def __init__(self, schedule: "AbortSchedule", process: Process) -> None:
        self._schedule = schedule
        self._process = process

    def end(self, project: str, name: str, uid: str) -> Phase | None:
        boundaries = self._schedule.boundaries
        boundaries.cross(self._process, "read Promotion")
        if boundaries.strikes(boundaries.weather.lost_read):
            raise Unavailable("the API server does not answer", 5.0)
        return self._schedule.shown(uid)


class AbortSchedule(Schedule):
    """See the module."""

    over_after = CALM_AFTER + 900.0

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        dice = self.kernel.random
        self.play, self.ordinary, self.shared_store, self.one_promotion = "any", False, True, False
        self.replicas = dice.choice((1, 2))
        self.promotions = [self._promotion(number) for number in range(dice.choice((1, 2, 3)))]
        self.cell = Cell()
        self.cancels: list[Cancelled] = []
        self.fates: dict[str, Fate] = {}
        for promotion in self.promotions:
            promotion.config["cancelOnAbort"] = dice.choice((True, True, "force"))
            at = dice.choice((dice.uniform(0.0, 10.0), dice.uniform(0.0, 200.0)))
            rerun = dice.uniform(0.0, 60.0) if dice.random() < 0.2 else None
            self.fates[promotion.uid] = Fate(dice.choice(ENDS), at, rerun)

    def _github(self) -> GitHub:
        github = super()._github()
        workflow = github.repository("myorg/my-app").workflow("deploy.yml")
        assert workflow is not None
        workflow.runs_for = 1e6
        workflow.cleans_up_for = self.kernel.random.choice((0.0, 60.0, 1e6))
        return github

    def shown(self, uid: str) -> Phase | None:
        """What the API server says of a Promotion."""
        fate = self.fates[uid]
        return fate.end if self.kernel.now >= fate.at else None

    def _started(self, process: Process, core: Core, clock: SimClock, workers: SimWorkers) -> None:
        aborts = Aborts(
            promotions=SimPromotions(self, process),  # type: ignore[arg-type]
            access=core.access,
            client=core.client,
            dispatches=core.dispatches,
            store=core.store,
            clock=clock,
            everybodys=False,  # nothing is deleted from this disk
            soon=lambda key: duties.soon(key),  # noqa: PLW0108
            count=lambda outcome: self.kernel.note(f"closed: {outcome}"),
        )
        leader = SimLeader(self.cell, process.name, clock)
        duties = Duties(store=core.store, handler=aborts, leader=leader, clock=clock, workers=lambda *_: workers)
        self.kernel.spawn(process, duties.run)

    def _is_over(self, promotion: Promotion) -> bool:
        return self.shown(promotion.uid) not in (None, "Succeeded")

    # ------------------------------------------------------------------ what must hold

    def run(self) -> None:
        self.network._process = self._watched(self.network._process)  # type: ignore[method-assign,assignment]
        for promotion in self.promotions:
            fate = self.fates[promotion.uid]
            if fate.rerun is not None:
                self.kernel.at(fate.at + fate.rerun, lambda promotion=promotion: self._rerun(promotion))  # type: ignore[misc]
        super().run()

    def _watched(self, process: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """See each request to cancel as it reaches GitHub."""

        def watched(request: Request) -> Response:
            found = _CANCEL.fullmatch(request.path)
            if found is None:
                return process(request)
            run_id = int(found[1])
            (attempt,) = [run.attempt for run in self.github.runs if run.id == run_id] or [0]
            response = process(request)
            taken = response.status == 202
            self.cancels.append(Cancelled(self.kernel.now, run_id, attempt, found[2] is not None, taken))
            return response

        return watched

    def _rerun(self, promotion: Promotion) -> None:
        for run in self.runs_of(promotion):
            self.kernel.note(f"a person runs {run.id} again")
            run.finish("failure")
            run.rerun()

    def ends(self) -> list[str]:
        """How the duties were closed."""
        records = [self._record(promotion) for promotion in self.promotions]
        return [str(record.abort.outcome) for record in records if record is not None and record.abort is not None]

    def _check(self) -> None:
        super()._check()
        allowed: set[int] = set()
        for promotion in self.promotions:
            runs = {run.id for run in self.runs_of(promotion)}
            fate = self.fates[promotion.uid]
            if fate.end != "Succeeded":
                allowed |= runs
                self._check_aborted(promotion, fate)
            record = self._record(promotion)
            if record is not None and (record.abort is None or not record.abort.closed):
                raise Broken(f"{promotion.name}: its duty is never closed: {record.abort}")
        for cancel in self.cancels:
            if cancel.run_id not in allowed:
                raise Broken(f"run {cancel.run_id} was cancelled, and its promotion Succeeded, or it is nobody's")

    def _check_aborted(self, promotion: Promotion, fate: Fate) -> None:
        record, runs = self._record(promotion), self.runs_of(promotion)
        exact = record is not None and record.run is not None and record.run.source in EXACT
        for run in runs:
            asked = [cancel for cancel in self.cancels if cancel.run_id == run.id]
            if record is not None and fate.rerun is not None and not self.weather.freeze and not self.weather.zombie:
                self._check_attempts(promotion, record, run, fate.at + fate.rerun)
            if record is not None and not exact and asked:
                raise Broken(f"{promotion.name}: run {run.id} was cancelled, and is not known exactly")
            if record is not None and record.abort is not None and record.abort.outcome == "not-dispatched":
                raise Broken(f"{promotion.name}: closed as not dispatched, and run {run.id} is there")
            if exact and fate.rerun is None and not asked:
                raise Broken(f"{promotion.name}: run {run.id} goes on")
            forced = [cancel for cancel in asked if cancel.force]
            if forced and (promotion.config["cancelOnAbort"] != "force" or forced[0].at - asked[0].at < 359.0):
                raise Broken(f"{promotion.name}: run {run.id} was forced")
            if self.calm and len([cancel for cancel in asked if cancel.taken and not cancel.force]) > 1:
                raise Broken(f"{promotion.name}: run {run.id} was cancelled {len(asked)} times")

    def _check_attempts(self, promotion: Promotion, record: Record, run: Run, begun: float) -> None:
        """What began after the end was first seen is left alone."""
        if record.abort is None or record.abort.ended is None or begun < record.abort.ended - EPOCH:
            return
        race = 1.0 if self.calm else RACE
        late = [cancel for cancel in self.cancels if cancel.run_id == run.id and cancel.attempt > 1]
        if any(cancel.at > begun + race for cancel in late):
            raise Broken(f"{promotion.name}: attempt {late[0].attempt} of run {run.id} was cancelled")
