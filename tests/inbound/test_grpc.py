"""The gRPC server over real channels: who gets in, what is refused with which code, and what a Run leaves behind."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gha_step.emulator import Delay, GitHub, Hold
from gha_step.inbound.grpc import server as servers_grpc
from gha_step.inbound.grpc.outline import has_more_values
from gha_step.inbound.grpc.server import MAX_WATCHES, OPTIONS
from gha_step.inbound.room import REFUSED_AFTER, SMALL
from gha_step.pb.v1 import step_pb2 as pb
from tests.inbound.channels import PROOF, SERVICE, WITHIN, Live, as_http, channel, live, refusal, request, stub
from tests.inbound.wire import get, post
from tests.support.calls import BEARER, body, config
from tests.support.certificates import Authority
from tests.support.clock import LONG, eventually, soon
from tests.support.github import github_at
from tests.support.ports import has_ipv6
from tests.support.process import Served, clean_environment, served
from tests.support.secrets import example_secret

Code = grpc.StatusCode
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WAIT = "gha-wait-for-workflow"


@pytest.fixture
def at(tmp_path: Path, github_url: str) -> Iterator[Live]:
    """A server of this test's own."""
    with live(tmp_path) as running:
        example_secret(running.secrets, github_url)
        yield running


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, GitHub]]:
    github = GitHub()
    with github_at(github) as github_url, live(tmp_path_factory.mktemp("quiet")) as running:
        example_secret(running.secrets, github_url)
        yield running, github


@pytest.fixture
def shut(quiet: tuple[Live, GitHub]) -> Iterator[Live]:
    """A server that several tests share; whatever the test does, GitHub hears nothing of it."""
    yield quiet[0]
    assert quiet[1].count() == 0


def wait_config(run_id: int | str, **changes: Any) -> dict[str, Any]:
    whole = config(runID=run_id, pollInterval="1s", **changes)
    return {name: value for name, value in whole.items() if name not in ("workflowFile", "ref", "inputs", "timeout")}


def raw(target: str, method: str, data: bytes, metadata: Any = PROOF, service: str = SERVICE) -> bytes:
    """One call with these bytes as its message."""
    with channel(target) as open_channel:
        call: Any = open_channel.unary_unary(f"/{service}/{method}")
        answer: bytes = call(data, timeout=WITHIN, metadata=metadata)
    return answer


def fails(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, list[str]]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal(caught.value)


# ---------------------------------------------------------------- Execute


def test_a_call_is_answered_with_the_run_id(at: Live, github: GitHub) -> None:
    with stub(at.target) as client:
        answer = client.Execute(request(pb.ExecuteRequest), timeout=WITHIN, metadata=PROOF)
    assert answer.status == pb.STATUS_SUCCEEDED
    assert answer.run_id == answer.output["runID"] == github.runs[0].id


def test_the_same_step_over_http_and_grpc_is_one_dispatch(at: Live, github: GitHub) -> None:
    github.faults.add(Delay(0.2), "dispatch")
    with stub(at.target) as client, ThreadPoolExecutor(4) as pool:
        over_grpc = [
            pool.submit(client.Execute, request(pb.ExecuteRequest), timeout=WITHIN, metadata=PROOF) for _ in range(2)
        ]
        over_http = [pool.submit(post, at.url, body()) for _ in range(2)]
        told = {call.result().run_id for call in over_grpc}
        told |= {call.result().json["output"]["runID"] for call in over_http}
    assert told == {github.runs[0].id}
    assert github.count("dispatch") == 1


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", f"Bearer {BEARER}x"),),
        (("authorization", f"Bearer {BEARER}"), ("authorization", "Bearer wrong")),
        (("authorization-bin", f"Bearer {BEARER}".encode()),),
    ],
)
@pytest.mark.parametrize("method", ["Execute", "Run", "ListKinds"])
def test_without_the_right_bearer_nothing_is_even_parsed(shut: Live, metadata: Any, method: str) -> None:
    assert fails(lambda: raw(shut.target, method, b"\xff\xff", metadata)) == (
        Code.UNAUTHENTICATED,
        "the bearer token is missing or wrong",
        [],
    )


