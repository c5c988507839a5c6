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


def test_a_marker_finds_the_run_although_the_answer_was_lost(plays: Plays) -> None:
    ended = plays[NEW, "marked, reset after"].result()
    assert ended.sources == {"marker"}
