"""Thousands of messages that no client means: each is the caller's fault or an answer, and the server goes on."""

import random
import struct
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from gha_step.emulator import GitHub
from gha_step.pb.v1 import step_pb2 as pb
from tests.inbound.channels import PROOF, SERVICE, WITHIN, Live, channel, live, request, stub
from tests.support.calls import BEARER, body, config
from tests.support.github import github_at
from tests.support.secrets import example_secret

SEED = 20_261_121
AT_ONCE = 100
FINE = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.NOT_FOUND,  # health, of services that are none
}
METHODS = [f"/{SERVICE}/{method}" for method in ("Execute", "Execute", "Execute", "Run", "ListKinds")] + [
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


class Fuzz:
    """Messages by seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def message(self) -> tuple[str, bytes, Any]:
        """A method, bytes, and metadata."""
        dice = self._dice
        make = dice.choice((self._noise, self._mutated, self._mutated, self._structured, self._structured, self._valid))
        proof = PROOF if dice.random() < 0.95 else (("authorization", f"Bearer {dice.randrange(1000)}"),)
        return dice.choice(METHODS), make(), proof

    def _noise(self) -> bytes:
        return self._dice.randbytes(self._dice.choice((0, 1, 2, 5, 20, 100, 1000)))

    def _valid(self) -> bytes:
        return request(
            pb.ExecuteRequest, body(config(credentials={"secretName": "absent"}), alias=self._text() or "a")
        ).SerializeToString()

    def _mutated(self) -> bytes:
        dice, data = self._dice, bytearray(self._valid())
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data) + 1)
            match dice.randrange(5):
                case 0 if at < len(data):
                    data[at] ^= 1 << dice.randrange(8)
                case 1:
                    del data[at : at + dice.randrange(8)]
                case 2:
                    data[at:at] = dice.randbytes(dice.randrange(8))
                case 3:
                    data[at:at] = struct.pack("<d", dice.choice((float("nan"), float("inf"), 1e308, -0.0, 2.0**53 + 2)))
                case _:
                    data = data[:at] + data[dice.randrange(len(data) + 1) :]
        return bytes(data)

    def _structured(self) -> bytes:
        """Well-formed, with anything in it."""
        dice, message = self._dice, pb.ExecuteRequest()
        for name in ("project", "promotion_uid", "alias", "promotion", "stage"):
            if dice.random() < 0.9:
                setattr(message.context, name, dice.choice(("demo", "dispatch", self._text())))
        message.step.kind = dice.choice(("gha-dispatch-workflow", "gha-wait-for-workflow", self._text()))
        self._fill(message.step.config, 0)
        known: dict[str, Any] = config(
            credentials={"secretName": "absent"}, runID="1", repoURL="x", validateInputs=True, pollInterval="1h"
        )
        for name in dice.sample(sorted(known), dice.randrange(len(known))):
            if dice.random() < 0.5:
                message.step.config.update({name: known[name]})
            else:
                self._value(message.step.config.fields[name], 0)
        if dice.random() < 0.5:
            self._fill(message.context.shared_state, 0)
            if dice.random() < 0.5:
                self._value(message.context.shared_state.fields[message.context.alias], 0)
        return message.SerializeToString()

    def _fill(self, into: Struct, depth: int) -> None:
        for _ in range(self._dice.randrange(4)):
            self._value(into.fields[self._text()], depth)

    def _value(self, into: Value, depth: int) -> None:
        dice = self._dice
        match dice.randrange(8 if depth < 25 else 5):
            case 0:
                into.null_value = 0  # type: ignore[assignment]
            case 1:
                into.bool_value = dice.random() < 0.5
            case 2:
                into.number_value = dice.choice((0, -1, 1.5, 1e300, 2.0**53, 2.0**64, float("nan"), float("-inf")))
            case 3:
                into.string_value = self._text()
            case 4:
                pass  # of no kind
            case 5:
                into.list_value.CopyFrom(ListValue())
                for _ in range(dice.randrange(3)):
                    self._value(into.list_value.values.add(), depth + 1)
            case _:
                into.struct_value.CopyFrom(Struct())
                self._fill(into.struct_value, depth + 1)

    def _text(self) -> str:
        letters = "a/.\0\n\"'{}$%é\u2028🚀\x7f#?\\"
        return "".join(self._dice.choice(letters) for _ in range(self._dice.choice((0, 1, 3, 10, 300)))).strip()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Live]:
    github = GitHub()
    with github_at(github) as github_url, live(tmp_path) as running:
        example_secret(running.secrets, github_url)
        yield running
        assert not github.runs, "a message that names no Secret dispatched something"


def _send(target: str, fuzz: Fuzz, messages: int) -> Counter[grpc.StatusCode]:
    told: Counter[grpc.StatusCode] = Counter()

    def hear(sent: tuple[Any, str, bytes]) -> None:
        call, method, data = sent
        code = call.code()
        told[code] += 1
        assert code in FINE, (code, call.details(), method, data.hex())

    with channel(target) as open_channel:
        calls: dict[str, Any] = {method: open_channel.unary_unary(method) for method in METHODS}
        underway: deque[tuple[Any, str, bytes]] = deque()
        for _ in range(messages):
            method, data, metadata = fuzz.message()
            underway.append((calls[method].future(data, timeout=WITHIN, metadata=metadata), method, data))
            if len(underway) == AT_ONCE:
                hear(underway.popleft())
        for sent in underway:
            hear(sent)
    return told


@pytest.mark.parametrize("messages", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_no_message_is_answered_with_unknown_or_internal(at: Live, messages: int) -> None:
    print(f"seed {SEED}")
    told = _send(at.target, Fuzz(SEED), messages)
    print(dict(told))
    assert sum(told.values()) == messages
    # Otherwise it would only have knocked at the door.
    assert told[grpc.StatusCode.OK] > messages / 10
    assert told[grpc.StatusCode.INVALID_ARGUMENT] > messages / 10
    with stub(at.target) as client:
        answer = client.Execute(request(pb.ExecuteRequest, body({})), timeout=WITHIN, metadata=PROOF)
    assert answer.status == pb.STATUS_FAILED
    assert BEARER not in answer.message
