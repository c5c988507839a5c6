"""GitHub Enterprise Servers that name no run: right, or honestly ambiguous, and never wrong.

Every play is judged as it ends: at most one run per step, and its ID or none. Time is scaled down; `make soak`
plays the same in full.
"""

from concurrent.futures import Future

from .plays import Ended

Plays = dict[tuple[str, str], Future[Ended]]


def test_five_promotions_at_once_are_told_apart_by_their_names(plays: Plays) -> None:
    ended = plays["ghes-3.19", "five_named"].result()
    assert ended.statuses == {"Succeeded"}
    assert ended.sources == {"promotion-name"}
    assert len({followed.end.run_id for followed in ended.followed}) == 5
    assert ended.posts == 5


def test_one_quiet_dispatch_without_any_mark_is_right(plays: Plays) -> None:
    ended = plays["ghes-3.20", "quiet"].result()
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


def test_marked_dispatches_at_once_are_all_right_among_strangers_and_wait_for_nobody(plays: Plays) -> None:
    ended = plays["ghes-3.19", "five_marked"].result()
    assert ended.sources == {"marker"}
    assert ended.posts == 5
    assert not [heard for one in ended.followed for heard in one.heard if "another dispatch" in heard.message]


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
