"""A table in one test misses no row, and says which have failed."""

import inspect
from typing import Any

import pytest

from tests.support.rows import each_row


@pytest.mark.parametrize(
    ("ids", "named"),
    [(None, "row: 3, 1"), (["a", "b", "c", "d"], "row: c"), (lambda value: f"n{value}", "row: n3, n1")],
)
def test_every_row_is_checked_and_each_that_fails_is_named(ids: Any, named: str) -> None:
    seen = []

    @each_row(("left", "right"), [(1, 1), (2, 2), (3, 1), (4, 4)], ids=ids)
    def check(left: int, right: int) -> None:
        seen.append(left)
        assert left == right

    with pytest.raises(BaseExceptionGroup) as caught:
        check()
    assert seen == [1, 2, 3, 4]
    (error,) = caught.value.exceptions
    assert isinstance(error, AssertionError)
    assert error.__notes__ == [named]


def test_what_should_have_been_raised_and_was_not_fails_its_row() -> None:
    @each_row("text", ["1", "x", "2"])
    def check(text: str) -> None:
        with pytest.raises(ValueError):
            int(text)

    with pytest.raises(BaseExceptionGroup, match="2 of 3 rows"):
        check()


def test_two_tables_are_one_of_all_pairs_and_fixtures_are_left_to_pytest() -> None:
    pairs = []

    @each_row("a", [1, 2])
    @each_row("b", "xy")
    def check(a: int, b: str, tmp_path: str) -> None:
        pairs.append((a, b, tmp_path))

    assert list(inspect.signature(check).parameters) == ["tmp_path"]
    check(tmp_path="here")
    assert pairs == [(1, "x", "here"), (1, "y", "here"), (2, "x", "here"), (2, "y", "here")]


def test_a_table_without_rows_and_names_that_are_not_one_for_each_are_refused() -> None:
    with pytest.raises(ValueError, match="without rows"):
        each_row("a", [])
    with pytest.raises(ValueError):
        each_row("a", [1, 2], ids=["one"])(lambda a: None)()
