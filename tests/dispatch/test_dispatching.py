"""At most one dispatch per key, and never a wrong run ID: whatever breaks, between any two lines."""

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import LedgerUnavailable
from gha_step.contract.request import Caller, StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token
from gha_step.emulator import (
    API_2022,
    API_2026,
    EXAMPLE_TOKEN,
    Answer,
    Close,
    Delay,
    Endless,
    Fault,
    Generation,
    GitHub,
    Hold,
    Reset,
    Response,
    Truncate,
    bad_gateway,
    redirect,
    refusal,
    serve,
)
from gha_step.github.connection import Connection, SocketConnector
from gha_step.github.dispatch import Workflow
from gha_step.github.endpoint import Endpoint, resolve_endpoint
from gha_step.github.errors import Unreachable, Untrusted
from gha_step.ledger.record import Record, State
from gha_step.runtime import ThreadWorkers
from gha_step.steps.dispatch.request import DispatchCall, DispatchRequest, Key
from tests.support.calls import INPUTS, body, config, output
from tests.support.clock import LONG, VirtualClock, eventually
from tests.support.core import Program, Start
from tests.support.github import PLAIN, WORKFLOW
from tests.support.ledger import FaultyStore
from tests.support.network import FaultyConnector, ScriptedConnection
from tests.support.secrets import example_secret, write_secret


def nothing_dispatched(github: GitHub) -> bool:
    return github.runs == [] and github.count("dispatch") == 0


def run_answer(run_id: int = 17) -> bytes:
    content = b'{"workflow_run_id": %d, "html_url": "https://github.com/myorg/my-app/actions/runs/%d"}' % (
        run_id,
        run_id,
    )
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content


# ---------------------------------------------------------------- one dispatch, one run ID


def test_a_dispatch_is_one_post_and_its_answer_names_the_run(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    result = program.call()
    (run,) = github.runs
    assert result.status == "Succeeded"
    assert output(result)["runID"] == run.id
    assert output(result)["runIDSource"] == "response"
    assert output(result)["url"].endswith(f"/myorg/my-app/actions/runs/{run.id}")
    assert output(result)["links"] == [{"url": output(result)["url"], "label": "GitHub Actions run", "icon": "github"}]
    assert output(result)["dispatch"]["record"] == store.only().key
    assert run.sent_inputs == INPUTS
    assert github.count("dispatch") == 1
    assert github.count() == 2, "the first contact with an unknown server lists its runs"


def test_an_answer_of_up_to_1_mib_names_the_run(program: Program, github: GitHub) -> None:
    """ledger.md, the table of answers."""
    padded = Response.of(200, {"workflow_run_id": 17, "more": "x" * ((1 << 20) - 100)})
    github.faults.add(Answer(padded, "after"), "dispatch")
    assert (output(program.call())["runID"], github.count("dispatch")) == (17, 1)


def test_a_request_that_http_cannot_carry_is_refused_before_the_record_says_sending(
    program: Program, github: GitHub, github_url: str, store: FaultyStore
) -> None:
    """No Secret holds such a token, and no server gives one."""
    key = Key.of(Caller(("demo", "uid", "alias")))
    program.call()  # this server is known by then
    asked = github.count()
    workflow = Workflow(resolve_endpoint(github_url, allow_http=True), "myorg", "my-app", "deploy.yml", "main")
    token = Token("ghp_a\nHost: b", "the token in HAND")
    request = DispatchRequest.of(key, workflow, token, inputs=INPUTS, timeout=60, correlation_input=None)
    outcome = program.dispatches.decide(
        DispatchCall(key, request, request.payload, None, None, program.clock.monotonic())
    )
    assert not isinstance(outcome, StepResult)
    outcome.ready.result(LONG)
    result = outcome.answer()
    assert (result.status, "its Authorization contains" in str(result.message)) == ("Failed", True)
    assert "nothing was dispatched: " in str(result.message)
    assert "correct the token in HAND" in str(result.message)
    assert (github.count(), store.real.read("demo", key.hash).state) == (asked, State.REJECTED)  # type: ignore[union-attr]


def test_the_same_call_again_gives_the_same_run_and_asks_github_nothing_in_any_process(
    program: Program, process: Start, github: GitHub
) -> None:
    first = program.call()
    asked = github.count()
    for again in (program, program, process()):
        assert again.call() == first
    assert (github.count(), len(github.runs)) == (asked, 1)


def test_ten_calls_at_once_are_one_dispatch(program: Program, github: GitHub) -> None:
    github.faults.add(Delay(0.2), "dispatch")
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda _: program.call(), range(10)))
    assert {output(result)["runID"] for result in results} == {github.runs[0].id}
    assert github.count("dispatch") == len(github.runs) == 1


@pytest.mark.parametrize("context", [{"promotionUID": "uid-2"}, {"alias": "second"}, {"alias": "task::dispatch"}])
def test_another_step_is_another_dispatch(program: Program, github: GitHub, context: dict[str, Any]) -> None:
    first, second = program.call(), program.call(**context)
    assert output(first)["runID"] != output(second)["runID"]
    assert (len(github.runs), github.count()) == (2, 3), "the first contact is made once per process"


def test_another_project_is_another_dispatch(program: Program, github: GitHub, secrets: Path, github_url: str) -> None:
    example_secret(secrets, github_url, project="other")
    assert output(program.call())["runID"] != output(program.call(project="other"))["runID"]


def test_the_promotions_name_and_stage_are_no_part_of_the_key(program: Program, github: GitHub) -> None:
    program.call()
    program.call(promotion="renamed", stage="other")
    assert len(github.runs) == 1


def test_the_record_is_durable_before_the_first_byte_leaves(
    program: Program, store: FaultyStore, connector: FaultyConnector
) -> None:
    order: list[str] = []
    connector.on_connect = lambda endpoint: order.append("connect")
    store.after_write = lambda record: order.append(record.state)
    connector.on_send = lambda data: order.append(data[:4].decode())
    program.call()
    assert order[-4:] == ["connect", "sending", "POST", "accepted"]


def test_the_ledger_holds_neither_token_nor_input_values(program: Program, tmp_path: Path) -> None:
    program.call(config(inputs={"environment": "prod", "image_tag": "hunter2"}))
    written = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert b"myorg/my-app" in written
    assert EXAMPLE_TOKEN.encode() not in written
    assert b"hunter2" not in written


# ---------------------------------------------------------------- the answer is lost

