"""GitHub's webhook: what is signed becomes a hint at a run, and all else becomes nothing."""

import asyncio
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import GitHub
from gha_step.emulator.webhook import Delivery, delivering, signed
from gha_step.inbound.bearer import read_token_file
from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.inbound.web import Message, Request
from gha_step.inbound.webhook import AT_ONCE, MAX_DELIVERY, MAX_VALUES, Webhook, signature
from gha_step.pb.v1 import step_pb2 as pb
from gha_step.settings import Settings
from gha_step.steps.waking import Hint, Waking
from gha_step.telemetry import DELIVERIES
from gha_step.wiring.server import StartError, build
from tests.inbound.channels import PROOF, live, request, stub
from tests.inbound.wire import Reply, connected, get, head, raw
from tests.support.calls import body
from tests.support.clock import LONG, eventually, soon
from tests.support.core import Program
from tests.support.secrets import example_secret
from tests.support.server import serving

SECRET = "the-secret-of-the-webhook"
PATH = "/github/webhook"
RUN = 17_000_000_001
GOOD: dict[str, Any] = {
    "action": "completed",
    "workflow_run": {"id": RUN, "conclusion": "success"},
    "repository": {"name": "my-app", "owner": {"login": "myorg"}},
}


class Here:
    """A server with a webhook, and what it has passed on."""

    def __init__(self, secret: Callable[[], Token], program: Program) -> None:
        self.hints: list[Hint] = []
        self.telemetry = program.telemetry
        self.telemetry.deliveries.expect(DELIVERIES)
        self.webhook = Webhook(
            secret=secret,
            hint=self.hints.append,
            telemetry=self.telemetry,
            refused=RefusedCallers(program.clock, self.telemetry),
        )
        self.url = ""

    def send(self, delivery: Delivery, **headers: str) -> Reply:
        """Post it, with headers added or replaced; `_` is a dash."""
        named = {name.replace("-", "_"): value for name, value in delivery.headers.items()} | headers
        length = {"Content_Length": str(len(delivery.body))}
        return raw(self.url, head("POST", PATH, None, **named, **length) + delivery.body)

    def counted(self, result: str) -> float:
        shown = self.telemetry.exposition().decode()
        found = re.search(rf'^gha_step_github_webhook_deliveries_total{{result="{result}"}} (.*)$', shown, re.MULTILINE)
        assert found is not None
        return float(found[1])


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "webhook-secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
def here(program: Program, secret_file: Path) -> Iterator[Here]:
    made = Here(lambda: read_token_file(secret_file), program)
    with serving(program, resources=[made.webhook]) as url:
        made.url = url
        yield made


def good(**changes: Any) -> Delivery:
    return signed(json.dumps({**GOOD, **changes}).encode(), SECRET)


def test_a_signed_delivery_becomes_a_hint(here: Here) -> None:
    assert here.send(good()).status == 202
    assert here.hints == [Hint("myorg", "my-app", RUN, ended=True)]
    assert here.counted("hint") == 1