def test_without_the_right_bearer_a_message_is_not_even_read(shut: Live) -> None:
    assert fails(lambda: raw(shut.target, "Execute", bytes(8 << 20), ()))[0] is Code.UNAUTHENTICATED


def field(number: int, content: bytes) -> bytes:
    """On the wire, with its length."""
    size, prefix = len(content), b""
    while size > 127:
        prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + prefix + bytes([size]) + content


def nested(levels: int) -> bytes:
    """A config that holds lists in lists; the library's own limit forbids to build it otherwise."""
    value = b"\x08\x00"
    for _ in range(levels):
        value = field(6, field(1, value))
    return field(2, field(1, b"x") + field(2, field(1, field(1, b"a") + field(2, value))))


@pytest.mark.parametrize("method", ["Execute", "Run"])
@pytest.mark.parametrize(
    ("data", "fields", "words"),
    [
        (b"", ["context", "step"], "context: is required"),
        (b"\xff\xff\xff", [""], "the message is not a valid gha_step.v1."),
        (b"\x0a\x7f", [""], "the message is not a valid gha_step.v1."),
        (b"\x0a\x03\x0a\x01\xff", [""], "not UTF-8"),
        (nested(1000), [""], "nested too deeply"),
        (nested(200), [""], "nested too deeply"),
        (nested(30), ["context"], "context: is required"),
        (b"{}", [""], "the message is not a valid gha_step.v1."),
    ],
)
def test_what_is_no_request_is_refused_with_the_field(
    shut: Live, method: str, data: bytes, fields: list[str], words: str
) -> None:
    code, said, named = fails(lambda: raw(shut.target, method, data))
    assert (code, named) == (Code.INVALID_ARGUMENT, fields)
    assert words in said


def test_a_message_over_the_limit_is_refused_and_one_below_it_is_not(shut: Live) -> None:
    message = request(pb.ExecuteRequest, body({}, kind="x"))
    message.context.shared_state["x"] = "y" * (4 << 20)
    assert fails(lambda: raw(shut.target, "Execute", message.SerializeToString()))[0] is Code.RESOURCE_EXHAUSTED
    message.context.shared_state["x"] = "y" * (4_000_000)
    answer = pb.ExecuteResponse.FromString(raw(shut.target, "Execute", message.SerializeToString()))
    assert answer.status == pb.STATUS_FAILED


def test_a_large_message_that_is_malformed_is_refused_after_a_pause(shut: Live) -> None:
    message, begun = request(pb.ExecuteRequest, body({"ref": "x" * SMALL})), time.monotonic()
    message.step.config["x"] = math.nan
    assert fails(lambda: raw(shut.target, "Execute", message.SerializeToString()))[0] is Code.INVALID_ARGUMENT
    assert time.monotonic() - begun >= REFUSED_AFTER


@pytest.mark.parametrize(
    "value",
    [
        field(6, b"\x0a\x00" * 200_001),  # a list
        field(6, b"\x8a\x00\x00" * 200_001),  # the same, with longer numbers of fields
        field(5, b"\x0a\x00" * 200_001),  # an object
        b"\x2a\x00\x32\x00" * 100_001,  # one value, said to be an object and a list in turn
        b"\x1a\x80\x80\x04" + bytes(1 << 16),
    ],
)
def test_values_in_a_large_message_are_counted_before_they_are_made(shut: Live, value: bytes) -> None:
    data = field(2, field(1, b"x") + field(2, field(1, field(1, b"a") + field(2, value))))
    text = value.startswith(b"\x1a")
    assert has_more_values(data, 50_000) is not text
    code, said, named = fails(lambda: raw(shut.target, "Execute", data))
    assert (code, named) == (Code.INVALID_ARGUMENT, ["context"] if text else [""])
    assert ("more than 50,000 values" in said) is not text


@pytest.mark.parametrize(("size", "values", "in_turn"), [(60_000, 1, False), (0, 200, False), (0, 2_000, True)])
def test_a_small_message_of_many_values_is_read_in_turn_like_a_large_one(size: int, values: int, in_turn: bool) -> None:
    message = request(pb.ExecuteRequest, body({"inputs": {"x": "x" * size, "y": [True] * values}}))
    handler: Any = grpc.unary_unary_rpc_method_handler(print, pb.ExecuteRequest.FromString)
    read = servers_grpc._reader(handler, lambda size: None)(message.SerializeToString())
    assert isinstance(read, servers_grpc._Unread) is in_turn