LOST: dict[str, Fault] = {
    "reset after processing": Reset("after"),
    "reset before processing": Reset("before"),
    "closed after processing": Close("after"),
    "closed before processing": Close("before"),
    "502 after processing": bad_gateway("after"),
    "502 before processing": bad_gateway("before"),
    "500": Answer(Response.of(500, {"message": "Server Error"}), "after"),
    "503": Answer(Response.of(503, {"message": "Unavailable"}), "before"),
    "408": Answer(Response.of(408, {"message": "Timeout"}), "after"),
    "409": Answer(Response.of(409, {"message": "Conflict"}), "after"),
    "202": Answer(Response.of(202, {}), "after"),
    "200 without an ID": Answer(Response.of(200, {}), "after"),
    "200 with an ID that is none": Answer(Response.of(200, {"workflow_run_id": "17"}), "after"),
    "200 that is no JSON": Answer(Response(200, (), b"<html>"), "after"),
    "200 of more than 1 MiB": Answer(Response.of(200, {"workflow_run_id": 17, "more": "x" * (1 << 20)}), "after"),
    "200 with more values than any": Answer(Response.of(200, {"workflow_run_id": 17, "more": [0] * 200_000}), "after"),
    "cut off": Truncate(10),
    "cut off by a reset": Truncate(10, reset=True),
    "no end": Endless(chunk=b" " * (1 << 20)),
}


@pytest.mark.parametrize("lost", LOST, ids=str)
def test_after_a_lost_answer_nothing_is_sent_again_and_no_run_is_claimed(
    process: Start, github: GitHub, store: FaultyStore, lost: str
) -> None:
    github.faults.add(LOST[lost], "dispatch")
    program = process()
    eventually(lambda: (program.call(reply_within=0.1, promotion=""), github.count("dispatch"))[1])
    first = program.call(reply_within=0.1, promotion="")
    if first.status == "Running":
        assert "may have been dispatched" in str(first.message)
        assert output(first)["dispatch"]["record"] == store.only().key
    result = program.follow(promotion="")
    assert result.status == "Failed"
    assert "may have been dispatched" in str(result.message)
    assert "not sent again" in str(result.message)
    assert "/myorg/my-app/actions" in str(result.message)
    assert "runID" not in output(result)
    assert github.count("dispatch") == 1
    for again in (program.call(promotion=""), process().call(promotion="")):
        assert (again.status, again.terminal) == ("Failed", True)
    assert github.count("dispatch") == 1
    assert store.only().state in (State.UNRESOLVED, State.AMBIGUOUS)


def test_while_a_send_is_possible_the_answer_is_running(program: Program, github: GitHub, store: FaultyStore) -> None:
    held = Hold()
    github.faults.add(held, "dispatch")
    with under_way(program.call, until=lambda: github.count("dispatch")):
        early = program.call(reply_within=2.0)
        assert store.only().state is State.SENDING
        held.release()
    assert (early.status, early.terminal) == ("Running", None)
    assert "may have been dispatched" in str(early.message)
    assert program.call().status == "Succeeded"
    assert github.count("dispatch") == 1


@contextmanager
def under_way(call: Callable[[], object], until: Callable[[], object]) -> Iterator[None]:
    """While a call that has come so far is waited for."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call)
        eventually(until)
        yield


class Silent:
    """A connection whose answer comes only after so many looks."""

    def __init__(self, clock: VirtualClock, looks: int) -> None:
        self.clock = clock
        self.looks = looks
        self.release = threading.Event()

    def send(self, data: bytes) -> None:
        assert data.startswith(b"POST")

    def receive(self, seconds: float) -> bytes | None:
        self.looks -= 1
        if self.looks >= 0:
            self.clock.forward(seconds)
            return None
        self.release.wait(LONG)
        return run_answer(4711)

    def close(self) -> None:
        pass


def posts_only(connector: FaultyConnector, connection: Connection) -> None:
    """The second connection, after the first contact's listing, is this one."""
    count = iter(range(1, 100))
    connector.on_connect = lambda endpoint: connection if next(count) == 2 else None


def test_silence_for_thirty_seconds_is_no_answer_but_a_late_one_still_counts(
    program: Program, clock: VirtualClock, connector: FaultyConnector, store: FaultyStore
) -> None:
    silent = Silent(clock, looks=1)
    posts_only(connector, silent)
    first = program.call(promotion="", reply_within=0.2)
    assert first.status == "Running"
    eventually(lambda: silent.looks < 0)  # the thirty seconds are over
    silent.release.set()
    eventually(lambda: store.only().state is State.ACCEPTED)
    result = program.call(promotion="")
    assert (result.status, output(result)["runID"]) == ("Succeeded", 4711)
    assert connector.posts == 1


def test_a_late_answer_mends_even_an_end_that_was_told(
    program: Program, clock: VirtualClock, connector: FaultyConnector, store: FaultyStore
) -> None:
    silent = Silent(clock, looks=1)
    posts_only(connector, silent)
    assert program.follow(promotion="").status == "Failed"
    silent.release.set()
    eventually(lambda: store.only().state is State.ACCEPTED)
    assert output(program.call(promotion=""))["runID"] == 4711
    assert connector.posts == 1


def test_a_marker_that_a_title_shows_only_after_the_end_is_found_by_the_next_call(
    program: Program, github: GitHub, clock: VirtualClock
) -> None:
    github.repository("myorg/my-app").add_workflow("late.yml", WORKFLOW.format(title=PLAIN))
    github.faults.add(Reset("after"), "dispatch")
    marked = config(workflowFile="late.yml", correlationInput="gha_step", inputs={"image_tag": "v1"})
    assert program.follow(marked).status == "Failed"
    (run,) = github.runs
    run.display_title = f"Deploy {run.inputs['gha_step']}"
    clock.sleep(60)  # for a listing of just before would do
    program.call(marked)
    again = program.call(marked)
    assert (again.status, output(again)["runIDSource"]) == ("Succeeded", "marker")
    assert github.count("dispatch") == 1


# ---------------------------------------------------------------- refused


def test_what_github_refuses_is_told_at_once_and_replayed(process: Start, github: GitHub, store: FaultyStore) -> None:
    program = process()
    result = program.call(config(ref="nowhere"))
    assert (result.status, result.terminal) == ("Failed", True)
    assert str(result.message).startswith("nothing was dispatched: ")
    assert "No ref found for: nowhere" in str(result.message)
    assert output(result) == {}
    asked = github.count()
    assert program.call(config(ref="nowhere")) == result
    assert process().call() == result, "a fixed config does not revive a step that has failed"
    assert github.count() == asked
    assert github.runs == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 415, 421, 422, 451])
