"""What holds for every course of events within the specification's one assumption: a run is listed within S.

Time is GitHub's, in tenths of a second; what a client sees of it is cut to whole seconds, as GitHub cuts it.
"""

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.listing import WorkflowRuns
from gha_step.ledger.attribution import DATE_SLACK
from gha_step.ledger.record import Record, State
from gha_step.ledger.transitions import Looked, advance
from tests.ledger.records import record

from .listed import EPOCH, MARKER, PROMOTION, SETTLE, decide, follow, listed, listing, unknown

OURS = 500


def tenths(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(round(low * 10), round(high * 10)).map(lambda value: value / 10)


@dataclass(frozen=True)
class Made:
    """A run, and when it came to be and to be listed."""

    id: int
    created: float
    shown: float
    title: str = "Deploy"


@dataclass(frozen=True)
class Course:
    """One dispatch among strangers: when what happened on GitHub, and when somebody looked."""

    baseline: float | None  # when it was asked for; the POST leaves at 0
    processed: float | None  # None: the POST was lost on its way
    answered: float  # the moment of the 204, or of the loss
    ours: Made | None
    strangers: tuple[Made, ...]
    looks: tuple[tuple[float, float], ...]  # (asked at, took)

    @property
    def made(self) -> tuple[Made, ...]:
        return (*self.strangers, self.ours) if self.ours else self.strangers

    def listing(self, asked: float, took: float) -> WorkflowRuns:
        """As `Listings` makes it: ``begun`` is the answer's Date less the time that it took."""
        runs = [listed(run.id, at=math.floor(run.created), title=run.title) for run in self.made if run.shown <= asked]
        return listing(*runs, begun=math.floor(asked + took) - took)

    def looking(self, state: State, **changes: object) -> Record:
        """The record as it begins to look."""
        floor: float | None = None
        ids: tuple[int, ...] = ()
        if self.baseline is not None:
            floor = EPOCH + math.floor(self.baseline) - DATE_SLACK
            ids = tuple(run.id for run in self.made if run.shown <= self.baseline)
        elif state is State.ACCEPTED_WITHOUT_ID:
            floor = EPOCH + math.floor(self.answered) - self.answered - DATE_SLACK
        fields: dict[str, Any] = {"floor": floor, "baseline_ids": ids, "timeout": 60} | changes
        if state is State.ACCEPTED_WITHOUT_ID:
            fields["answered_date"] = EPOCH + math.floor(self.answered)
        return record(state, **fields)

    def end(self, looks: Record) -> Record:
        """What becomes of the record, look by look; ``asked`` is also the time since sending, for POST at 0."""
        for asked, took in self.looks:
            event = decide(looks, self.listing(asked, took), since_sending=asked)
            looks = advance(looks, event)
            if not isinstance(event, Looked):
                break
        return looks


@st.composite
def courses(draw: st.DrawFn, *, lost: bool = False) -> Course:
    baseline = draw(st.none() | tenths(-9, -0.1))
    processed = draw(tenths(0, 25))
    answered = processed + draw(tenths(0, 5))
    ours = None
    if not lost:
        created = processed + draw(tenths(0, SETTLE))
        ours = Made(OURS, created, created + draw(tenths(0, SETTLE - (created - processed))))
    strangers = []
    for number in range(draw(st.integers(0, 3))):
        began = draw(tenths(-40, 60))
        # Nobody promises how soon a stranger's run is listed.
        run_id = draw(st.sampled_from((100, 900))) + number
        strangers.append(Made(run_id, began, began + draw(tenths(0, 60))))
    asked = sorted(answered + draw(tenths(0, 80)) for _ in range(draw(st.integers(0, 5))))
    looks = [(when, draw(tenths(0, 3))) for when in asked] + [(100.0, 0.1), (102.0, 0.1), (104.0, 0.1)]
    return Course(baseline, None if lost else processed, answered, ours, tuple(strangers), tuple(looks))


@given(courses())
def test_after_a_204_the_end_is_our_run_or_ambiguous_with_ours_among_the_candidates(course: Course) -> None:
    end = course.end(course.looking(State.ACCEPTED_WITHOUT_ID))
    if end.state is State.ACCEPTED:
        assert end.run is not None
        assert end.run.id == OURS
    else:
        assert end.state is State.AMBIGUOUS
        assert OURS in [candidate.id for candidate in end.candidates]


@given(courses())
def test_after_a_204_a_dispatch_without_strangers_is_always_found(course: Course) -> None:
    quiet = Course(course.baseline, course.processed, course.answered, course.ours, (), course.looks)
    end = quiet.end(quiet.looking(State.ACCEPTED_WITHOUT_ID))
    assert end.run is not None
    assert (end.run.id, end.run.source) == (OURS, "only-candidate")


@given(courses(lost=True) | courses())
def test_after_a_lost_answer_no_run_is_claimed_without_a_mark(course: Course) -> None:
    end = course.end(course.looking(State.UNKNOWN))
    assert end.state in (State.AMBIGUOUS, State.UNRESOLVED)
    assert end.run is None


@given(courses(lost=True) | courses(), st.booleans(), st.booleans())
def test_a_mark_that_only_our_run_shows_never_names_another(course: Course, by_marker: bool, accepted: bool) -> None:
    mark = MARKER if by_marker else PROMOTION
    ours = course.ours and Made(OURS, course.ours.created, course.ours.shown, f"Deploy {mark}")
    marked = Course(course.baseline, course.processed, course.answered, ours, course.strangers, course.looks)
    state = State.ACCEPTED_WITHOUT_ID if accepted and ours else State.UNKNOWN
    changes: dict[str, Any] = {"marker": MARKER} if by_marker else {"names_promotion": True}
    end = marked.end(marked.looking(state, **changes))
    if ours is None:
        assert end.run is None
        assert end.state in (State.AMBIGUOUS, State.UNRESOLVED)
    else:
        assert end.run is not None or not accepted  # a lost answer may be looked for too early only
        assert end.run is None or end.run.id == OURS


@given(courses(), st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_repetition_of_runs_in_a_listing_matters(course: Course, dice: object) -> None:
    looks = course.looking(State.ACCEPTED_WITHOUT_ID)
    for asked, took in course.looks:
        straight = course.listing(asked, took)
        runs = [*straight.runs, *straight.runs]
        dice.shuffle(runs)  # type: ignore[attr-defined]
        shuffled = WorkflowRuns(straight.date, straight.begun, tuple(runs))
        event = decide(looks, straight, since_sending=asked)
        assert event == decide(looks, shuffled, since_sending=asked)
        if not isinstance(event, Looked):
            return
        looks = advance(looks, event)


@given(courses(), st.sampled_from((State.ACCEPTED_WITHOUT_ID, State.UNKNOWN)))
def test_candidates_are_never_forgotten_from_one_listing_to_the_next(course: Course, state: State) -> None:
    looks = course.looking(state)
    for asked, took in course.looks:
        before = {candidate.id for candidate in looks.seen}
        event = decide(looks, course.listing(asked, took), since_sending=asked)
        if not isinstance(event, Looked):
            return
        looks = advance(looks, event)
        assert before <= {candidate.id for candidate in looks.seen}
        assert looks.state is state


@given(st.lists(st.tuples(st.integers(1, 9), tenths(-4, 90)), max_size=6), tenths(0, 90))
def test_looking_always_ends_by_the_deadline_and_never_claims_what_was_lost(
    runs: list[tuple[int, float]], asked: float
) -> None:
    shown = [listed(run_id, at=math.floor(at)) for run_id, at in runs]
    end = follow(unknown(), [listing(*shown, begun=asked), listing(*shown, begun=max(asked, 60.0))])
    assert end.state is (State.AMBIGUOUS if shown else State.UNRESOLVED)
