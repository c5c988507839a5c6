"""gRPC clients for tests: the program wired as `serve` does it, with HTTP and gRPC on loopback, and channels to it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status as RpcStatus

from gha_step.pb.v1 import step_pb2 as pb
from gha_step.pb.v1.step_pb2_grpc import StepServiceStub
from gha_step.settings import Settings
from gha_step.wiring.server import build
from tests.support.calls import BEARER, body
from tests.support.clock import LONG

SERVICE: Final = "gha_step.v1.StepService"
PROOF: Final = (("authorization", f"Bearer {BEARER}"),)
WITHIN: Final = 2 * LONG
Request = TypeVar("Request", pb.ExecuteRequest, pb.RunRequest)


@dataclass(frozen=True)
class Live:
    """A running server. ``url``: of HTTP, '' if it is off."""

    url: str
    target: str
    secrets: Path


@contextmanager
def live(folder: Path, **settings: str) -> Iterator[Live]:
    """The whole program, its Secrets in ``folder``/secrets."""
    folder.mkdir(exist_ok=True)
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "token").write_text(BEARER)
    environment = {
        "HTTP_LISTEN": "127.0.0.1:0",
        "GRPC_LISTEN": "127.0.0.1:0",
        "TOKEN_FILE": str(folder / "token"),
        "SECRETS": f"dir:{folder / 'secrets'}",
        "LEDGER": f"sqlite:{folder / 'ledger.db'}",
        "SETTLE": "1s",
    } | settings
    server = build(Settings.parse({f"GHA_STEP_{name}": value for name, value in environment.items()}), {})
    urls = {url.partition("://")[0]: url for url in server.urls}
    target = next(url.partition("://")[2] for scheme, url in urls.items() if scheme.startswith("grpc"))
    thread = threading.Thread(target=lambda: server.run(signals=False), name="tested-server")
    thread.start()
    try:
        yield Live(urls.get("http", ""), target, folder / "secrets")
    finally:
        server.stop()
        thread.join(LONG)
        assert not thread.is_alive()


@contextmanager
def stub(target: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[StepServiceStub]:
    """A client of the generated code."""
    with channel(target, credentials) as open_channel:
        yield StepServiceStub(open_channel)


@contextmanager
def channel(target: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[grpc.Channel]:
    """A channel of its own: no two share a connection."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    made = (
        grpc.insecure_channel(target, options)
        if credentials is None
        else grpc.secure_channel(target, credentials, options)
    )
    with closing(made):
        yield made


def request(kind: type[Request], content: Mapping[str, Any] | None = None) -> Request:
    """The message for what HTTP gets as its body."""
    content = body() if content is None else content
    made = kind()
    if "context" in content:
        made.context.SetInParent()
    for name, text in content.get("context", {}).items():
        field = {"promotionUID": "promotion_uid", "sharedState": "shared_state"}.get(name, name)
        if field == "shared_state":
            made.context.shared_state.update(text)
        elif field in pb.StepContext.DESCRIPTOR.fields_by_name:
            setattr(made.context, field, text)
    if "step" in content:
        made.step.kind = content["step"].get("kind", "")
        made.step.SetInParent()
        if "config" in content["step"]:
            made.step.config.SetInParent()
            made.step.config.update(content["step"]["config"])
    return made


def as_http(answer: pb.ExecuteResponse | pb.RunEvent) -> dict[str, Any]:
    """An answer as HTTP has it."""
    told: dict[str, Any] = {
        "status": pb.Status.Name(answer.status).removeprefix("STATUS_").capitalize(),
        "message": answer.message,
        "output": _whole(MessageToDict(answer.output)),
    }
    if answer.HasField("retry_after"):
        told["retryAfter"] = answer.retry_after.ToTimedelta().total_seconds()
    return told | ({"terminal": True} if answer.terminal else {})


def _whole(value: Any) -> Any:
    match value:
        case dict():
            return {key: _whole(one) for key, one in value.items()}
        case list():
            return [_whole(one) for one in value]
        case float() if value.is_integer():
            return int(value)
    return value


def refusal(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, message, and the fields that the details name."""
    assert isinstance(error, grpc.Call)
    metadata = dict(error.trailing_metadata() or ())
    if "grpc-status-details-bin" not in metadata:
        return error.code(), error.details() or "", []
    packed = metadata["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status = RpcStatus.FromString(packed)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    (detail,) = status.details
    bad = BadRequest()
    assert detail.Unpack(bad)
    return error.code(), status.message, [one.field for one in bad.field_violations]