def test_a_refusal_is_final_after_one_post(program: Program, github: GitHub, status: int) -> None:
    github.faults.add(Answer(Response.of(status, {"message": "Words of GitHub"})), "dispatch", times=None)
    result = program.call()
    assert result.status == "Failed"
    assert "Words of GitHub" in str(result.message)
    assert github.count("dispatch") == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(program: Program, github: GitHub, status: int) -> None:
    elsewhere = GitHub()
    with serve(elsewhere) as other:
        github.faults.add(redirect(f"{other}/x", status), "dispatch", times=None)
        result = program.call()
    assert result.status == "Failed"
    assert "renamed or moved" in str(result.message)
    assert (github.count("dispatch"), elsewhere.count()) == (1, 0)


def test_a_first_contact_that_is_refused_leaves_the_decision_to_the_post(program: Program, github: GitHub) -> None:
    github.faults.add(Answer(Response.of(403, {"message": "Not for you"})), "list-workflow-runs", times=None)
    assert program.call().status == "Succeeded"
    assert github.count("dispatch") == 1


@pytest.mark.parametrize(
    "fault",
    [Reset("before"), Answer(Response.of(500, {})), Answer(Response.of(503, {})), Answer(Response.of(200, {}))],
    ids=str,
)
def test_a_first_contact_that_fails_dispatches_nothing_and_is_tried_again(
    program: Program, github: GitHub, fault: Fault
) -> None:
    planned = github.faults.add(fault, "list-workflow-runs", times=1)
    result = program.call(config(timeout=60))
    assert result.status == "Running"
    assert "nothing dispatched yet" in str(result.message)
    assert nothing_dispatched(github)
    assert planned.used == 1
    assert program.follow(config(timeout=60)).status == "Succeeded"
    assert github.count("dispatch") == 1


def test_a_first_contact_that_goes_on_failing_ends_the_step_with_nothing_dispatched(
    program: Program, github: GitHub
) -> None:
    github.faults.add(bad_gateway("before"), "list-workflow-runs", times=None)
    result = program.follow(config(timeout=5))
    assert result.status == "Failed"
    assert "nothing was dispatched" in str(result.message)
    assert nothing_dispatched(github)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Reset("before"), "no matching run appeared in time"), (Reset("after"), "possibly none of these runs")],
    ids=["nothing ran", "something runs"],
)
def test_what_a_clock_an_hour_ahead_has_written_is_waited_for_no_longer_than_its_timeout(
    process: Start, github: GitHub, clock: VirtualClock, fault: Fault, words: str
) -> None:
    """As after our own clock was set back: times in the record lie an hour from now."""
    github.faults.add(fault, "dispatch")
    ahead = VirtualClock(clock.now() + 3600.0)
    assert process(clock=ahead).call(config(timeout=60)).status == "Running"
    begun = clock.now()
    result = process().follow(config(timeout=60))
    assert result.status == "Failed"
    assert words in str(result.message)
    assert clock.now() - begun < 120.0
    assert github.count("dispatch") == 1


# ---------------------------------------------------------------- refused, may retry


@pytest.mark.parametrize("refusal", [400, 422])
def test_the_refused_key_costs_one_more_post_and_only_once_per_process(
    tmp_path: Path, clock: VirtualClock, store: FaultyStore, refusal: int
) -> None:
    github = GitHub(Generation.named("github.com", permits_key=False, refusal=refusal), now=clock.now)
    with serve(github) as url:
        program = Program(store=store, secrets=example_secret(tmp_path / "s", url), clock=clock)
        first = program.follow()
        assert (first.status, len(github.runs), github.count("dispatch")) == ("Succeeded", 1, 2)
        second = program.follow(alias="second")
        assert (second.status, len(github.runs), github.count("dispatch")) == ("Succeeded", 2, 3)
        program.close()
    assert output(first)["runID"] == github.runs[0].id
    assert output(second)["runID"] == github.runs[1].id


def test_an_unknown_api_version_costs_one_more_post_and_only_once_per_process(program: Program, github: GitHub) -> None:
    github.faults.add(
        Answer(unknown_version(API_2022)),
        "dispatch",
        where=lambda request: request.headers.get("x-github-api-version") == API_2022,
        times=None,
    )
    assert program.call().status == "Succeeded"
    assert program.call(alias="second").status == "Succeeded"
    assert (len(github.runs), github.count("dispatch")) == (2, 3)
    assert asked(github) == [(API_2022, True), (API_2026, False), (API_2026, False)]


def unknown_version(version: str) -> Response:
    refused = refusal.unknown_version(version, (API_2022, API_2026))
    return Response.of(400, {"message": refused.message, "status": "400", **refused.more})


def asked(github: GitHub) -> list[tuple[str | None, bool]]:
    """API version of each dispatch, and whether it asked for the run's details."""
    posts = [entry for entry in github.log if entry.operation == "dispatch"]
    return [(post.headers.get("x-github-api-version"), b"return_run_details" in post.body) for post in posts]


@pytest.fixture
def on_server(tmp_path: Path, clock: VirtualClock, store: FaultyStore) -> Iterator[Callable[..., Program]]:
    """A process beside this GitHub; ``host``: under which name it knows it."""
    with ExitStack() as stack:

        def start(github: GitHub, host: str | None = None) -> Program:
            url = stack.enter_context(serve(github))
            real, connector = resolve_endpoint(url, allow_http=False), FaultyConnector(SocketConnector())
            connector.on_connect = lambda endpoint: SocketConnector().connect(real)
            secrets = example_secret(tmp_path / "s", url if host is None else f"https://{host}")
            program = Program(store=store, secrets=secrets, clock=clock, connector=connector)
            stack.callback(program.close)
            return program

        yield start


@pytest.mark.parametrize(
    ("generation", "host"),
    [
        ("ghes-3.21", None),
        ("ghes-3.22", None),
        ("github.com", "api.github.com"),
        ("github.com", "api.octocorp.ghe.com"),
    ],
)
def test_where_the_new_version_is_known_to_be_it_is_asked_first_and_names_the_run(
    on_server: Callable[..., Program], clock: VirtualClock, generation: str, host: str | None
) -> None:
    github = GitHub(generation, now=clock.now)
    program = on_server(github, host)
    for alias in ("first", "second"):
        result = program.follow(alias=alias)
        assert (result.status, output(result)["runIDSource"]) == ("Succeeded", "response")
    assert asked(github) == [(API_2026, False)] * 2


