"""``cancelOnAbort`` is a duty that the record's first write holds: with where the credentials are, and no token."""

from typing import Any

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, Answer, GitHub, Response
from gha_step.ledger.duties import Cancellation
from gha_step.ledger.record import Record, State
from tests.support.calls import config
from tests.support.core import Program
from tests.support.ledger import FaultyStore
from tests.support.secrets import write_secret

BY_SECRET = Cancellation(mode="cancel", secret="github")


@pytest.mark.parametrize(
    ("value", "mode"),
    [(True, "cancel"), ("true", "cancel"), ("force", "force"), (False, None), ("false", None), (..., None)],
)
def test_the_first_write_holds_what_is_asked_for(
    program: Program, store: FaultyStore, value: Any, mode: str | None
) -> None:
    written: list[Record] = []
    store.before_write = written.append
    assert program.call(config(cancelOnAbort=value)).status == "Succeeded"
    expected = None if mode is None else BY_SECRET.model_copy(update={"mode": mode})
    assert [record.abort for record in written] == [expected, expected]
    assert written[0].version == 0
    assert EXAMPLE_TOKEN not in store.only().model_dump_json()


@pytest.mark.parametrize(
    "value", ["always", "True", "FORCE", "cancel", "", None, 1, 0, 6.0, "6m", [True], {"force": True}]
)
def test_another_value_is_refused_by_name(program: Program, store: FaultyStore, value: Any) -> None:
    result = program.call(config(cancelOnAbort=value))
    assert result.status == "Failed"
    assert "config.cancelOnAbort: must be true, false or force" in str(result.message)


@pytest.mark.parametrize(
    ("promotion", "uid"),
    [("", "uid-1"), (..., "uid-1"), ("Not A Name", "uid-1"), ("a/../b", "uid-1"), ("x" * 254, "u")],
)
def test_a_caller_whose_promotion_nobody_could_read_is_refused(
    program: Program, github: GitHub, promotion: Any, uid: str
) -> None:
    result = program.call(config(cancelOnAbort=True), promotion=promotion, promotionUID=uid)
    assert result.status == "Failed"
    assert "names no Promotion with its UID" in str(result.message)
    assert github.count("dispatch") == 0
    assert program.call(config(), promotion=promotion, promotionUID=uid).status == "Succeeded"


def test_by_url_the_record_keeps_the_url_without_its_password(
    program: Program, store: FaultyStore, secrets: Any, github_url: str
) -> None:
    clone = f"{github_url}/myorg/my-app"
    write_secret(secrets, name="git", repoURL=clone, username="kargo", password=EXAMPLE_TOKEN)
    with_password = clone.replace("://", "://kargo:hunter2@")
    wish = config(credentials=..., owner=..., repo=..., repoURL=with_password, cancelOnAbort=True)
    program.call(wish)
    record = store.only()
    assert record.abort is not None
    assert (record.abort.secret, record.abort.url) == (None, clone)
    assert "hunter2" not in record.model_dump_json()


def test_the_newest_call_counts_as_long_as_nothing_is_sent(
    program: Program, store: FaultyStore, github: GitHub
) -> None:
    limit = Response.of(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "9"})
    github.faults.add(Answer(limit), "dispatch")
    program.call(config(timeout="300"))
    assert (store.only().state, store.only().abort) == (State.RESERVED, None)
    program.clock.sleep(10)
    program.call(config(timeout="300", cancelOnAbort="force"))
    assert store.only().abort == BY_SECRET.model_copy(update={"mode": "force"})
    program.call(config(timeout="300", cancelOnAbort=False))
    assert store.only().abort == BY_SECRET.model_copy(update={"mode": "force"})
