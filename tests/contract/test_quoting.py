"""What somebody wrote, as a message quotes it."""

import pytest

from gha_step.contract.quoting import quoted
from tests.support.rows import each_row


@each_row(
    ("value", "shown"),
    [
        ("github.com/o/r", "'github.com/o/r'"),
        ("https://x:y@github.com/o", "'https://***@github.com/o'"),
        ("git@github.com:o/r", "'git@github.com:o/r'"),
        ("feature@2", "'feature@2'"),
        ("", "''"),
        ("a\nb\x1b\ud800", r"'a\nb\x1b\ud800'"),
        ("x" * 100, f"'{'x' * 100}'"),
        ("x" * 101, f"'{'x' * 100}…'"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (10**30, str(10**30)),
        (-(10**4000), "a number of more than 30 digits"),
        ({"a": 1}, "an object"),
        ([1], "a list"),
    ],
)
def test_a_value_is_shown_on_one_line_and_within_bounds(value: object, shown: str) -> None:
    assert quoted(value) == shown
    quoted(value).encode()


@pytest.mark.parametrize(
    "value",
    [
        "https://user:hunter2@github.com/o/r",
        "https://hunter2@github.com/o/r",
        "https://user:p@hunter2/x@github.com/o",
        "user:hunter2@github.com/o/r",
        "user:hun/hunter2@github.com",
        "ghp_hunter2hunter2",
        "my ghs_hunter2.hunter2-x token",
        "github_pat_11AAA_hunter2",
        "eyJhbGciOi.hunter2.hunter2",
        "https://github.com/o/r?token=gho_hunter2hunter2",
        "x" * 96 + "ghp_hunter2hunter2",
    ],
)
def test_no_password_and_no_token_is_shown(value: str) -> None:
    assert "hunter2" not in quoted(value)
    assert "***" in quoted(value) or "…" in quoted(value)
