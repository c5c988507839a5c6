"""Dispatches with a GitHub App, through the step: whatever befalls the token, at most one run is started."""

import logging
import re
from pathlib import Path

import pytest

from gha_step.emulator import Answer, GitHub, Installation, Reset, Response, bad_gateway
from tests.support.app_keys import ec_key, rsa_key
from tests.support.calls import output
from tests.support.clock import VirtualClock
from tests.support.core import Program
from tests.support.ledger import FaultyStore

from .conftest import NEW, by_url, write_app


def test_an_app_dispatches_as_itself(program: Program, github: GitHub, github_url: str) -> None:
    result = program.follow(by_url(github_url))
    (run,) = github.runs
    assert (result.status, output(result)["runID"]) == ("Succeeded", run.id)
    assert run.actor == "gha-step[bot]"
    assert (github.count(NEW), github.count("dispatch")) == (1, 1)


def test_a_refused_token_is_renewed_and_the_dispatch_sent_once_more(
    program: Program, github: GitHub, github_url: str, installed: Installation, clock: VirtualClock
) -> None:
    program.follow(by_url(github_url))
    clock.forward(20)
    github.remove_token(installed.tokens[0])
    result = program.call(by_url(github_url), promotionUID="uid-2")
    assert result.status == "Succeeded", result  # within the same call
    assert (github.count(NEW), github.count("dispatch"), len(github.runs)) == (2, 3, 2)


def test_a_token_refused_twice_is_not_tried_a_third_time(program: Program, github: GitHub, github_url: str) -> None:
    github.faults.add(Answer(Response.of(401, {"message": "Bad credentials"})), "dispatch", times=None)
    result = program.follow(by_url(github_url))
    assert result.status == "Failed"
    assert "GitHub refused the App's token, and a fresh one in its place (401: 'Bad credentials')" in str(
        result.message
    )
    # Each for ten seconds: at once, after 1, 2, 4 and 4 more.
    assert (github.count("dispatch"), github.count(NEW), len(github.runs)) == (10, 2, 0)
    assert program.follow(by_url(github_url)).message == result.message
    assert github.count("dispatch") == 10


def test_two_tokens_may_be_refused_to_one_key_and_the_refusal_of_a_third_is_the_end(
    program: Program, github: GitHub, github_url: str, clock: VirtualClock, store: FaultyStore
) -> None:
    """None is used up: each is refused as too new, and has expired by the next call."""
    github.faults.add(refusal(401), "dispatch", times=None)
    store.after_write = lambda record: clock.forward(3600) if record.state == "reserved" else None
    result = program.follow(by_url(github_url))
    assert (result.status, github.count("dispatch"), github.count(NEW)) == ("Failed", 3, 3), result


def refusal(status: int) -> Answer:
    words = "Bad credentials" if status == 401 else "Resource not accessible by integration"
    return Answer(Response.of(status, {"message": words}))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_token_that_github_does_not_know_yet_is_tried_again_each_time_as_a_new_attempt(
    program: Program, github: GitHub, github_url: str, clock: VirtualClock, store: FaultyStore, status: int, times: int
) -> None:
    nonces: list[str | None] = []
    store.after_write = lambda record: nonces.append(record.nonce) if record.state == "sending" else None
    github.faults.add(refusal(status), "dispatch", times=times)
    begun = clock.monotonic()
    result = program.follow(by_url(github_url))
    assert result.status == "Succeeded", result
    assert (github.count(NEW), github.count("dispatch"), len(github.runs)) == (1, times + 1, 1)
    assert len(set(nonces)) == times + 1
    assert clock.monotonic() - begun >= sum((1, 2, 4)[:times])


@pytest.mark.parametrize(
    "refused",
    [
        Response.of(403, {"message": "Must have admin rights to Repository."}),
        Response.of(404, {"message": "Not Found"}),
        Response.of(422, {"message": "No ref found for: main"}),
    ],
    ids=lambda refused: str(refused.status),
)
def test_other_refusals_of_a_new_token_are_final_at_once(
    program: Program, github: GitHub, github_url: str, refused: Response
) -> None:
    github.faults.add(Answer(refused), "dispatch")
    assert program.follow(by_url(github_url)).status == "Failed"
    assert (github.count(NEW), github.count("dispatch"), len(github.runs)) == (1, 1, 0)


def test_a_403_of_an_older_token_is_final_at_once(
    program: Program, github: GitHub, github_url: str, clock: VirtualClock
) -> None:
    program.follow(by_url(github_url))
    clock.forward(11)
    github.faults.add(refusal(403), "dispatch")
    assert program.follow(by_url(github_url), promotionUID="uid-2").status == "Failed"
    assert (github.count(NEW), github.count("dispatch"), len(github.runs)) == (1, 2, 1)


def test_a_new_token_that_stays_refused_with_403_ends_after_ten_seconds(
    program: Program, github: GitHub, github_url: str
) -> None:
    github.faults.add(refusal(403), "dispatch", times=None)
    result = program.follow(by_url(github_url))
    assert result.status == "Failed"
    assert "give the GitHub App the permission Actions: write" in str(result.message)
    assert (github.count(NEW), github.count("dispatch")) == (1, 5)


def test_the_token_in_the_place_of_an_older_one_has_ten_seconds_of_its_own(
    program: Program, github: GitHub, github_url: str, installed: Installation, clock: VirtualClock
) -> None:
    program.follow(by_url(github_url))
    clock.forward(20)
    github.faults.add(refusal(401), "dispatch", times=3)  # once the older, twice the new one
    assert program.follow(by_url(github_url), promotionUID="uid-2").status == "Succeeded"
    assert (github.count(NEW), github.count("dispatch"), len(github.runs)) == (2, 5, 2)