@pytest.mark.parametrize("generation", ["ghes-3.19", "ghes-3.20"])
def test_older_servers_are_never_asked_with_the_new_version(
    on_server: Callable[..., Program], clock: VirtualClock, generation: str
) -> None:
    github = GitHub(generation, now=clock.now)
    assert on_server(github).follow().status == "Succeeded"
    assert {entry.headers.get("x-github-api-version") for entry in github.log} == {API_2022}


@pytest.mark.parametrize(("generation", "host"), [("ghes-3.21", None), ("github.com", "api.github.com")])
def test_a_204_to_the_new_version_means_that_its_header_was_lost_and_nothing_is_sent_twice(
    on_server: Callable[..., Program], clock: VirtualClock, generation: str, host: str | None
) -> None:
    github = GitHub(generation, now=clock.now, lost_headers=frozenset({"x-github-api-version"}))
    program = on_server(github, host)
    first = program.follow(alias="first")
    assert (first.status, output(first)["runID"], len(github.runs)) == ("Succeeded", github.runs[0].id, 1)
    second = program.follow(alias="second")
    assert (second.status, output(second)["runIDSource"]) == ("Succeeded", "response")
    assert asked(github) == [(API_2026, False), (API_2022, True)]


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ({API_2026}, [(API_2026, False), (API_2022, True), (API_2022, True)]),
        ({API_2026, API_2022}, [(API_2026, False), (API_2022, True), (None, True), (None, True)]),
    ],
)
def test_a_refused_version_is_tried_once_then_the_other_then_none(
    on_server: Callable[..., Program],
    clock: VirtualClock,
    refused: set[str],
    expected: list[tuple[str | None, bool]],
) -> None:
    github = GitHub("ghes-3.21", now=clock.now)
    for version in refused:
        github.faults.add(
            Answer(unknown_version(version)),
            "dispatch",
            where=lambda request, version=version: request.headers.get("x-github-api-version") == version,  # type: ignore[misc]
            times=None,
        )
    program = on_server(github)
    for alias in ("first", "second"):
        assert program.follow(alias=alias).status == "Succeeded"
    assert asked(github) == expected
    assert len(github.runs) == 2


@pytest.mark.parametrize(
    "theirs", ['"return_run_details" is not a permitted key.', "x: return_run_details is not a permitted key"]
)
def test_a_ref_teaches_the_process_nothing_about_the_server(program: Program, github: GitHub, theirs: str) -> None:
    poisoned = program.follow(config(ref=theirs), alias="poisoned")
    assert poisoned.status == "Failed"
    result = program.follow(alias="other")
    assert (result.status, output(result)["runIDSource"]) == ("Succeeded", "response")
    assert asked(github) == [(API_2022, True)] * 2


def test_both_extras_may_be_refused_and_what_is_refused_again_is_final(program: Program, github: GitHub) -> None:
    words = '"return_run_details" is not a permitted key.'
    github.faults.add(Answer(Response.of(422, {"message": words})), "dispatch", times=None)
    result = program.call()
    assert result.status == "Failed"
    assert github.count("dispatch") == 2


def test_a_rate_limit_is_waited_out_and_nothing_is_asked_meanwhile(
    program: Program, github: GitHub, clock: VirtualClock
) -> None:
    github.limit_rate(40, secondary=True, operation="dispatch")
    first = program.call(config(timeout=120))
    assert first.status == "Running"
    assert first.retry_after is not None
    assert 1 <= first.retry_after <= 41
    assert str(first.message).startswith("nothing dispatched yet: ")
    assert output(first) == {}
    asked = github.count()
    for _ in range(20):
        assert program.call(config(timeout=120)).status == "Running"
    assert github.count() == asked
    clock.forward(42)
    assert program.call(config(timeout=120)).status == "Succeeded"
    assert len(github.runs) == 1


def test_a_limit_beyond_the_timeout_fails_at_once_and_its_time_is_named(program: Program, github: GitHub) -> None:
    github.limit_rate(500, secondary=True, operation="dispatch")
    result = program.call(config(timeout=60))
    assert (result.status, result.terminal) == ("Failed", True)
    assert "nothing was dispatched" in str(result.message)
    assert re.search(r"no requests until [0-9:]{8}Z", str(result.message))
    assert "timeout of 60 s" in str(result.message)
    assert github.runs == []


def test_the_host_is_never_told_to_wait_longer_than_a_minute(program: Program, github: GitHub) -> None:
    github.limit_rate(200, secondary=True, operation="dispatch")
    result = program.call(config(timeout=300))
    assert (result.status, result.retry_after) == ("Running", 60)


def test_a_primary_limit_is_read_by_githubs_clock_not_ours(
    program: Program, github: GitHub, clock: VirtualClock
) -> None:
    github.skew = 3600.0
    github.limit_rate(30, operation="dispatch")
    result = program.call(config(timeout=120))
    assert result.status == "Running"
    assert result.retry_after is not None
    assert result.retry_after <= 31
    clock.forward(32)
    assert program.call(config(timeout=120)).status == "Succeeded"


def test_a_limit_without_a_time_ends_with_the_steps_timeout(program: Program, github: GitHub) -> None:
    github.limit_rate(10_000, secondary=True, retry_after=False, operation="dispatch")
    result = program.follow(config(timeout=100))
    assert result.status == "Failed"
    assert "nothing was dispatched" in str(result.message)
    assert github.runs == []
    assert github.count("dispatch") <= 3


def test_a_limit_on_the_first_contact_dispatches_nothing_yet(
    program: Program, github: GitHub, clock: VirtualClock
) -> None:
    github.limit_rate(20, secondary=True)
    result = program.call(config(timeout=120))
    assert result.status == "Running"
    assert nothing_dispatched(github)
    clock.forward(21)
    assert program.call(config(timeout=120)).status == "Succeeded"


# ---------------------------------------------------------------- no connection


