"""No answer takes longer than allowed, whatever is slow: Secrets, the ledger, GitHub, or too many calls at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from gha_step.emulator import GitHub, Hold
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import ThreadWorkers
from tests.inbound.slow_secrets import Slow
from tests.inbound.wire import get, post
from tests.support.calls import body, config
from tests.support.clock import LONG, eventually, soon
from tests.support.core import Program, Start
from tests.support.ledger import FaultyStore
from tests.support.server import serving

LIMIT = 0.4


def timed(url: str, **context: Any) -> dict[str, Any]:
    """One call's answer, which came in time."""
    with soon():
        reply = post(url, body(**context))
    assert reply.status == 200
    return reply.json


def test_a_secret_that_takes_long_to_read_is_not_waited_for(process: Start, slow: Slow, github: GitHub) -> None:
    with serving(process(secrets=slow), reply_within=LIMIT) as url:
        answer = timed(url)
        assert (answer["status"], answer["output"]) == ("Running", {})
        assert "nothing is known" in answer["message"]
        assert github.count() == 0
        slow.free.set()
        final = post(url, body()).json
        while final["status"] == "Running":
            final = post(url, body()).json
        assert final["output"]["runID"] == github.runs[0].id
    assert github.count("dispatch") == 1


def test_an_answer_that_knows_nothing_gives_the_host_back_what_it_remembers_of_the_dispatch(
    process: Start, slow: Slow, github: GitHub, tmp_path: Path
) -> None:
    """Hosts keep the last answer's output alone: where the record is gone, nothing else forbids a second dispatch."""
    with serving(process()) as url:
        while (first := post(url, body()).json)["status"] == "Running":
            pass
    with (
        closing(SqliteStore(tmp_path / "restored.db")) as empty,
        serving(process(secrets=slow, store=FaultyStore(empty)), reply_within=LIMIT) as url,
    ):
        remembered = first["output"]
        for _ in range(3):
            answer = timed(url, sharedState={"dispatch": remembered})
            remembered = answer["output"]
            assert (answer["status"], remembered["runID"]) == ("Running", first["output"]["runID"])
        slow.free.set()
        while (answer := post(url, body(sharedState={"dispatch": remembered})).json)["status"] == "Running":
            remembered = answer["output"]
    assert (answer["status"], answer["output"]["runIDSource"]) == ("Succeeded", "host")
    assert answer["output"]["runID"] == first["output"]["runID"] == github.runs[0].id
    assert github.count("dispatch") == 1


def test_where_all_workers_are_taken_a_call_is_busy_and_is_not_executed_later(
    process: Start, slow: Slow, github: GitHub
) -> None:
    with serving(process(secrets=slow), workers=2, reply_within=LIMIT) as url, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: timed(url, alias=f"a{number}"), range(6)))
        busy = [answer for answer in answers if "busy" in answer["message"]]
        assert len(busy) == 4
        assert all((a["status"], a["retryAfter"], a["output"]) == ("Running", "2s", {}) for a in answers)
        assert get(url, "/healthz").status == 200
        slow.free.set()
        time.sleep(0.3)
        assert slow.reads == 2, "a call that was answered as busy was executed all the same"


def test_a_ledger_that_takes_long_is_not_waited_for(program: Program, store: FaultyStore, github: GitHub) -> None:
    free = threading.Event()

    def stall() -> None:
        free.wait(LONG)

    store.before_read = stall
    with serving(program, reply_within=LIMIT) as url:
        assert timed(url)["status"] == "Running"
        assert github.count() == 0
        free.set()
        assert post(url, body()).json["status"] in ("Running", "Succeeded")
    assert github.count("dispatch") <= 1


def test_one_silent_github_does_not_hold_up_the_steps_of_others(program: Program, github: GitHub) -> None:
    hold = Hold()
    github.faults.add(hold, "dispatch", times=8, where=lambda request: b"slow" in request.body)
    slow_config = body()["step"]["config"] | {"inputs": {"environment": "slow", "image_tag": "1"}}
    with serving(program, workers=4, reply_within=LIMIT) as url, ThreadPoolExecutor(8) as pool:

        def to_the_end(alias: str, config: Any) -> str:
            while (answer := post(url, body(config, alias=alias)).json)["status"] == "Running":
                pass
            return str(answer["status"])

        slow = [pool.submit(to_the_end, f"slow{number}", slow_config) for number in range(8)]
        eventually(lambda: github.count("dispatch") == 8)
        assert to_the_end("quick", config()) == "Succeeded"
        assert not any(call.done() for call in slow)
        hold.release()
        assert {call.result() for call in slow} == {"Succeeded"}
    assert github.count("dispatch") == 9


def test_a_hundred_calls_at_once_are_all_answered_and_dispatched_once_each(program: Program, github: GitHub) -> None:
    with serving(program, reply_within=5) as url, ThreadPoolExecutor(25) as pool:
        aliases = [f"a{number % 50}" for number in range(100)]

        def to_the_end(alias: str) -> Any:
            while (answer := post(url, body(alias=alias)).json)["status"] == "Running":
                pass
            return answer["output"]["runID"]

        run_ids = list(pool.map(to_the_end, aliases))
    assert len(github.runs) == github.count("dispatch") == 50
    assert sorted(set(run_ids)) == sorted(run.id for run in github.runs)
    assert run_ids[:50] == run_ids[50:]


def test_threads_of_one_kind_do_not_starve_the_others() -> None:
    workers = ThreadWorkers(1, "only")
    free = threading.Event()
    first = workers.spawn(lambda: free.wait(LONG))
    second = workers.spawn(lambda: "second")
    assert not workers.join(second, 0.05)
    assert second.cancel()
    free.set()
    assert workers.join(first, LONG)
    assert workers.spawn(lambda: "third").result(LONG) == "third"