def test_tokens_of_520_characters_with_dots_are_used_and_shown_nowhere(
    program: Program, github: GitHub, github_url: str, installed: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert program.follow(by_url(github_url)).status == "Succeeded"
    (token,) = installed.tokens
    assert (len(token), token.count(".")) == (520, 2)
    github.faults.add(Answer(Response.of(422, {"message": f"who is {token}?"})), "dispatch")
    result = program.follow(by_url(github_url), promotionUID="uid-2")
    assert result.status == "Failed"
    assert "who is ***?" in str(result.message)
    assert token not in result.to_wire().decode() + caplog.text


@pytest.mark.parametrize("fault", [Reset("before"), Reset("after"), bad_gateway("before"), bad_gateway("after")])
def test_trouble_while_a_token_is_fetched_is_waited_out(
    program: Program, github: GitHub, github_url: str, fault: Reset
) -> None:
    github.faults.add(fault, NEW, times=2)
    first = program.call(by_url(github_url, timeout="60"))
    assert (first.status, github.count("dispatch")) == ("Running", 0)
    assert str(first.message).startswith("nothing dispatched yet: ")
    assert program.follow(by_url(github_url, timeout="60")).status == "Succeeded"
    assert (github.count(NEW), len(github.runs)) == (3, 1)


def test_trouble_while_a_token_is_renewed_is_waited_out(
    program: Program, github: GitHub, github_url: str, installed: Installation, clock: VirtualClock
) -> None:
    program.follow(by_url(github_url))
    clock.forward(20)
    github.remove_token(installed.tokens[0])
    github.faults.add(bad_gateway("before"), NEW)
    first = program.call(by_url(github_url, timeout="60"), promotionUID="uid-2")
    assert first.status == "Running"
    assert str(first.message).startswith("nothing dispatched yet: ")
    assert program.follow(by_url(github_url, timeout="60"), promotionUID="uid-2").status == "Succeeded"
    assert len(github.runs) == 2


def test_without_a_token_for_all_of_its_timeout_the_step_ends(
    program: Program, github: GitHub, github_url: str, clock: VirtualClock
) -> None:
    github.faults.add(bad_gateway("before"), NEW, times=None)
    begun = clock.monotonic()
    result = program.follow(by_url(github_url, timeout="60"))
    assert (result.status, result.terminal) == ("Failed", True)
    assert str(result.message).startswith("nothing was dispatched: 127.0.0.1 answered 502 to the request for a token")
    assert str(result.message).endswith("the step's timeout of 60 s leaves no time to try again")
    assert 60 <= clock.monotonic() - begun < 70
    github.faults.clear()
    assert program.call(by_url(github_url, timeout="60")) == result  # what was told as final stays so
    assert (github.count("dispatch"), github.runs) == (0, [])


def test_a_limit_that_ends_after_the_timeout_ends_the_step_at_once(
    program: Program, github: GitHub, github_url: str
) -> None:
    github.limit_rate(600, operation=NEW)
    result = program.call(by_url(github_url, timeout="60"))
    assert result.status == "Failed"
    # Reset and Date are cut to whole seconds.
    assert re.search(r"no requests until [0-9:]{8}Z; the step's timeout of 60 s", str(result.message))


def test_without_a_token_what_was_sent_before_goes_on(
    program: Program, github: GitHub, github_url: str, clock: VirtualClock
) -> None:
    done = program.follow(by_url(github_url, timeout="60"))
    clock.forward(4000)  # the token is used up
    github.faults.add(bad_gateway("before"), NEW, times=None)
    for _ in range(3):
        again = program.call(by_url(github_url, timeout="60"))
        assert (again.status, output(again)["runID"]) == ("Succeeded", output(done)["runID"])
        clock.forward(60)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"githubAppPrivateKey": "-----BEGIN nothing"}, "the key githubAppPrivateKey is not a private key in PEM"),
        ({"githubAppPrivateKey": ec_key().private}, "the key githubAppPrivateKey is not an RSA key"),
        ({"githubAppPrivateKey": rsa_key("second").private}, "the private key does not belong to this App"),
        ({"githubAppInstallationID": "1"}, "no such installation"),
        ({"githubAppClientID": "-", "githubAppID": "1"}, "no such App"),
    ],
)
def test_unfit_apps_are_told_with_their_secret(
    program: Program, github: GitHub, github_url: str, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    write_app(tmp_path / "secrets", github_url, **changes)
    result = program.follow(by_url(github_url))
    assert result.status == "Failed"
    assert str(result.message).startswith("nothing was dispatched: project demo: the Secret app: ")
    assert words in str(result.message)
    assert github.count("dispatch") == 0


def test_a_missing_permission_is_told_as_the_apps(
    program: Program, github: GitHub, github_url: str, installed: Installation
) -> None:
    installed.actions = "read"
    result = program.follow(by_url(github_url))
    assert "give the GitHub App the permission Actions: write" in str(result.message)
    assert github.count("dispatch") == 5  # the token is new: for ten seconds this may pass


def test_no_key_and_no_token_is_in_any_answer_or_log(
    program: Program, github: GitHub, github_url: str, installed: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = [program.follow(by_url(github_url))]
    github.remove_token(installed.tokens[0])
    said.append(program.follow(by_url(github_url), promotionUID="uid-2"))
    installed.suspended = True
    github.remove_token(installed.tokens[1])
    said.append(program.follow(by_url(github_url), promotionUID="uid-3"))
    text = "".join(result.to_wire().decode() for result in said) + caplog.text
    assert len(installed.tokens) == 2
    for secret in (*installed.tokens, *rsa_key().private.splitlines()[1:-1], "eyJ"):
        assert secret not in text
