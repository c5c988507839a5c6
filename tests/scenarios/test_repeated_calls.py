"""The same step again, as hosts do after a lost pod, with other inputs, or with another target."""

import dataclasses
from typing import Any

import pytest

from gha_step.emulator import Answer, Response
from tests.support.clock import eventually
from tests.support.host import Step

from .site import Site, sent_inputs


def changed(step: Step, **changes: Any) -> Step:
    return dataclasses.replace(step, config=step.config | changes)


def test_all_steps_again_from_the_first_give_the_same_run(github_com: Site) -> None:
    promotion = github_com.promotion()
    step = github_com.step(promotion, github_com.workflow("again.yml"))
    first = github_com.follow(promotion, step)
    for _ in range(3):
        promotion.lose_pod()
        github_com.stop()
        github_com.start()
        assert github_com.follow(promotion, step).end.run_id == first.end.run_id
    assert github_com.github.count("dispatch") == 1


def test_other_inputs_after_the_dispatch_change_nothing_and_are_told(github_com: Site) -> None:
    promotion = github_com.promotion()
    step = github_com.step(promotion, github_com.workflow("again.yml"))
    first = github_com.follow(promotion, step).end
    assert first.output is not None
    assert "inputsChanged" not in first.output
    heard = github_com.end(promotion, changed(step, inputs={"image_tag": "another"}))
    assert heard.status == "Succeeded"
    assert heard.run_id == first.run_id
    assert heard.output is not None
    assert heard.output["inputsChanged"] is True
    assert "differ from those that were dispatched" in heard.message
    assert github_com.runs("another") == []
    assert github_com.github.count("dispatch") == 1


def test_other_inputs_before_the_dispatch_are_those_that_are_sent(github_com: Site) -> None:
    busy = Response.of(429, {"message": "You have exceeded a secondary rate limit."}, {"Retry-After": "1"})
    github_com.github.faults.add(Answer(busy), "dispatch", times=None)
    promotion = github_com.promotion()
    step = github_com.step(promotion, github_com.workflow("again.yml"), timeout="60")
    newer = changed(step, inputs={"image_tag": "newer"})
    for asked in (step, newer):  # while it is refused, however long the calls take
        eventually(lambda: github_com.host.call(promotion, asked).message.startswith("nothing dispatched yet:"))  # noqa: B023
    github_com.github.faults.clear()
    end = github_com.follow(promotion, newer).end
    assert [run.id for run in github_com.runs("newer")] == [end.run_id]
    assert sent_inputs(github_com.runs("newer")[0]) == {"image_tag": "newer"}
    assert end.output is not None
    assert "inputsChanged" not in end.output


@pytest.mark.parametrize(
    "elsewhere",
    [{"ref": "dev"}, {"workflowFile": "deploy.yml"}, {"repo": "another"}],
    ids=["ref", "workflow", "repository"],
)
def test_another_target_after_the_dispatch_fails_with_the_runs_link(
    github_com: Site, elsewhere: dict[str, str]
) -> None:
    github_com.github.add_repository("myorg/another")
    promotion = github_com.promotion()
    step = github_com.step(promotion, github_com.workflow("again.yml"))
    first = github_com.follow(promotion, step).end
    assert first.output is not None
    heard = github_com.end(promotion, changed(step, **elsewhere))
    assert heard.status == "Failed"
    assert heard.final
    assert first.output["url"] in heard.message
    assert "nothing was sent for the new one" in heard.message
    assert github_com.github.count("dispatch") == 1
    back = github_com.end(promotion, step)
    assert (back.status, back.run_id) == ("Succeeded", first.run_id)


@pytest.mark.parametrize("ref", ["refs/heads/main", "main"])
def test_the_same_target_in_other_words_is_the_same_target(github_com: Site, ref: str) -> None:
    promotion = github_com.promotion()
    step = github_com.step(promotion, github_com.workflow("again.yml"))
    first = github_com.follow(promotion, step).end
    again = github_com.end(promotion, changed(step, ref=ref, owner="MyOrg", repo="My-App"))
    assert (again.status, again.run_id) == ("Succeeded", first.run_id)
    assert github_com.github.count("dispatch") == 1


def test_what_github_refused_is_told_again_and_not_sent_again(github_com: Site) -> None:
    promotion = github_com.promotion()
    step = github_com.step(promotion, "missing.yml")
    refused = "nothing was dispatched: GitHub refused to dispatch myorg/my-app workflow missing.yml on ref main (404: "
    end = github_com.follow(promotion, step).end
    assert (end.status, end.message.startswith(refused)) == ("Failed", True), end
    github_com.workflow("missing.yml")  # fixed: a new promotion is needed all the same
    promotion.lose_pod()
    again = github_com.follow(promotion, step).end
    assert (again.status, again.message.startswith(refused)) == ("Failed", True), (
        again
    )  # what to do about it may differ
    assert github_com.github.count("dispatch") == 1
    other = github_com.promotion()
    assert github_com.follow(other, github_com.step(other, "missing.yml")).end.status == "Succeeded"


def test_the_same_alias_of_another_promotion_is_another_dispatch(github_com: Site) -> None:
    file = github_com.workflow("again.yml")
    ids = set()
    for _ in range(3):
        promotion = github_com.promotion()
        ids.add(github_com.follow(promotion, github_com.step(promotion, file)).end.run_id)
    assert len(ids) == 3