def test_an_unreachable_github_is_waited_for_until_the_timeout(
    program: Program, github: GitHub, connector: FaultyConnector
) -> None:
    def refuse(endpoint: Endpoint) -> Connection | None:
        raise Unreachable("ghe.example.com port 443 cannot be reached (refused)")

    connector.on_connect = refuse
    first = program.call(config(timeout=30))
    assert first.status == "Running"
    subject = "myorg/my-app workflow deploy.yml on ref main: ghe.example.com port 443"
    assert first.message == f"nothing dispatched yet: {subject} cannot be reached (refused)"
    result = program.follow(config(timeout=30))
    assert (result.status, result.terminal) == ("Failed", True)
    assert f"nothing was dispatched: {subject}" in str(result.message)
    assert nothing_dispatched(github)


def test_a_github_that_comes_back_is_dispatched_to_once(
    program: Program, github: GitHub, connector: FaultyConnector
) -> None:
    attempts = iter(range(100))

    def refuse(endpoint: Endpoint) -> Connection | None:
        if next(attempts) < 4:
            raise Unreachable("down")
        return None

    connector.on_connect = refuse
    assert program.follow(config(timeout=300)).status == "Succeeded"
    assert len(github.runs) == 1


def test_a_failure_to_connect_leaves_the_record_reserved(
    program: Program, store: FaultyStore, connector: FaultyConnector
) -> None:
    count = iter(range(100))

    def refuse(endpoint: Endpoint) -> Connection | None:
        if next(count) == 1:  # not the listing's connection but the POST's
            raise Unreachable("down")
        return None

    connector.on_connect = refuse
    states: list[State] = []
    store.after_write = lambda record: states.append(record.state)
    assert program.call(config(timeout=60)).status == "Running"
    assert set(states) <= {State.RESERVED}
    assert connector.posts == 0


def test_a_certificate_that_nobody_trusts_fails_at_once(
    program: Program, github: GitHub, connector: FaultyConnector
) -> None:
    def refuse(endpoint: Endpoint) -> Connection | None:
        raise Untrusted("the certificate of ghe.example.com port 443 is not trusted by the CAs in /etc/x")

    connector.on_connect = refuse
    result = program.call(config(timeout=300))
    assert (result.status, result.terminal) == ("Failed", True)
    assert "on ref main: the certificate of ghe.example.com" in str(result.message)
    assert nothing_dispatched(github)


def test_a_connection_that_breaks_while_sending_counts_as_sent(
    program: Program, connector: FaultyConnector, github: GitHub
) -> None:
    def break_off(data: bytes) -> None:
        if data.startswith(b"POST"):
            raise BrokenPipeError(32, "Broken pipe")

    connector.on_send = break_off
    result = program.follow(promotion="")
    assert result.status == "Failed"
    assert "may have been dispatched" in str(result.message)
    assert connector.posts == 1


# ---------------------------------------------------------------- the ledger breaks


def down(*_: object) -> None:
    raise LedgerUnavailable("the ledger x cannot be used now: disk I/O error")


def nothing(*_: object) -> None:
    return None


class Once:
    """Does something the first time that a record of this state passes."""

    def __init__(self, state: State, what: Callable[[], None], times: int = 1) -> None:
        self.state = state
        self.what = what
        self.times = times

    def __call__(self, record: Record) -> None:
        if record.state is self.state and self.times > 0:
            self.times -= 1
            self.what()


def test_without_a_ledger_nothing_is_sent(program: Program, github: GitHub, store: FaultyStore) -> None:
    store.before_read = down
    for _ in range(3):
        result = program.call()
        assert (result.status, result.retry_after) == ("Running", 10)
        assert "nothing is sent without the ledger" in str(result.message)
    assert github.count() == 0
    store.before_read = nothing
    assert program.call().status == "Succeeded"
    assert len(github.runs) == 1


def test_a_ledger_that_denies_writes_for_long_ends_the_step_where_nothing_was_sent(
    program: Program, store: FaultyStore, connector: FaultyConnector
) -> None:
    def denied(*_: object) -> None:
        raise LedgerUnavailable("you may not create workflowdispatches", lasting=True)

    store.before_write = denied
    result = program.follow()
    assert result.status == "Failed"
    assert "nothing was dispatched" in (result.message or "")
    assert "you may not create workflowdispatches" in (result.message or "")
    assert connector.posts == 0


def test_a_ledger_that_denies_all_for_long_ends_no_step_that_may_have_been_sent(
    program: Program, github: GitHub, store: FaultyStore, connector: FaultyConnector
) -> None:
    def denied(*_: object) -> None:
        raise LedgerUnavailable("you may not update workflowdispatches", lasting=True)

    def denied_from_now_on() -> None:
        store.before_read = store.before_write = denied

    github.faults.add(Reset(), "dispatch")
    store.after_write = Once(State.SENDING, denied_from_now_on)
    for _ in range(3):
        assert program.call(reply_within=0.2).status == "Running"
    store.before_read = store.before_write = nothing
    assert connector.posts == 1


def test_a_ledger_that_cannot_be_written_lets_nothing_be_sent(
    program: Program, github: GitHub, store: FaultyStore, connector: FaultyConnector
) -> None:
    store.before_write = down
    for _ in range(3):
        assert program.call(reply_within=0.1).status == "Running"
    assert connector.posts == 0
    store.before_write = nothing
    assert program.follow().status == "Succeeded"
    assert len(github.runs) == 1


def test_a_ledger_that_can_be_read_but_not_written_is_not_tried_without_a_pause(
    process: Start, store: FaultyStore, connector: FaultyConnector
) -> None:
    store.before_write = down
    program = process()
    result = program.call()
    program.dispatches.drain()
    assert connector.connects <= 2, "the first contact's, and one to send; the next when the host asks again"
    assert result.retry_after is not None
    assert result.retry_after >= 1
    assert "nothing is sent without the ledger" in str(result.message)