def test_large_messages_that_find_no_room_are_not_kept(shut: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_grpc, "MOST_LARGE", SMALL)
    message = request(pb.ExecuteRequest, body({"ref": "x" * SMALL}))
    assert fails(lambda: raw(shut.target, "Execute", message.SerializeToString()))[0] is Code.RESOURCE_EXHAUSTED


def test_a_method_that_is_none_is_unimplemented(shut: Live) -> None:
    assert fails(lambda: raw(shut.target, "Cancel", b""))[0] is Code.UNIMPLEMENTED
    assert fails(lambda: raw(shut.target, "Execute", b"", service="gha_step.v2.StepService"))[0] is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("grpc.health.v1.Health", "Check"),
        ("grpc.health.v1.Health", "Watch"),
        ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo"),
    ],
)
def test_broken_messages_to_the_other_services_are_the_callers_fault_too(shut: Live, service: str, method: str) -> None:
    assert fails(lambda: raw(shut.target, method, b"\xff\xff", (), service))[0] is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("service", "method"),
    [
        (SERVICE, "Execute"),
        (SERVICE, "Run"),
        (SERVICE, "ListKinds"),
        ("grpc.health.v1.Health", "Check"),
        ("grpc.health.v1.Health", "Watch"),
    ],
)
def test_a_call_without_any_message_is_not_left_hanging(shut: Live, service: str, method: str) -> None:
    def call_without() -> list[bytes]:
        with channel(shut.target) as open_channel:
            call: Any = open_channel.stream_stream(f"/{service}/{method}")
            return list(call(iter(()), timeout=WITHIN, metadata=PROOF))

    code, words, _ = fails(call_without)
    assert (code, words) == (Code.INVALID_ARGUMENT, "the call contains no message; send one")


def test_a_message_that_does_not_come_is_not_waited_for(shut: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_grpc, "MESSAGE_WITHIN", 0.2)
    silent = threading.Event()

    def never() -> Iterator[bytes]:
        silent.wait(WITHIN)
        yield from ()

    def call_late() -> bytes:
        with channel(shut.target) as open_channel:
            call: Any = open_channel.stream_unary(f"/{SERVICE}/Execute")
            answer: bytes = call(never(), timeout=WITHIN, metadata=PROOF)
        return answer

    code, words, _ = fails(call_late)
    silent.set()
    assert (code, words) == (Code.INVALID_ARGUMENT, "no message arrived within 0.2 s; send one right away")


def test_a_method_that_the_health_library_only_declares_is_unimplemented(shut: Live) -> None:
    assert fails(lambda: raw(shut.target, "List", b"", (), "grpc.health.v1.Health"))[0] is Code.UNIMPLEMENTED


@pytest.mark.parametrize(("size", "code"), [(6_000, Code.INVALID_ARGUMENT), (9_000, Code.RESOURCE_EXHAUSTED)])
def test_metadata_of_more_than_8_kib_are_refused_and_the_server_goes_on(shut: Live, size: int, code: Code) -> None:
    assert fails(lambda: raw(shut.target, "Execute", b"", (*PROOF, ("x", "y" * size))))[0] is code
    assert raw(shut.target, "ListKinds", b"")


# ---------------------------------------------------------------- ListKinds, health, reflection


def test_the_kinds_of_the_server_are_listed(shut: Live) -> None:
    with stub(shut.target) as client:
        kinds = client.ListKinds(pb.ListKindsRequest(), timeout=WITHIN, metadata=PROOF).kinds
    assert [kind.kind for kind in kinds] == ["gha-dispatch-workflow", WAIT, "gha-cancel-workflow"]
    assert "workflowFile" in kinds[0].config_schema["properties"]  # type: ignore[operator]


def health(target: str, service: str = "") -> int:
    with channel(target) as open_channel:
        made: Any = health_pb2_grpc.HealthStub(open_channel)
        return int(made.Check(health_pb2.HealthCheckRequest(service=service), timeout=WITHIN).status)


def test_health_is_told_to_everyone(shut: Live) -> None:
    assert health(shut.target) == health(shut.target, SERVICE) == SERVING
    assert fails(lambda: health(shut.target, "nothing"))[0] is Code.NOT_FOUND


