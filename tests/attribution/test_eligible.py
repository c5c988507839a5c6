"""Which runs may be ours at all: each condition on its own."""

from typing import Any

import pytest

from gha_step.ledger.attribution import eligible, floor_of
from gha_step.ledger.record import State
from gha_step.ledger.transitions import Looked, advance

from .listed import EPOCH, FOREIGN, MARKER, accepted_without_id, decide, listed, listing, unknown

FLOOR = EPOCH - 5


def may_be_ours(*, taken: frozenset[int] = frozenset(), floor: float | None = FLOOR, **changes: Any) -> bool:
    return eligible(listed(**changes), accepted_without_id(), floor, taken)


def test_an_ordinary_new_run_is_eligible() -> None:
    assert may_be_ours()


@pytest.mark.parametrize("event", ["push", "schedule", "repository_dispatch", "workflow_call", "WORKFLOW_DISPATCH", ""])
def test_a_run_that_no_dispatch_started_is_not_eligible(event: str) -> None:
    assert not may_be_ours(event=event)


@pytest.mark.parametrize("branch", ["Main", "refs/heads/main", "main2", "feature/main", ""])
def test_a_run_on_another_ref_is_not_eligible(branch: str) -> None:
    assert not may_be_ours(head_branch=branch)


def test_a_run_of_the_baseline_is_not_eligible() -> None:
    assert not eligible(listed(7), accepted_without_id(baseline_ids=(6, 7)), FLOOR, ())
    assert eligible(listed(8), accepted_without_id(baseline_ids=(6, 7)), FLOOR, ())


@pytest.mark.parametrize(
    ("created", "floor", "expected"),
    [
        (-5.0, -5.0, True),  # the floor's own second counts
        (-6.0, -5.0, False),
        (-5.0, -4.1, True),  # created_at is cut to whole seconds, so the floor must be as well
        (-5.0, -4.0, False),
        (3600.0, -5.0, True),
    ],
)
def test_a_run_counts_from_the_whole_second_of_the_floor_on(created: float, floor: float, expected: bool) -> None:
    assert may_be_ours(at=created, floor=EPOCH + floor) is expected


def test_without_a_floor_no_age_excludes_a_run() -> None:
    assert may_be_ours(at=-1_000_000.0, floor=None)


@pytest.mark.parametrize("actor", ["alice", "Kargo-bot", "kargo-bot[bot]", ""])
def test_a_run_of_another_actor_is_not_eligible_where_ours_is_known(actor: str) -> None:
    assert not eligible(listed(actor=actor), accepted_without_id(actor="kargo-bot"), FLOOR, ())


def test_every_actor_may_be_ours_where_ours_is_not_known() -> None:
    assert eligible(listed(actor="alice"), accepted_without_id(actor=None), FLOOR, ())


def test_a_run_that_another_key_has_is_not_eligible() -> None:
    assert not may_be_ours(run_id=7, taken=frozenset({7}))
    assert may_be_ours(run_id=7, taken=frozenset({8}))


@pytest.mark.parametrize(
    "title", [FOREIGN, f"Deploy {FOREIGN}", f"({FOREIGN})", f"a-{FOREIGN}-b", f"{MARKER} {FOREIGN}"]
)
def test_a_title_with_a_foreign_marker_is_not_eligible(title: str) -> None:
    assert not may_be_ours(title=title)
    assert not eligible(listed(title=title), accepted_without_id(marker=MARKER), FLOOR, ())


@pytest.mark.parametrize(
    "title",
    [
        "gs-",
        "gs-abc",
        "bugs-" + "a" * 26,  # part of a longer word
        "gs-" + "a" * 27,
        "gs-" + "a" * 25,
        "gs-" + "1" * 26,  # no base32
        "GS-" + "A" * 26,
    ],
)
def test_what_only_resembles_a_marker_excludes_nothing(title: str) -> None:
    assert may_be_ours(title=title)


def test_our_own_marker_does_not_exclude_our_run() -> None:
    assert eligible(listed(title=f"Deploy {MARKER}"), accepted_without_id(marker=MARKER), FLOOR, ())


def test_our_marker_is_foreign_to_a_record_without_one() -> None:
    assert not eligible(listed(title=f"Deploy {MARKER}"), accepted_without_id(), FLOOR, ())


# ---------------------------------------------------------------- the floor


def test_the_floor_of_the_baseline_or_the_204_stands_whatever_a_listing_says() -> None:
    assert floor_of(accepted_without_id(floor=EPOCH - 5), listing(begun=900.0), 1.0) == EPOCH - 5


def test_unknown_without_a_baseline_takes_the_first_listings_date_less_the_time_since_sending_and_five_minutes() -> (
    None
):
    assert floor_of(unknown(floor=None), listing(begun=40.0), 30.0) == EPOCH + 40 - 30 - 300


def test_the_floor_follows_githubs_clock_where_it_is_an_hour_ahead_of_ours() -> None:
    record = unknown(floor=None, sending_at=EPOCH, listings=0)
    event = decide(record, listing(listed(at=3601.0), begun=3610.0), since_sending=10.0)
    assert isinstance(event, Looked)
    assert event.floor == EPOCH + 3300
    assert [seen.id for seen in event.seen] == [7]


def test_the_first_listings_floor_is_kept_for_all_later_ones() -> None:
    record = unknown(floor=None, listings=0)
    first = decide(record, listing(begun=10.0))
    assert isinstance(first, Looked)
    kept = advance(record, first)
    second = decide(kept, listing(begun=500.0), since_sending=20.0)
    assert isinstance(second, Looked)
    assert advance(kept, second).floor == first.floor


def test_a_listing_without_a_date_gives_no_floor() -> None:
    record = unknown(floor=None, listings=0)
    event = decide(record, listing(listed(), begun=None), since_sending=1.0)
    assert isinstance(event, Looked)
    assert event.floor is None
    assert record.state is State.UNKNOWN


@pytest.mark.parametrize(("created", "counts"), [(-305.0, True), (-306.0, False)])
def test_a_run_from_before_the_floor_of_a_lost_answer_is_no_candidate(created: float, counts: bool) -> None:
    event = decide(unknown(floor=None), listing(listed(at=created), begun=5.0), since_sending=10.0)
    assert isinstance(event, Looked)
    assert bool(event.seen) is counts