def test_a_write_that_was_applied_without_an_answer_is_found_out_by_reading(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    store.after_write = Once(State.SENDING, down)
    assert program.call().status == "Succeeded"
    assert len(github.runs) == github.count("dispatch") == 1


def test_a_write_that_was_not_applied_is_repeated(program: Program, github: GitHub, store: FaultyStore) -> None:
    store.before_write = Once(State.SENDING, down)
    assert program.call().status == "Succeeded"
    assert len(github.runs) == github.count("dispatch") == 1


def test_an_attempt_whose_write_stays_unclear_is_abandoned_and_never_sent(
    program: Program, github: GitHub, store: FaultyStore, connector: FaultyConnector
) -> None:
    def applied_but_dark() -> None:
        store.before_read = down
        down()

    store.after_write = Once(State.SENDING, applied_but_dark)
    assert program.call().status == "Running"
    assert connector.posts == 0
    assert store.only().state is State.SENDING, "the write had reached the disk"
    abandoned = store.only().nonce
    store.before_read = nothing
    assert program.follow().status == "Succeeded"
    assert store.only().nonce != abandoned
    assert len(github.runs) == github.count("dispatch") == 1


def test_another_process_does_not_send_what_an_abandoned_attempt_left_behind(
    process: Start, github: GitHub, store: FaultyStore, connector: FaultyConnector
) -> None:
    def applied_but_dark() -> None:
        store.before_read = down
        down()

    store.after_write = Once(State.SENDING, applied_but_dark)
    process().call(promotion="")
    store.before_read = nothing
    result = process().follow(promotion="")
    assert result.status == "Failed"
    assert "may have been dispatched" in str(result.message)
    assert connector.posts == 0


@pytest.mark.parametrize("seconds", [10, 11, 3600])
def test_a_write_that_took_ten_seconds_fences_the_send_off(
    program: Program,
    github: GitHub,
    store: FaultyStore,
    clock: VirtualClock,
    connector: FaultyConnector,
    seconds: float,
) -> None:
    stalled: list[str | None] = []

    def stall(record: Record) -> None:
        if record.state is State.SENDING and not stalled:
            stalled.append(record.nonce)
            clock.forward(seconds)

    store.before_write = stall
    assert program.follow().status == "Succeeded"
    assert store.only().nonce not in stalled
    assert len(github.runs) == github.count("dispatch") == 1


def test_an_exact_id_is_told_while_the_ledger_cannot_take_it(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    store.before_write = Once(State.ACCEPTED, down, times=3)
    result = program.call()
    assert (result.status, output(result)["runID"]) == ("Succeeded", github.runs[0].id)
    eventually(lambda: store.only().state is State.ACCEPTED)
    assert github.count("dispatch") == 1


def test_an_id_that_never_reached_the_ledger_is_not_sent_for_again_by_another_process(
    process: Start, github: GitHub, store: FaultyStore
) -> None:
    store.before_write = Once(State.ACCEPTED, down, times=10**9)
    told = process().call(promotion="")
    assert told.status == "Succeeded"
    eventually(lambda: store.only().state is State.SENDING)
    store.before_write = nothing
    result = process().follow(promotion="")
    assert result.status in ("Failed", "Succeeded")
    if result.status == "Succeeded":
        assert output(result)["runID"] == github.runs[0].id
    assert github.count("dispatch") == 1


def test_a_run_id_once_told_is_told_again_though_the_ledger_cannot_be_read(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    program.call()
    store.before_read = down
    assert output(program.call()).get("runID") == github.runs[0].id


def test_a_ledger_that_cannot_be_read_does_not_make_a_post_on_the_wire_one_that_is_not(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    held = Hold()
    github.faults.add(held, "dispatch")
    with under_way(program.call, until=lambda: github.count("dispatch")):
        first = output(program.call(reply_within=0.1))
        assert program.dispatches.on_the_wire == 1
        store.before_read = down
        result = program.call(reply_within=0.01)
        store.before_read = nothing
        held.release()
    assert result.status == "Running"
    assert output(result) == first
    assert result.message is not None
    assert "nothing is sent" not in result.message


@pytest.mark.parametrize("lost", [Answer(Response.of(422, {"message": "No"})), Answer(Response.of(404, {}))], ids=str)
def test_a_refusal_is_not_told_as_final_before_it_is_written(
    program: Program, github: GitHub, store: FaultyStore, lost: Fault
) -> None:
    github.faults.add(lost, "dispatch")
    told: list[StepResult] = []

    def look(record: Record) -> None:
        if record.state is State.REJECTED:
            told.append(program.call(reply_within=0.01))

    store.before_write = look
    assert program.call().status == "Failed"
    assert [result.status for result in told] == ["Running"]


# ---------------------------------------------------------------- processes come and go


def left_behind(process: Start, store: FaultyStore, connector: FaultyConnector, **owner: Any) -> None:
    """The record of a process that died between the record's move and the first byte."""
    died = threading.Event()

    def die(data: bytes) -> None:
        if data.startswith(b"POST"):
            died.set()
            raise SystemExit

    connector.on_send = die
    process(**owner).call(promotion="", reply_within=LONG)
    assert died.is_set()
    connector.on_send = nothing


def test_what_a_dead_process_was_sending_is_never_sent_again(
    process: Start, github: GitHub, store: FaultyStore, connector: FaultyConnector
) -> None:
    left_behind(process, store, connector)
    assert store.only().state in (State.SENDING, State.UNKNOWN)
    sent = connector.posts
    result = process().follow(promotion="")
    assert result.status == "Failed"
    assert "may have been dispatched" in str(result.message)
    assert connector.posts == sent
    assert github.runs == []


def test_without_an_exclusive_ledger_a_stranger_waits_before_it_calls_the_owner_gone(
    process: Start, store: FaultyStore, connector: FaultyConnector, clock: VirtualClock
) -> None:
    left_behind(process, store, connector, pod="pod-1")
    if store.only().state is not State.SENDING:
        pytest.skip("this process has already said so itself")
    store.exclusive = False
    stranger = process(pod="pod-2")
    assert stranger.call(promotion="").status == "Running"
    assert store.only().state is State.SENDING
    clock.forward(80)
    stranger.call(promotion="")
    assert store.only().state is State.SENDING
    clock.forward(20)
    assert stranger.follow(promotion="").status == "Failed"


def test_a_restarted_container_of_the_same_pod_knows_at_once_that_its_predecessor_is_gone(
    process: Start, store: FaultyStore, connector: FaultyConnector
) -> None:
    left_behind(process, store, connector, pod="pod-1")
    store.exclusive = False
    process(pod="pod-1").call(promotion="")
    assert store.only().state is not State.SENDING


# ---------------------------------------------------------------- records that vanish


def test_a_record_deleted_after_it_was_sent_is_remembered_by_the_process(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    first = program.call()
    store.forget()
    again = program.call()
    assert (again.status, output(again)["runID"]) == ("Succeeded", output(first)["runID"])
    assert len(github.runs) == 1


@pytest.mark.parametrize(
    "kept",
    [
        lambda memory: memory,
        lambda memory: memory | {"runID": float(memory["runID"])},
        lambda memory: memory | {"url": None},
        lambda memory: memory | {"url": "https://github.com/\ud800"},
    ],
    ids=["as it was told", "the ID as a float", "no URL", "a URL that cannot be written"],
)
def test_the_hosts_memory_gives_the_run_where_ledger_and_process_are_gone(
    process: Start, github: GitHub, store: FaultyStore, kept: Callable[[Any], Any]
) -> None:
    first = output(process().call())
    store.forget()
    asked = github.count()
    result = process().call(sharedState={"dispatch": kept(first)})
    again = output(result)
    assert (result.status, again["runID"], again["runIDSource"]) == ("Succeeded", first["runID"], "host")
    assert again["url"].endswith(f"/actions/runs/{first['runID']}")
    assert github.count() == asked


@pytest.mark.parametrize("run_id", [None, 0, -1, True, "17", 1.5, [17], 2**53, 2.0**53, 1e300])
def test_a_memory_of_a_dispatch_without_a_run_id_sends_nothing(
    process: Start, github: GitHub, store: FaultyStore, run_id: object
) -> None:
    first = output(process().call())
    store.forget()
    asked = github.count("dispatch")
    result = process().follow(sharedState={"dispatch": first | {"runID": run_id}})
    assert result.status == "Failed"
    assert "record is gone" in str(result.message)
    assert github.count("dispatch") == asked


def test_a_memory_of_another_target_sends_nothing_and_names_no_run(
    process: Start, github: GitHub, store: FaultyStore
) -> None:
    first = output(process().call())
    store.forget()
    asked = github.count("dispatch")
    evidence = first["dispatch"] | {"target": "0" * 64}
    result = process().follow(sharedState={"dispatch": first | {"dispatch": evidence}})
    assert result.status == "Failed"
    assert "runID" not in output(result)
    assert github.count("dispatch") == asked


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"dispatch": None},
        {"dispatch": {}},
        {"dispatch": "x"},
        {"dispatch": {"runID": 17}},
        {"dispatch": {"dispatch": None}},
        {"dispatch": {"dispatch": {"target": 5}}},
        {"dispatch": []},
        {"other": {"runID": 17, "dispatch": {"record": "x", "target": "y"}}},
    ],
)
def test_what_is_no_memory_of_ours_hinders_no_dispatch(program: Program, github: GitHub, state: dict[str, Any]) -> None:
    assert program.call(sharedState=state).status == "Succeeded"
    assert len(github.runs) == 1


@pytest.mark.parametrize("witness", ["process", "host"])
def test_a_broken_config_does_not_make_a_lost_record_one_of_nothing_dispatched(
    process: Start, github: GitHub, store: FaultyStore, secrets: Path, witness: str
) -> None:
    program = process()
    first = output(program.call())
    store.forget()
    write_secret(secrets)  # no key is left in it
    shared = {} if witness == "process" else {"dispatch": first}
    result = (program if witness == "process" else process()).call(sharedState=shared)
    assert result.message is not None
    assert "nothing was dispatched" not in result.message
    assert all(record.state is not State.REJECTED for record in store.real.records())


def test_a_record_that_cannot_be_read_lets_nothing_be_sent(process: Start, github: GitHub, store: FaultyStore) -> None:
    process().call()
    store.rewrite('"schema_version":1', '"schema_version":2')
    asked = github.count()
    result = process().call()
    assert (result.status, result.terminal) == ("Failed", True)
    assert result.message
    assert "nothing was sent" not in result.message
    assert github.count() == asked


# ---------------------------------------------------------------- payloads that change


def test_other_inputs_after_the_dispatch_give_the_same_run_and_say_so(program: Program, github: GitHub) -> None:
    first = output(program.call())
    again = program.call(config(inputs={"environment": "prod", "image_tag": "other"}))
    assert (again.status, output(again)["runID"]) == ("Succeeded", first["runID"])
    assert output(again)["inputsChanged"] is True
    assert "inputs of this call differ" in str(again.message)
    assert len(github.runs) == 1


@pytest.mark.parametrize("change", [{"ref": "dev"}, {"workflowFile": "other.yml"}, {"repo": "other"}, {"owner": "x"}])
def test_another_target_after_the_dispatch_fails_with_a_link_to_the_run(
    program: Program, github: GitHub, change: dict[str, str]
) -> None:
    first = output(program.call())
    asked = github.count()
    again = program.call(config(**change))
    assert (again.status, again.terminal) == ("Failed", True)
    assert first["url"] in str(again.message)
    assert "nothing was sent for the new one" in str(again.message)
    assert github.count() == asked


def test_the_case_of_owner_and_repo_and_the_long_form_of_the_ref_are_the_same_target(
    program: Program, github: GitHub
) -> None:
    first = program.call()
    again = program.call(config(owner="MyOrg", repo="My-App", ref="refs/heads/main"))
    assert (again.status, output(again)["runID"]) == ("Succeeded", output(first)["runID"])
    assert len(github.runs) == 1


def test_another_timeout_or_token_is_no_other_dispatch(
    program: Program, github: GitHub, secrets: Path, github_url: str
) -> None:
    first = program.call()
    example_secret(secrets, github_url, token="rotated")
    assert output(program.call(config(timeout=200))) == output(first)
    assert len(github.runs) == 1


def test_the_newest_payload_counts_while_nothing_was_sent(
    program: Program, github: GitHub, connector: FaultyConnector
) -> None:
    def refuse(endpoint: Endpoint) -> Connection | None:
        raise Unreachable("down")

    connector.on_connect = refuse
    assert program.call(config(ref="old", timeout=60)).status == "Running"
    connector.on_connect = nothing
    inputs = {"environment": "new", "image_tag": "2"}
    assert program.follow(config(inputs=inputs, timeout=60)).status == "Succeeded"
    (run,) = github.runs
    assert (run.head_branch, run.sent_inputs) == ("main", inputs)


def test_a_config_that_broke_after_the_dispatch_still_gives_the_run(
    program: Program, github: GitHub, secrets: Path
) -> None:
    first = output(program.call())
    for broken in (config(ref=1.5), config(owner=...), {}):
        again = program.call(broken)
        assert (again.status, output(again)["runID"]) == ("Succeeded", first["runID"])
    write_secret(secrets)
    assert output(program.call())["runID"] == first["runID"]
    assert len(github.runs) == 1


# ---------------------------------------------------------------- calls that nobody waits for


def test_nothing_is_begun_for_a_call_that_came_too_long_ago(
    program: Program, github: GitHub, connector: FaultyConnector
) -> None:
    result = program.call(age=15.1)
    assert result.status == "Running"
    assert connector.posts == 0
    assert program.call().status == "Succeeded"
    assert len(github.runs) == 1


def test_nothing_is_begun_once_the_process_has_to_stop(
    process: Start, github: GitHub, connector: FaultyConnector
) -> None:
    program = process()
    program.dispatches.drain()
    assert program.call().status == "Running"
    assert connector.posts == 0
    assert process().call().status == "Succeeded"


def test_a_post_on_the_wire_is_counted_until_the_ledger_has_its_answer(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    counted: list[int] = []
    store.before_write = lambda record: counted.append(program.dispatches.on_the_wire)
    assert program.dispatches.on_the_wire == 0
    program.call()
    assert counted[-2:] == [1, 1]
    eventually(lambda: program.dispatches.on_the_wire == 0)


def test_where_every_worker_is_taken_the_call_is_busy_and_its_work_is_withdrawn(process: Start, github: GitHub) -> None:
    free = threading.Event()
    tasks = ThreadWorkers(1, "task")
    tasks.spawn(lambda: free.wait(10))
    program = process(tasks=tasks)
    result = program.call(reply_within=0.05)
    assert (result.status, result.retry_after) == ("Running", 2)
    assert "busy" in str(result.message)
    free.set()
    time.sleep(0.05)
    assert github.count() == 0, "nobody waits for it, so it was not done"
    assert program.call().status == "Succeeded"
    assert len(github.runs) == 1


# ---------------------------------------------------------------- evil answers


@pytest.mark.parametrize("location", ["http://[", "//[x", "{url}/api/v3/repos/a b/c/actions"])
def test_a_redirect_to_nowhere_is_a_refusal_all_the_same(
    program: Program, github: GitHub, github_url: str, location: str
) -> None:
    moved = Response.of(307, {"message": "Moved"}, {"Location": location.format(url=github_url)})
    github.faults.add(Answer(moved), "dispatch", times=None)
    result = program.follow(promotion="")
    assert str(result.message).startswith("nothing was dispatched: ")


@pytest.mark.parametrize("name", ["a b", "a:b@c d"])
def test_a_404_of_an_oddly_named_repository_is_a_refusal_all_the_same(
    program: Program, github: GitHub, name: str
) -> None:
    result = program.follow(config(repo=name), promotion="")
    assert str(result.message).startswith("nothing was dispatched: ")


def test_a_diagnosis_that_cannot_be_written_does_not_stop_a_refusal(program: Program, github: GitHub) -> None:
    about = Response(200, (), b'{"default_branch": "\\ud800", "permissions": {"push": true}}')
    github.faults.add(Answer(about), "get-repository", times=None)
    result = program.call(config(workflowFile="absent.yml"))
    assert result.status == "Failed"
    result.to_wire()


def test_a_process_that_dies_over_the_diagnosis_has_written_the_refusal(
    program: Program, github: GitHub, store: FaultyStore
) -> None:
    held = Hold()
    github.faults.add(held, "get-repository")
    with under_way(lambda: program.call(config(workflowFile="absent.yml")), lambda: github.count("get-repository")):
        assert store.only().state is State.REJECTED
        held.release()


@pytest.mark.parametrize("status", [401, 422, 403, 500, 429])
def test_a_server_that_echoes_the_token_does_not_get_it_told(
    program: Program, github: GitHub, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level("DEBUG")
    words = f"the token {EXAMPLE_TOKEN} is not welcome"
    github.faults.add(Answer(Response.of(status, {"message": words})), "dispatch", times=None)
    result = program.call(promotion="", reply_within=0.5)
    assert EXAMPLE_TOKEN.encode() not in result.to_wire()
    assert EXAMPLE_TOKEN not in caplog.text
    assert EXAMPLE_TOKEN.encode() not in b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))


@pytest.mark.parametrize(
    "echo",
    [
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}",
        "Authorization: Bearer {token}\r\n\r\n",
        "HTTP/1.1 200 OK\r\n{token}: Bearer {token}\x00\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{token}\r\n",
    ],
)
def test_no_other_echo_of_the_token_is_told_either(
    program: Program, connector: FaultyConnector, tmp_path: Path, caplog: pytest.LogCaptureFixture, echo: str
) -> None:
    caplog.set_level("DEBUG")
    content = json.dumps({"workflow_run_id": 17, "html_url": f"https://github.com/?t={EXAMPLE_TOKEN}"})
    said = echo.format(token=EXAMPLE_TOKEN, body=content, length=len(content))
    posts_only(connector, ScriptedConnection(said.encode("latin-1")))
    result = program.call(promotion="", reply_within=0.5)
    assert EXAMPLE_TOKEN.encode() not in result.to_wire()
    assert EXAMPLE_TOKEN not in caplog.text
    assert EXAMPLE_TOKEN.encode() not in b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))


