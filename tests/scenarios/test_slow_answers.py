"""A POST that outlives the reply limit goes on while the host hears Running, and its answer counts."""

import threading

from gha_step.emulator import Hold

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
