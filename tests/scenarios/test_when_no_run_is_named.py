"""GitHub Enterprise Servers that name no run: right, or honestly ambiguous, and never wrong.

Every play is judged as it ends: at most one run per step, and its ID or none. Time is scaled down; `make soak`
plays the same in full.
"""

from concurrent.futures import Future

import pytest

from .plays import OLD, Ended

Plays = dict[tuple[str, str], Future[Ended]]
each = pytest.mark.parametrize("generation", OLD)


@each
def test_five_promotions_at_once_are_told_apart_by_their_names(plays: Plays, generation: str) -> None:
    ended = plays[generation, "five_named"].result()
    assert ended.statuses == {"Succeeded"}
    assert ended.sources == {"promotion-name"}
    assert len({followed.end.run_id for followed in ended.followed}) == 5
    assert ended.posts == 5


@each
def test_one_quiet_dispatch_without_any_mark_is_right(plays: Plays, generation: str) -> None:
    ended = plays[generation, "quiet"].result()
    assert ended.sources == {"only-candidate"}
    assert ended.end.run_id not in [run.id for run in ended.strangers]
    assert ended.posts == 1


def test_promotions_without_a_mark_wait_for_each_other_and_are_all_right(plays: Plays) -> None:
    ended = plays["ghes-3.20", "unmarked_at_once"].result()
    assert ended.statuses == {"Succeeded"}
    assert ended.posts == 3
    waited = [heard.message for followed in ended.followed for heard in followed.heard[:-1]]
    assert any(message.startswith("nothing dispatched yet: another dispatch of") for message in waited)


def test_among_strangers_the_end_is_ambiguous_and_names_every_candidate(plays: Plays) -> None:
    ended = plays["ghes-3.19", "among_strangers"].result()
    message = ended.end.message
    assert ended.end.status == "Failed"
    assert "was dispatched, but the run could not be identified" in message
    ours = ended.only.site.runs(ended.only.tag)
    same_identity, another = ended.strangers
    for run in (*ours, same_identity):
        assert run.url_path in message
    assert another.url_path not in message
    assert "It is not sent again" in message
    assert "`run-name: Deploy ${{ inputs.gha_step }}`" in message
    assert "correlationInput: gha_step" in message
    assert [(again.status, again.message) for again in ended.again] == [("Failed", message)]
    assert ended.posts == 1


def test_what_other_people_start_does_not_disturb_a_dispatch_without_a_mark(plays: Plays) -> None:
    assert plays["ghes-3.20", "among_other_people"].result().sources == {"only-candidate"}


def test_a_stranger_that_passes_another_name_does_not_disturb_the_promotions_name(plays: Plays) -> None:
    assert plays["ghes-3.20", "named_among_strangers"].result().sources == {"promotion-name"}


@each
def test_marked_dispatches_at_once_are_all_right_among_strangers_and_wait_for_nobody(
    plays: Plays, generation: str
) -> None:
    ended = plays[generation, "five_marked"].result()
    assert ended.sources == {"marker"}
    assert ended.posts == 5
    assert not [heard for one in ended.followed for heard in one.heard if "another dispatch" in heard.message]


def test_two_steps_of_one_promotion_with_a_marker_each_find_their_own_run(plays: Plays) -> None:
    ended = plays["ghes-3.19", "two_marked_steps"].result()
    assert ended.sources == {"marker"}
    assert ended.posts == 2


def test_two_steps_of_one_promotion_whose_runs_show_one_name_are_both_right(plays: Plays) -> None:
    ended = plays["ghes-3.20", "two_named_steps"].result()
    assert ended.statuses == {"Succeeded"}
    assert ended.posts == 2


def test_a_record_deleted_while_looking_is_not_sent_again_and_its_run_is_found(plays: Plays) -> None:
    ended = plays["ghes-3.20", "deleted_while_looking"].result()
    assert ended.sources == {"only-candidate"}
    assert ended.posts == 1


def test_after_a_204_without_a_run_the_message_says_that_github_accepted(plays: Plays) -> None:
    ended = plays["ghes-3.20", "accepted_never_listed"].result()
    assert ended.end.status == "Failed"
    assert "was accepted by GitHub, but no run was seen" in ended.end.message
    assert "/myorg/my-app/actions/workflows/never-listed.yml" in ended.end.message
    assert ended.posts == 1


def test_after_a_204_a_marker_that_no_title_shows_is_told_with_the_candidate(plays: Plays) -> None:
    ended = plays["ghes-3.19", "accepted_marker_not_shown"].result()
    (run,) = ended.only.site.runs(ended.only.tag)
    assert ended.end.status == "Failed"
    assert f"No run's title shows this step's marker {run.inputs['gha_step']}" in ended.end.message
    assert run.url_path in ended.end.message