def test_more_than_ten_inputs_are_refused_before_sending_where_the_server_takes_ten(
    tmp_path: Path, clock: VirtualClock, store: FaultyStore
) -> None:
    github = GitHub("ghes-3.19", now=clock.now)
    with serve(github) as url:
        program = Program(store=store, secrets=example_secret(tmp_path / "s", url), clock=clock)
        result = program.follow(config(inputs=INPUTS | {f"i{n}": "x" for n in range(9)}))
        program.close()
    assert result.status == "Failed"
    assert "at most 10" in str(result.message)
    assert github.count("dispatch") == 0


def test_a_call_is_answered_from_a_scripted_connection_alone(program: Program, connector: FaultyConnector) -> None:
    """No server is needed to see what goes over the wire: the whole POST, in one piece."""
    scripted = ScriptedConnection(run_answer(99))
    posts_only(connector, scripted)
    assert output(program.call())["runID"] == 99
    assert scripted.closed
    head, _, content = scripted.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/v3/repos/myorg/my-app/actions/workflows/deploy.yml/dispatches HTTP/1.1")
    assert b"Expect" not in head
    assert content.count(b'"ref":"main"') == 1


def test_the_request_that_was_parsed_is_not_changed_by_executing_it(program: Program) -> None:
    request = StepRequest.parse(body())
    before = copy.deepcopy(request)
    program.steps.execute(request, program.clock.monotonic())
    assert request == before
