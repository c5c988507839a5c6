"""Who asked for a step: in its record, whichever way it came; for people, and never a token."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from gha_step.contract.request import LONGEST_ASKED, Asked, StepRequest
from gha_step.inbound.bearer import subject_of
from gha_step.ledger.reading import FileReader, Query
from gha_step.ledger.record import asked_of
from gha_step.ledger_report import describe
from gha_step.pb.v1 import step_pb2 as pb
from tests.inbound.channels import WITHIN, live, request, stub
from tests.inbound.wire import post, put
from tests.support.calls import body, config
from tests.support.secrets import example_secret, write_secret


def token(claims: object) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2ln"])


CONTROLLER = "system:serviceaccount:kargo:controller"
OF_CONTROLLER = token({"sub": CONTROLLER})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (OF_CONTROLLER, CONTROLLER),
        *(
            (other, "the host's bearer")
            for other in ("abc", "a.b.c", "..", "ü.ü.ü", token([]), token({"sub": 5}), token({"sub": ""}), token({}))
        ),
    ],
)
def test_of_a_token_only_its_subject_is_told(given: str, told: str) -> None:
    assert subject_of(given, "the host's bearer") == told


@pytest.mark.parametrize("actor", ["email:a@example.com", "x" * 1000, "two\nlines\x1b[2J\ud800", 5, None, {"a": 1}])
def test_what_a_host_says_of_the_actor_is_one_short_line_or_nothing(actor: object) -> None:
    asked = StepRequest.parse(body(promotionActor=actor), "step.execute from ::1").caller.asked
    assert asked is not None
    assert len(asked.actor) <= LONGEST_ASKED
    assert asked.actor.isprintable()
    assert (asked.actor != "") is isinstance(actor, str)


@pytest.mark.parametrize(
    ("kept", "read"),
    [
        (None, None),
        (5, None),
        ("{", None),
        ("[]", None),
        ("[" * 10_000, None),
        ('{"actor": 5, "via": "a\\nb", "by a later version": 1}', Asked(via="a\ufffdb")),
        (json.dumps({"subject": "x" * 100_000}), Asked(subject="x" * LONGEST_ASKED)),
    ],
)
def test_what_somebody_wrote_beside_a_record_is_bounded_and_no_reason_not_to_read_it(
    kept: object, read: Asked | None
) -> None:
    assert asked_of(kept) == read


def over_http(url: str, target: str, shown: str | None) -> None:
    for actor in ("email:a@example.com", "email:b@example.com"):  # the one who asked first counts
        assert post(url, body(promotionActor=actor), token=shown).status == 200


def over_rest(url: str, target: str, shown: str | None) -> None:
    assert put(url, config(), token=shown).status == 200


def over_rest_with_actor(url: str, target: str, shown: str | None) -> None:
    for actor in (ACTOR, "email:b@example.com"):
        assert put(url, config(), token=shown, X_Promotion_Actor=actor).status == 200


def over_grpc(url: str, target: str, shown: str | None, actor: str = "") -> None:
    with stub(target) as client:
        proof = None if shown is None else (("authorization", f"Bearer {shown}"),)
        message = request(pb.ExecuteRequest)
        message.context.promotion_actor = actor
        client.Execute(message, metadata=proof, timeout=WITHIN)


def over_grpc_with_actor(url: str, target: str, shown: str | None) -> None:
    over_grpc(url, target, shown, ACTOR)


Way = Callable[[str, str, str | None], None]
ACTOR = "email:a@example.com"
HTTP, REST, GRPC = (f"{way} from 127.0.0.1" for way in ("step.execute", "REST", "gRPC"))


@pytest.mark.parametrize(
    ("way", "asked_for", "shown", "told"),
    [
        (over_http, OF_CONTROLLER, OF_CONTROLLER, Asked(ACTOR, HTTP, CONTROLLER)),
        (over_http, "opaque", "opaque", Asked(ACTOR, HTTP, "the host's bearer")),
        (over_http, None, OF_CONTROLLER, Asked(ACTOR, HTTP)),
        (over_rest, OF_CONTROLLER, OF_CONTROLLER, Asked("", REST, CONTROLLER)),
        (over_rest, "opaque", "opaque", Asked("", REST, "the Secret gha-step of demo")),
        (over_grpc, OF_CONTROLLER, OF_CONTROLLER, Asked("", GRPC, CONTROLLER)),
        (over_rest_with_actor, "opaque", "opaque", Asked(ACTOR, REST, "the Secret gha-step of demo")),
        (over_grpc, "opaque", "opaque", Asked("", GRPC, "the host's bearer")),
        (over_grpc_with_actor, "opaque", "opaque", Asked(ACTOR, GRPC, "the host's bearer")),
        (over_grpc, None, OF_CONTROLLER, Asked("", GRPC)),
    ],
)
def test_record_log_and_report_say_who_asked_and_believe_no_token_that_was_not_proved(
    way: Way,
    asked_for: str | None,
    shown: str,
    told: Asked,
    tmp_path: Path,
    github_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    example_secret(tmp_path / "secrets", github_url)
    write_secret(tmp_path / "secrets", "demo", "gha-step", token=asked_for or "unused")
    (tmp_path / "bearer").write_text(asked_for or "")
    bearer = "none" if asked_for is None else str(tmp_path / "bearer")
    with caplog.at_level(logging.INFO), live(tmp_path, TOKEN_FILE=bearer, PROJECT_API="on") as at:
        way(at.url, at.target, shown)
    (record,) = FileReader(tmp_path / "ledger.db").newest(Query(), 0, None)
    assert record.asked == told
    assert f"asked by:    {told}\n" in describe(record, record.created_at)
    assert f"asked for by {told}" in caplog.text
    for kept in (caplog.text, describe(record, 0.0), (tmp_path / "ledger.db").read_bytes().decode("latin-1")):
        assert shown not in kept
        assert shown.split(".")[-1] == "opaque" or shown.split(".")[1] not in kept
