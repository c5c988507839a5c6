"""What is remembered has a bound: in entries, and in the bytes of all that they hold."""

from dataclasses import dataclass
from typing import Any

import pytest

from gha_step.contract.memory import LARGEST, Memory, weight
from gha_step.contract.secret import Token
from tests.ledger.records import CANDIDATE, record


def test_the_entries_that_were_set_the_longest_ago_go_first() -> None:
    memory: Memory[str, int] = Memory(3)
    for key in "abca":
        memory[key] = 1
    memory["d"] = 1
    assert list(memory) == ["c", "a", "d"]


def test_they_go_when_their_bytes_are_too_many_and_all_others_stay() -> None:
    memory: Memory[int, bytes] = Memory(room=100_000)
    for number in range(100):
        memory[number] = bytes(5_000)
    assert list(memory) == list(range(81, 100))
    assert 90_000 < memory.size <= 100_000


def test_an_entry_that_would_cost_the_others_theirs_is_not_kept_nor_what_was_there_before() -> None:
    memory: Memory[str, str] = Memory(room=100_000)
    memory["small"] = "x"
    memory["other"] = "x"
    memory["other"] = "x" * (100_000 // LARGEST)
    assert list(memory) == ["small"]


def test_what_is_taken_out_or_replaced_no_longer_counts() -> None:
    memory: Memory[str, str] = Memory()
    memory["a"] = "x" * 1000
    size = memory.size
    memory["a"] = "x" * 1000
    assert memory.size == size
    memory["b"] = memory["c"] = memory.setdefault("d", "x" * 1000)
    assert memory.setdefault("d", "") == "x" * 1000
    assert memory.size == 4 * size
    assert memory.pop("b") == memory["c"]
    assert memory.pop("b", 7) == 7
    del memory["c"], memory["d"]
    assert memory.size == size
    memory.clear()
    assert (memory.size, dict(memory)) == (0, {})


def test_what_has_grown_is_weighed_anew_when_it_is_set_again() -> None:
    memory: Memory[str, list[str]] = Memory()
    memory["a"] = grows = []
    before = memory.size
    grows.append("x" * 1000)
    assert memory.size == before
    memory["a"] = grows
    assert memory.size > before + 1000


@dataclass(frozen=True)
class Plain:
    text: Any


TEXT = "x" * 10_000


@pytest.mark.parametrize(
    "held",
    [
        TEXT,
        TEXT.encode(),
        [[TEXT]],
        {TEXT: 1},
        {"a": {"b": (TEXT, 1)}},
        frozenset({TEXT}),
        Plain(Plain(TEXT)),
        Token(TEXT),
        record(seen=(CANDIDATE.model_copy(update={"url": TEXT}),)),
        "é" * 10_000,
    ],
)
def test_all_that_a_value_refers_to_counts(held: Any) -> None:
    assert 10_000 <= weight(held) < 25_000


def test_a_value_that_refers_to_itself_has_a_weight() -> None:
    held: list[Any] = ["x"]
    held.append(held)
    assert weight(held) > 0
