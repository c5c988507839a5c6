"""The answer to the POST is lost: the run is found by a mark, or the end is honest and says so.

Every way in which an answer can be lost is tried in tests/dispatch/test_dispatching.py and by the simulation.
"""

from concurrent.futures import Future

import pytest

from .plays import LOSSES, NEW, Ended

Plays = dict[tuple[str, str], Future[Ended]]


@pytest.mark.parametrize("name", LOSSES)
def test_whatever_is_lost_is_sent_once_and_its_end_stays(plays: Plays, name: str) -> None:
    ended = plays[NEW, name].result()
    assert ended.posts == 1
    (again,) = ended.again
    assert (again.status, again.run_id) == (ended.end.status, ended.end.run_id)
    assert len(ended.only.heard) < 30  # retryAfter makes no busy loop


def test_without_a_mark_the_run_that_was_seen_is_a_candidate_and_not_claimed(plays: Plays) -> None:
    ended = plays[NEW, "reset after"].result()
    (run,) = ended.only.site.runs(ended.only.tag)
    message = ended.end.message
    assert ended.end.status == "Failed"
    assert run.url_path in message
    assert "may have been dispatched, but the run could not be identified" in message
    assert "It is not sent again" in message
    assert "`run-name: Deploy ${{ inputs.gha_step }}`" in message
    assert "correlationInput: gha_step" in message


def test_where_no_run_was_seen_the_message_says_where_to_look_and_what_to_do(plays: Plays) -> None:
    ended = plays[NEW, "reset before"].result()
    assert ended.end.status == "Failed"
    assert ended.only.site.runs(ended.only.tag) == []
    file = ended.only.step.config["workflowFile"]
    assert f"/myorg/my-app/actions/workflows/{file}" in ended.end.message
    assert "may have been dispatched" in ended.end.message
    assert "start a new promotion if it does not" in ended.end.message


def test_a_marker_finds_the_run_although_the_answer_was_lost(plays: Plays) -> None:
    ended = plays[NEW, "marked, reset after"].result()
    assert ended.sources == {"marker"}


def test_the_promotions_name_finds_the_run_although_the_answer_was_lost(plays: Plays) -> None:
    assert plays[NEW, "named, reset after"].result().sources == {"promotion-name"}


def test_a_marker_that_no_title_shows_is_told_with_the_candidate(plays: Plays) -> None:
    ended = plays[NEW, "marked, not shown"].result()
    (run,) = ended.only.site.runs(ended.only.tag)
    assert ended.end.status == "Failed"
    assert f"No run's title shows this step's marker {run.inputs['gha_step']}" in ended.end.message
    assert run.url_path in ended.end.message
    assert f".github/workflows/{ended.only.step.config['workflowFile']}" in ended.end.message
    assert "`run-name: Deploy ${{ inputs.gha_step }}`" in ended.end.message


def test_a_lost_dispatch_does_not_take_the_run_of_another_step_of_its_promotion(plays: Plays) -> None:
    ended = plays[NEW, "lost_beside_a_named_step"].result()
    (second,) = ended.again
    assert second.run_id != ended.only.end.run_id
    assert second.status == "Failed"
