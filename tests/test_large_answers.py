"""What others send is held and worked on within bounds, and no server takes all of them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Response
from gha_step.emulator import Answer as Scripted
from gha_step.github.client import PAGES, in_smaller_pages
from gha_step.github.connection import SocketConnector
from gha_step.github.errors import TooLarge
from gha_step.github.messages import LONGEST_TEXT, shown
from gha_step.large_answers import (
    MOST_DIGITS,
    MOST_ESCAPES,
    MOST_MARKS,
    ROOM,
    LargeAnswers,
    Place,
    is_too_much,
    rest_after,
)
from gha_step.runtime import SystemClock, ThreadWorkers
from tests.github.answers import asking, client_over
from tests.support.clock import VirtualClock

RUNS = "/repos/myorg/my-app/actions/workflows/deploy.yml/runs"
A_RUN = {f"field_{number}": f"https://api.github.com/repos/x/{number}" for number in range(200)}


def test_a_page_of_a_hundred_large_runs_is_no_more_than_may_come() -> None:
    assert not is_too_much(json.dumps({"workflow_runs": [A_RUN] * 100}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * MOST_MARKS,
        b'{"a":' * MOST_MARKS,
        b'"' + b"\\u005c" * (MOST_ESCAPES + 1),
        b'"' + b"%25" * (MOST_ESCAPES + 1),
        b'"' + b"&amp;" * (MOST_ESCAPES + 1),
        b"[" + b"1234567890" * 400 + (b"," + b"1234567890" * 400) * (MOST_DIGITS // 4000 + 1),
    ],
)
def test_values_and_escapes_are_counted_before_any_is_made(body: bytes) -> None:
    assert is_too_much(body)


def test_a_listing_of_too_many_values_is_asked_for_in_smaller_pages(github: GitHub, github_url: str) -> None:
    body = b"[" + b"[]," * MOST_MARKS + b"[]]"
    github.faults.add(Scripted(Response(200, body=body)), "list-workflow-runs")
    client = client_over(SocketConnector(), SystemClock())
    sizes: list[int] = []

    def read(size: int) -> int:
        sizes.append(size)
        return client.read("runs", asking(github_url), RUNS, Token(EXAMPLE_TOKEN), lambda answer: answer.status)

    assert in_smaller_pages(read) == 200
    assert sizes == list(PAGES[:2])


def test_a_look_of_too_many_values_is_no_answer(github: GitHub, github_url: str) -> None:
    github.faults.add(Scripted(Response(200, body=b"[" + b"[]," * MOST_MARKS + b"[]]")))
    with pytest.raises(TooLarge):
        client_over(SocketConnector(), SystemClock()).get("run", asking(github_url), RUNS, Token(EXAMPLE_TOKEN))


# ---------------------------------------------------------------- room


def grown(answers: LargeAnswers, server: str, size: int) -> Place:
    place = Place(answers, server)
    if not place.grow(size, 0.0):
        raise _NoRoom
    return place


class _NoRoom(Exception):
    pass


def test_there_is_room_for_so_many_bytes_at_once_and_what_was_left_is_free_again() -> None:
    answers = LargeAnswers(VirtualClock())
    held = [grown(answers, name, ROOM // 4) for name in ("a", "b", "", "")]
    with pytest.raises(_NoRoom):
        grown(answers, "c", 1)
    held[0].leave()
    held[0].leave()
    grown(answers, "c", ROOM // 4)
    with pytest.raises(_NoRoom):
        grown(answers, "d", 1)


def test_one_project_has_one_large_answer_at_a_time_even_while_nobody_waits() -> None:
    answers = LargeAnswers(VirtualClock())
    first = grown(answers, "greedy", 1)
    with pytest.raises(_NoRoom):
        grown(answers, "greedy", 1)
    grown(answers, "other", 1)
    first.leave()
    grown(answers, "greedy", 1)


def test_a_server_whose_answer_took_a_processor_long_rests_and_others_do_not() -> None:
    clock, used = VirtualClock(), [100.0]
    answers = LargeAnswers(clock, lambda: used[0])
    place = grown(answers, "a", 1)
    place.read()
    used[0] += 2.0
    clock.sleep(60.0)  # the machine was busy otherwise: nobody waits for that
    place.leave()
    grown(answers, "b", 1)
    with pytest.raises(_NoRoom):
        grown(answers, "a", 1)
    clock.sleep(rest_after(2.0))
    grown(answers, "a", 1)


@pytest.mark.parametrize(("took", "rests"), [(0.002, 0.018), (0.012, 0.108), (0.015, 0.15), (0.054, 1.944), (0.3, 5.0)])
def test_the_longer_an_answer_takes_the_fewer_calls_meet_one(took: float, rests: float) -> None:
    assert rest_after(took) == pytest.approx(rests)


def test_a_project_has_one_share_however_many_servers_it_names() -> None:
    client = client_over(SocketConnector(), SystemClock())
    workers = ThreadWorkers(2, "test")

    def name(url: str) -> str:
        return client.place(asking(url).endpoint)._name

    assert workers.spawn(lambda: name("http://localhost:1"), "project-a").result() == "project-a"
    assert workers.spawn(lambda: name("http://localhost:2"), "project-a").result() == "project-a"
    assert workers.spawn(lambda: name("http://localhost:2")).result() == "localhost:2"
    assert name("http://localhost:3") == "localhost:3"


def test_large_answers_are_worked_on_one_at_a_time() -> None:
    answers = LargeAnswers(VirtualClock())
    first, second = grown(answers, "a", 1), grown(answers, "b", 1)
    first.read()
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(second.read)
        assert not waits.done()
        first.leave()
        waits.result()
        second.leave()


def test_a_text_that_never_ends_is_cut_before_it_is_looked_at() -> None:
    class Counted(str):
        """Counts how much of it is looked at."""

        def split(self, *_: object) -> list[str]:
            raise AssertionError("the whole text is looked at")

        def __getitem__(self, key: object) -> str:
            return str.__getitem__(str(self), key)  # type: ignore[index]

    assert len(shown(Counted("x " * 500_000))) == LONGEST_TEXT
