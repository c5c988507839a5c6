"""The ledger's record is deleted under our feet: what is still known counts, and nothing is sent again."""

import time

from gha_step.emulator import Hold
from tests.support.clock import eventually

from .site import Site


def dispatches(made: Site) -> int:
    return sum(logged.operation == "dispatch" and logged.status in (200, 204, None) for logged in made.github.log)


def test_deleted_while_the_post_is_on_the_wire_its_answer_makes_the_record_anew(hasty: Site) -> None:
    held = Hold()
    hasty.github.faults.add(held, "dispatch")
    promotion = hasty.promotion()
    step = hasty.step(promotion, hasty.workflow("deleted.yml"))
    hasty.begin(promotion, step)
    hasty.delete_record(promotion, step)
    held.release()
    assert hasty.follow(promotion, step).source == "response"
    hasty.await_state(promotion, step, "accepted")
    assert dispatches(hasty) == 1


def test_deleted_and_restarted_the_run_that_the_host_remembers_counts(github_com: Site) -> None:
    promotion = github_com.promotion()
    step = github_com.step(promotion, github_com.workflow("deleted.yml"))
    first = github_com.follow(promotion, step)
    github_com.stop()
    github_com.delete_record(promotion, step)
    github_com.start()
    again = github_com.follow(promotion, step)
    assert again.end.run_id == first.end.run_id
    assert again.source == "host"
    assert dispatches(github_com) == 1
    assert [run.id for run in github_com.github.runs] == [first.end.run_id]


def test_deleted_and_restarted_nothing_is_sent_if_the_host_remembers_that_something_was(hasty: Site) -> None:
    held = Hold()
    hasty.github.faults.add(held, "dispatch")
    promotion = hasty.promotion()
    step = hasty.step(promotion, hasty.workflow("deleted.yml"))
    hasty.begin(promotion, step)
    eventually(lambda: (hasty.host.call(promotion, step).output or {}).get("dispatch"))  # not yet if busy
    held.release()
    hasty.await_state(promotion, step, "accepted")
    hasty.stop()
    hasty.delete_record(promotion, step)
    hasty.start()
    end = hasty.follow(promotion, step).end
    assert end.status == "Failed"
    assert "may have been dispatched" in end.message
    assert "record is gone" in end.message
    assert "/myorg/my-app/actions/workflows/deleted.yml" in end.message
    time.sleep(0.2)
    assert dispatches(hasty) == 1