def test_the_emulated_githubs_deliveries_become_hints(here: Here, github: GitHub) -> None:
    run = github.start_run(actor="kargo-bot", inputs={"environment": "prod", "image_tag": "1"})
    with delivering(github, here.url + PATH, SECRET) as answers:
        eventually(lambda: answers == [202])
        run.finish()
        eventually(lambda: len(here.hints) == 2)
    assert here.hints == [Hint("myorg", "my-app", run.id, ended=ended, dispatched=True) for ended in (False, True)]


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Hub_Signature_256": signature(b"{}", Token(SECRET))},
        {"X_Hub_Signature_256": signature(json.dumps(GOOD).encode(), Token("another"))},
        {"X_Hub_Signature_256": ""},
        {"X_Hub_Signature_256": "sha256="},
        {"X_Hub_Signature_256": "sha256=\xff"},
        {"X_Hub_Signature_256": signature(json.dumps(GOOD).encode(), Token(SECRET)).upper()},
        {"X_Hub_Signature_256": f"x\r\nX-Hub-Signature-256: {signature(json.dumps(GOOD).encode(), Token(SECRET))}"},
    ],
)
def test_a_forged_delivery_is_refused(here: Here, headers: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    reply = here.send(good(), **headers)
    assert "a call from 127.0.0.1 was refused: a webhook's delivery: the X-Hub-Signature-256" in caplog.text
    assert SECRET not in caplog.text
    assert reply.status == 403
    assert SECRET not in reply.body.decode()
    assert here.hints == []
    assert here.counted("forged") == 1


def test_a_delivery_without_signature_is_refused(here: Here) -> None:
    unsigned = Delivery({"X-GitHub-Event": "workflow_run", "Content-Type": "application/json"}, good().body)
    assert "give the webhook its secret" in here.send(unsigned).error
    assert here.hints == []


def test_what_is_forged_is_refused_before_it_is_parsed(here: Here) -> None:
    assert here.send(signed(b"[" * 100_000, "another")).status == 403


def test_a_secret_that_changes_counts_at_once(here: Here, secret_file: Path) -> None:
    secret_file.write_text("another")
    assert here.send(good()).status == 403
    assert here.send(signed(json.dumps(GOOD).encode(), "another")).status == 202


def test_a_secret_that_cannot_be_read_refuses_everything_and_is_in_the_log(
    here: Here, secret_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret_file.unlink()
    with caplog.at_level(logging.ERROR, "gha_step"):
        assert here.send(good()).status == 503
    assert "GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE" in caplog.text
    assert here.hints == []


@pytest.mark.parametrize("event", ["ping", "push", "workflow_job", "", "Workflow_Run"])
def test_other_events_are_ignored(here: Here, event: str) -> None:
    assert here.send(good(), X_GitHub_Event=event).status == 202
    assert here.hints == []
    assert here.counted("ignored") == 1


ODD_IDS: list[Any] = [None, True, "1", 1.5, 0, -1, 2**63, [], {}]
ODD_PARTS: list[Any] = [None, 1, [], {}, "x"]


def _odd() -> Iterator[dict[str, Any]]:
    repository = GOOD["repository"]
    for wrong in ODD_IDS:
        yield {"workflow_run": {"id": wrong}}
    for part in ("workflow_run", "repository"):
        for other in ODD_PARTS:
            yield {part: other}
    for name in (None, 1, "", "a/b", "..", "a\nb", "\ud800"):
        yield {"repository": {**repository, "name": name}}
    for owner in (None, "myorg", {}, {"login": 1}):
        yield {"repository": {**repository, "owner": owner}}


@pytest.mark.parametrize(
    "raw_body",
    [
        *(b"", b"null", b"[]", b"{", b"\xff", b'{"workflow_run": NaN}', b"[" * 100_000),
        *(json.dumps({**GOOD, **changes}).encode() for changes in (*_odd(), {"many": [1] * MAX_VALUES})),
    ],
)
def test_what_names_no_run_is_refused_and_harmless(here: Here, raw_body: bytes) -> None:
    assert here.send(signed(raw_body, SECRET)).status == 400
    assert here.hints == []
    assert here.send(good()).status == 202


def test_a_delivery_as_a_form_says_what_to_set(here: Here) -> None:
    reply = here.send(good(), Content_Type="application/x-www-form-urlencoded")
    assert (reply.status, "application/json" in reply.error) == (415, True)


def test_a_delivery_over_the_limit_is_refused_and_one_at_it_is_not(here: Here) -> None:
    room = MAX_DELIVERY - len(good(more="").body)
    assert here.send(good(more="x" * room)).status == 202
    assert here.send(good(more="x" * (room + 1))).status == 413
    endless = head("POST", PATH, None, Transfer_Encoding="chunked", X_Hub_Signature_256="x")
    assert raw(here.url, endless, (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 17).status == 413


def test_only_a_post_is_a_delivery(here: Here) -> None:
    assert get(here.url, PATH).status == 405
    assert get(here.url, PATH + "/").status == 404


def test_those_that_send_no_end_shut_nobody_out_but_other_deliveries(here: Here) -> None:
    with ExitStack() as slow:
        for _ in range(AT_ONCE):
            connection: socket.socket = slow.enter_context(connected(here.url))
            connection.sendall(head("POST", PATH, None, Content_Length="9", X_Hub_Signature_256="x"))
        eventually(lambda: here.send(good()).status == 503)
        assert get(here.url, "/healthz").status == 200
    eventually(lambda: here.send(good()).status == 202)


class Standing(asyncio.SelectorEventLoop):
    """Its clock stands still but for `pass_seconds`."""

    now = 1_000.0

    def time(self) -> float:
        return self.now

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            for _ in range(3):
                await asyncio.sleep(0)  # what is due is done


def test_one_run_is_hinted_at_at_most_once_a_second_and_once_more_for_all_that_came_meanwhile(program: Program) -> None:
    hinted: list[tuple[float, int]] = []
    webhook = Webhook(
        secret=lambda: Token(SECRET),
        hint=lambda hint: hinted.append((loop.now - 1_000, hint.run_id)),
        telemetry=program.telemetry,
        refused=RefusedCallers(program.clock, program.telemetry),
    )

    async def deliver(run_id: int) -> None:
        delivery = good(workflow_run={"id": run_id})

        async def receive() -> Message:
            return {"type": "http.request", "body": delivery.body}

        headers = [(name.lower().encode(), value.encode()) for name, value in delivery.headers.items()]
        assert (await webhook.answer(Request({"method": "POST", "headers": headers}, receive))).status == 202

    async def busy_then_quiet() -> None:
        for number in range(1, 21):
            await deliver(RUN)
            await deliver(number)
        await loop.pass_seconds(5)
        await deliver(RUN)
        await loop.pass_seconds(5)

    with closing(Standing()) as loop:
        loop.run_until_complete(busy_then_quiet())
    assert [when for when, run_id in hinted if run_id == RUN] == [0, 1, 5]
    assert sorted(run_id for _, run_id in hinted if run_id != RUN) == [*range(1, 21)]


# ---------------------------------------------------------------- the whole server


def settings(folder: Path, **changes: str) -> Settings:
    environment = {
        "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
        "GHA_STEP_TOKEN_FILE": "none",
        "GHA_STEP_SECRETS": f"dir:{folder}",
        "GHA_STEP_LEDGER": f"sqlite:{folder / 'ledger.db'}",
    }
    return Settings.parse(environment | changes)


def test_a_secret_that_is_missing_at_the_start_stops_it_by_name(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE: .*/none does not exist; it is the sec"):
        build(settings(tmp_path, GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE=str(tmp_path / "none")), {})


def test_where_it_is_off_nothing_answers_there(live: str) -> None:
    assert raw(live, head("POST", PATH, None, Content_Length="0")).status == 404


def test_a_delivery_ends_the_pause_of_a_step_that_is_followed(
    tmp_path: Path, github: GitHub, github_url: str, secret_file: Path
) -> None:
    run = github.start_run(actor="kargo-bot", inputs={"environment": "prod", "image_tag": "1"})
    run.set_status("in_progress")
    step = {
        "credentials": {"secretName": "github"},
        "owner": "myorg",
        "repo": "my-app",
        "runID": str(run.id),
        "pollInterval": "1h",
    }
    with live(tmp_path, GITHUB_WEBHOOK_SECRET_FILE=str(secret_file)) as running, stub(running.target) as client:
        example_secret(running.secrets, github_url)
        message = request(pb.RunRequest, body(step, kind="gha-wait-for-workflow", alias="wait"))
        events = client.Run(message, timeout=4 * LONG, metadata=PROOF)
        assert next(events).status == pb.STATUS_RUNNING
        with delivering(github, running.url + PATH, SECRET), soon():
            run.finish()
            last = next(events)
        assert (last.status, last.output["conclusion"]) == (pb.STATUS_SUCCEEDED, "success")


# ---------------------------------------------------------------- who listens


def test_a_listener_that_fails_keeps_no_other_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    waking, heard = Waking(), list[Hint]()

    def fails(hint: Hint) -> None:
        raise RuntimeError("no")

    waking.listen(fails)
    waking.listen(heard.append)
    waking.hint(Hint("o", "r", 1))
    waking.leave(fails)
    waking.hint(Hint("o", "r", 2))
    assert [hint.run_id for hint in heard] == [1, 2]
    assert caplog.text.count("a hint about run 1 of o/r failed") == 1
