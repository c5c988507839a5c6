"""A POST that outlives the reply limit goes on while the host hears Running, and its answer counts."""

import threading

from gha_step.emulator import Delay, Hold
from tests.support.clock import LONG, soon

from .site import Site


def test_the_host_hears_running_while_the_post_goes_on(hasty: Site) -> None:
    held = Hold()
    hasty.github.faults.add(held, "dispatch")
    promotion = hasty.promotion()
    step = hasty.step(promotion, hasty.workflow("slow.yml"))
    hasty.begin(promotion, step)
    while "may have been dispatched" not in (running := hasty.host.call(promotion, step)).message:
        assert running.message.startswith("busy")
    held.release()
    followed = hasty.follow(promotion, step)
    assert followed.source == "response"
    assert hasty.github.count("dispatch") == 1
    assert running.status == "Running"
    assert running.output is not None
    assert set(running.output["dispatch"]) == {"record", "target"}


def test_an_answer_is_given_within_the_reply_limit_however_slow_github_is(hasty: Site) -> None:
    held = Hold()
    hasty.github.faults.add(held, "dispatch")
    promotion = hasty.promotion()
    with soon():
        heard = hasty.host.call(promotion, hasty.step(promotion, hasty.workflow("slow.yml")))
    assert heard.status == "Running"
    held.release()


def test_calls_for_the_same_key_at_once_join_the_one_dispatch(hasty: Site) -> None:
    hasty.github.faults.add(Delay(1.0), "dispatch")
    promotion = hasty.promotion()
    step = hasty.step(promotion, hasty.workflow("slow.yml"))
    ends: list[object] = []
    callers = [threading.Thread(target=lambda: ends.append(hasty.follow(promotion, step).end.run_id)) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LONG)
    assert len(ends) == 6
    assert len(set(ends)) == 1
    assert hasty.github.count("dispatch") == 1


def test_a_host_that_gives_up_and_sends_again_starts_nothing_twice(github_com: Site) -> None:
    held = Hold()
    github_com.github.faults.add(held, "dispatch")
    promotion = github_com.promotion()
    step = github_com.step(promotion, github_com.workflow("slow.yml"))
    github_com.host._timeout = 0.1  # less than the reply limit: every attempt is given up and sent again
    github_com.host._pace = 0.1
    assert github_com.host.call(promotion, step).status == "Running"
    assert promotion.shared_state == {"dispatch": None}
    held.release()
    github_com.host._timeout = 30.0
    assert github_com.follow(promotion, step).source == "response"
    assert github_com.github.count("dispatch") == 1


def test_a_server_that_is_told_to_stop_awaits_the_answer_and_the_next_one_knows_it(hasty: Site) -> None:
    held = Hold(when="after")
    hasty.github.faults.add(held, "dispatch")
    promotion = hasty.promotion()
    step = hasty.step(promotion, hasty.workflow("slow.yml"))
    hasty.begin(promotion, step)
    release = threading.Timer(0.5, held.release)
    release.start()
    hasty.stop()
    release.join()
    record = hasty.record(promotion, step)
    assert record is not None
    assert record.state == "accepted"
    hasty.start()
    followed = hasty.follow(promotion, step)
    assert len(followed.heard) == 1
    assert hasty.github.count("dispatch") == 1