def services(target: str) -> set[str]:
    with channel(target) as open_channel:
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        made: Any = reflection_pb2_grpc.ServerReflectionStub(open_channel)
        (answer,) = made.ServerReflectionInfo(iter([asked]), timeout=WITHIN)
    return {one.name for one in answer.list_services_response.service}


def test_reflection_names_the_services(shut: Live) -> None:
    assert services(shut.target) == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


# ---------------------------------------------------------------- what is served


@pytest.mark.parametrize("name", [name for name, _ in OPTIONS])
def test_an_option_is_one_that_grpc_knows(name: str) -> None:
    """It says nothing of one that it does not know: callers that ping every 10 s then lose their Run after 30 s."""
    assert name.encode() + b"\0" in Path(cygrpc.__file__).read_bytes()


def test_where_steps_are_not_served_health_is(tmp_path: Path) -> None:
    with live(tmp_path, TOKEN_FILE="off") as running:
        assert fails(lambda: raw(running.target, "Execute", b""))[0] is Code.UNIMPLEMENTED
        assert services(running.target) == {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        assert health(running.target) == SERVING
        assert fails(lambda: health(running.target, SERVICE))[0] is Code.NOT_FOUND


def test_on_loopback_a_token_need_not_be_asked_for(tmp_path: Path) -> None:
    with live(tmp_path, TOKEN_FILE="none") as running:
        assert raw(running.target, "ListKinds", b"", ())


def test_http_may_be_off(tmp_path: Path, github: GitHub, github_url: str) -> None:
    with live(tmp_path, HTTP_LISTEN="off") as running, stub(running.target) as client:
        assert running.url == ""
        example_secret(running.secrets, github_url)
        answer = client.Execute(request(pb.ExecuteRequest), timeout=WITHIN, metadata=PROOF)
    assert answer.run_id == github.runs[0].id


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6_loopback_is_listened_on(tmp_path: Path) -> None:
    with live(tmp_path, GRPC_LISTEN="[::1]:0") as running:
        assert running.target.startswith("[::1]:")
        assert raw(running.target, "ListKinds", b"")


LOADED = """
import sys
from gha_step.settings import Settings
from gha_step.wiring.server import build
build(Settings.parse({"GHA_STEP_HTTP_LISTEN": "127.0.0.1:0", "GHA_STEP_TOKEN_FILE": "none",
    "GHA_STEP_SECRETS": "dir:.", "GHA_STEP_LEDGER": "sqlite:ledger.db"}), {})
print([name for name in sys.modules if name.split(".")[0] in ("grpc", "google", "grpc_health", "grpc_reflection")])
"""


def test_where_grpc_is_off_nothing_of_it_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=4 * LONG,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


# ---------------------------------------------------------------- TLS


def test_with_a_certificate_the_server_proves_itself(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    issued = authority.issue("server")
    with live(tmp_path, GRPC_TLS_CERT=str(issued.certificate), GRPC_TLS_KEY=str(issued.key)) as running:
        trusting = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        with stub(running.target, trusting) as client:
            assert client.ListKinds(pb.ListKindsRequest(), timeout=WITHIN, metadata=PROOF).kinds
            assert fails(lambda: client.ListKinds(pb.ListKindsRequest(), timeout=WITHIN))[0] is Code.UNAUTHENTICATED
        with stub(running.target, grpc.ssl_channel_credentials()) as stranger:
            assert fails(lambda: stranger.ListKinds(pb.ListKindsRequest(), timeout=WITHIN))[0] is Code.UNAVAILABLE
        assert fails(lambda: raw(running.target, "ListKinds", b""))[0] is Code.UNAVAILABLE


def test_with_a_client_authority_only_its_clients_get_in(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "pki"), Authority(tmp_path / "other")
    issued = authority.issue("server")
    files = {
        "GRPC_TLS_CERT": str(issued.certificate),
        "GRPC_TLS_KEY": str(issued.key),
        "GRPC_TLS_CLIENT_CA": str(authority.certificate),
    }
    root = authority.certificate.read_bytes()

    def kinds(key: bytes | None, certificate: bytes | None) -> int:
        with stub(running.target, grpc.ssl_channel_credentials(root, key, certificate)) as client:
            return len(client.ListKinds(pb.ListKindsRequest(), timeout=WITHIN, metadata=PROOF).kinds)

    with live(tmp_path, **files) as running:
        friend, stranger = authority.issue("friend"), other.issue("stranger")
        assert kinds(friend.key.read_bytes(), friend.certificate.read_bytes()) == 3
        assert fails(lambda: kinds(None, None))[0] is Code.UNAVAILABLE
        wrong = stranger.key.read_bytes(), stranger.certificate.read_bytes()
        assert fails(lambda: kinds(*wrong))[0] is Code.UNAVAILABLE
        assert kinds(friend.key.read_bytes(), friend.certificate.read_bytes()) == 3


def test_a_renewed_certificate_counts_without_a_restart_and_a_broken_one_does_not(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    issued = old.issue("server")
    with live(tmp_path, GRPC_TLS_CERT=str(issued.certificate), GRPC_TLS_KEY=str(issued.key)) as running:

        def trusted(authority: Authority) -> bool:
            root = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
            with stub(running.target, root) as client:
                try:
                    return bool(client.ListKinds(pb.ListKindsRequest(), timeout=WITHIN, metadata=PROOF).kinds)
                except grpc.RpcError:
                    return False

        assert (trusted(old), trusted(new)) == (True, False)
        key = issued.key.read_bytes()
        issued.key.write_bytes(b"half a ke")
        assert trusted(old)
        renewed = new.issue("server")
        issued.key.write_bytes(renewed.key.read_bytes())
        issued.certificate.write_bytes(renewed.certificate.read_bytes())
        assert (trusted(old), trusted(new)) == (False, True)
        assert key != issued.key.read_bytes()


# ---------------------------------------------------------------- Run


def test_run_follows_a_dispatch_and_a_wait_to_their_ends(at: Live, github: GitHub) -> None:
    github.faults.add(Delay(0.1), "dispatch")
    with stub(at.target) as client:
        *_, last = client.Run(request(pb.RunRequest), timeout=WITHIN, metadata=PROOF)
        assert (last.status, last.run_id) == (pb.STATUS_SUCCEEDED, github.runs[0].id)
        github.runs[0].set_status("in_progress")
        waiting = body(wait_config(last.run_id, expectedConclusion="success"), kind=WAIT, alias="wait")
        events = client.Run(request(pb.RunRequest, waiting), timeout=WITHIN, metadata=PROOF)
        first = next(events)
        assert (first.status, first.output["status"]) == (pb.STATUS_RUNNING, "in_progress")
        assert first.retry_after.ToTimedelta().total_seconds() == 1
        github.runs[0].finish("success")
        *_, last = events
    assert (last.status, last.output["conclusion"]) == (pb.STATUS_SUCCEEDED, "success")


def test_a_failed_step_ends_its_run_with_ok(shut: Live) -> None:
    with stub(shut.target) as client:
        call = client.Run(request(pb.RunRequest, body({"x": 1})), timeout=WITHIN, metadata=PROOF)
        (event,) = call
    assert as_http(event)["terminal"] is True
    assert call.code() is Code.OK


def follow(target: str, message: pb.RunRequest, timeout: float = WITHIN) -> Any:
    """A Run over a channel that is left open; gives the call."""
    return grpc.insecure_channel(target, (("grpc.use_local_subchannel_pool", 1),)).unary_stream(
        f"/{SERVICE}/Run", pb.RunRequest.SerializeToString, pb.RunEvent.FromString
    )(message, timeout=timeout, metadata=PROOF)


def in_progress(github: GitHub) -> int:
    run = github.start_run(actor="kargo-bot", inputs={"environment": "prod", "image_tag": "1"})
    run.set_status("in_progress")
    return run.id


def looks(github: GitHub) -> int:
    return github.count("get-run")


def ends(github: GitHub) -> None:
    """Wait until nobody looks at runs any more: the interval is a second."""

    def nobody_looks() -> bool:
        before = looks(github)
        time.sleep(1.6)
        return looks(github) == before

    eventually(nobody_looks)


def goes_on(github: GitHub) -> None:
    """Wait until somebody has looked once more."""
    before = looks(github)
    eventually(lambda: looks(github) > before)


def test_a_run_that_is_cancelled_is_no_longer_followed(at: Live, github: GitHub) -> None:
    with stub(at.target) as client:
        message = request(pb.RunRequest, body(wait_config(in_progress(github)), kind=WAIT))
        call = client.Run(message, timeout=WITHIN, metadata=PROOF)
        assert next(call).status == pb.STATUS_RUNNING
        call.cancel()
        assert call.code() is Code.CANCELLED
        ends(github)


def test_a_deadline_ends_the_following(at: Live, github: GitHub) -> None:
    with stub(at.target) as client:
        message = request(pb.RunRequest, body(wait_config(in_progress(github)), kind=WAIT))
        code, *_ = fails(lambda: list(client.Run(message, timeout=1.3, metadata=PROOF)))
        assert code is Code.DEADLINE_EXCEEDED
        ends(github)


def test_a_run_that_is_cancelled_during_its_post_neither_undoes_nor_repeats_it(at: Live, github: GitHub) -> None:
    github.faults.add(Delay(0.5), "dispatch")
    with stub(at.target) as client:
        call = client.Run(request(pb.RunRequest), timeout=WITHIN, metadata=PROOF)
        eventually(lambda: github.count("dispatch") == 1)
        call.cancel()
        *_, last = client.Run(request(pb.RunRequest), timeout=WITHIN, metadata=PROOF)
    assert last.run_id == github.runs[0].id
    assert github.count("dispatch") == len(github.runs) == 1


CLIENT = """
import sys, grpc
call = grpc.insecure_channel(sys.argv[1]).unary_stream("/gha_step.v1.StepService/Run")
events = call(bytes.fromhex(sys.argv[2]), metadata=[("authorization", sys.argv[3])])
next(events)
print("first", flush=True)
list(events)
"""


def test_a_client_that_is_killed_in_mid_stream_leaves_nothing_behind(at: Live, github: GitHub) -> None:
    message = request(pb.RunRequest, body(wait_config(in_progress(github)), kind=WAIT)).SerializeToString()
    command = [sys.executable, "-c", CLIENT, at.target, message.hex(), f"Bearer {BEARER}"]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "first\n"
        goes_on(github)
        os.kill(client.pid, signal.SIGKILL)
        client.wait(LONG)
        ends(github)
    assert health(at.target) == SERVING


def test_sixty_runs_at_once_end_with_sixty_right_ids(at: Live, github: GitHub) -> None:
    github.faults.add(Delay(0.5), "dispatch", times=None)
    inputs = {"environment": "prod"}
    messages = [
        request(
            pb.RunRequest, body(config(inputs=inputs | {"image_tag": f"v{number}"}, timeout=60), alias=f"a{number}")
        )
        for number in range(60)
    ]
    with stub(at.target) as client:
        calls = [client.Run(message, timeout=4 * LONG, metadata=PROOF) for message in messages]
        last = [list(call)[-1] for call in calls]
    assert {event.status for event in last} == {pb.STATUS_SUCCEEDED}
    tags = {run.id: run.sent_inputs["image_tag"] for run in github.runs}
    assert [tags[event.run_id] for event in last] == [f"v{number}" for number in range(60)]
    assert github.count("dispatch") == len(github.runs) == 60


def test_of_a_burst_of_calls_none_is_dropped_without_a_word(shut: Live) -> None:
    data = request(pb.ExecuteRequest, body({}, kind="x")).SerializeToString()
    with channel(shut.target) as one, channel(shut.target) as two, channel(shut.target) as three:
        calls: list[Any] = [open_channel.unary_unary(f"/{SERVICE}/Execute") for open_channel in (one, two, three)]
        sent = [call.future(data, timeout=20 * LONG, metadata=PROOF) for _ in range(600) for call in calls]
        assert {call.code() for call in sent} == {Code.OK}


def test_whoever_watches_without_a_bearer_shuts_out_neither_steps_nor_probes(at: Live) -> None:
    with channel(at.target) as many:
        watch: Any = many.unary_stream("/grpc.health.v1.Health/Watch")
        watches = [watch(b"", timeout=20 * LONG) for _ in range(MAX_WATCHES)]
        assert all(next(one) for one in watches)
        code, words, _ = fails(lambda: next(watch(b"", timeout=WITHIN)))
        assert (code, words) == (Code.RESOURCE_EXHAUSTED, "too many calls at once; call again later")
        assert health(at.target) == SERVING
        assert raw(at.target, "ListKinds", b"")
        watches.pop().cancel()
        eventually(lambda: first_of(watch(b"", timeout=WITHIN)))


def first_of(call: Any) -> object:
    try:
        return next(call)
    except grpc.RpcError:
        return None


def test_runs_that_wait_hold_no_threads(at: Live, github: GitHub) -> None:
    run_id = in_progress(github)
    before = threading.active_count()
    with stub(at.target) as client:

        def begin(number: int) -> Any:
            step = body(wait_config(run_id) | {"pollInterval": "1h"}, kind=WAIT, alias=f"a{number}")
            call = client.Run(request(pb.RunRequest, step), timeout=WITHIN, metadata=PROOF)
            next(call)
            return call

        calls = [begin(number) for number in range(100)]
        with soon():
            assert get(at.url, "/readyz").status == 200
            done = client.Execute(request(pb.ExecuteRequest), timeout=WITHIN, metadata=PROOF)
        assert done.status == pb.STATUS_SUCCEEDED
        assert threading.active_count() - before < 50
        for call in calls:
            call.cancel()


# ---------------------------------------------------------------- SIGTERM, of a real process


@pytest.fixture
def process(tmp_path: Path, github_url: str) -> Iterator[Served]:
    with served(tmp_path, GHA_STEP_GRPC_LISTEN="127.0.0.1:0", GHA_STEP_REPLY_WITHIN="3s") as running:
        example_secret(running.secrets, github_url)
        yield running


def test_an_idle_server_with_grpc_ends_at_once_and_with_success(process: Served) -> None:
    assert health(process.grpc_target) == SERVING
    assert process.stop() == 0


def test_on_sigterm_it_is_not_serving_first_answers_what_is_in_flight_and_sends_runs_away(
    process: Served, github: GitHub
) -> None:
    held = Hold()
    github.faults.add(held, "dispatch")
    target = process.grpc_target
    with channel(target) as watching, stub(target) as client, stub(target) as follower, ThreadPoolExecutor(2) as pool:
        made: Any = health_pb2_grpc.HealthStub(watching)
        watch = made.Watch(health_pb2.HealthCheckRequest(), timeout=WITHIN)
        assert next(watch).status == SERVING
        waiting = request(pb.RunRequest, body(wait_config(in_progress(github)), kind=WAIT, alias="wait"))
        followed = follower.Run(waiting, timeout=WITHIN, metadata=PROOF)
        assert next(followed).status == pb.STATUS_RUNNING
        executing = pool.submit(client.Execute, request(pb.ExecuteRequest), timeout=WITHIN, metadata=PROOF)
        eventually(lambda: github.count("dispatch") == 1)
        process.terminate()
        assert next(watch).status == NOT_SERVING
        assert not executing.done()
        code, said, _ = fails(lambda: list(followed))
        assert (code, said) == (Code.UNAVAILABLE, "this server is stopping; call again")
        new = request(pb.ExecuteRequest, body(alias="new"))
        assert fails(lambda: client.Execute(new, timeout=WITHIN, metadata=PROOF))[:2] == (code, said)
        assert health(target) == health(target, SERVICE) == NOT_SERVING
        assert fails(lambda: client.Execute(new, timeout=WITHIN))[0] is Code.UNAUTHENTICATED
        held.release()
        assert executing.result().run_id == github.runs[-1].id
        assert process.process.wait(LONG) == 0
    assert github.count("dispatch") == 1


def test_nothing_that_is_written_holds_the_bearer_and_every_line_is_json(process: Served) -> None:
    target = process.grpc_target
    with stub(target) as client:
        client.Execute(request(pb.ExecuteRequest), timeout=WITHIN, metadata=PROOF)
    fails(lambda: raw(target, "Execute", b"\xff\xff"))
    fails(lambda: raw(target, "Execute", BEARER.encode(), (("authorization", f"Bearer {BEARER}x"),)))
    assert process.stop() == 0
    assert process.lines()
    for name, content in process.written().items():
        assert BEARER.encode() not in content, name
