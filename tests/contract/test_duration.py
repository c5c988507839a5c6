"""Go durations, the hosts' only spelling of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.duration import format_duration, parse_duration
from tests.support.rows import each_row


@each_row(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1ns", 1e-9),
        (".5s", 0.5),
        ("5.s", 5),
        ("-2s", -2),
        ("+2s", 2),
        ("0", 0),
        ("-0", 0),
        ("1h1m1s1ms", 3661.001),
    ],
)
def test_go_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@each_row(
    "text",
    ["", " ", "10", "1.5", "s", "10 s", "1d", "ten seconds", "1s ", "-", "1S", "--1s", "1s-1s", "٣s", "9" * 99 + "9s"],
)
def test_what_go_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Go duration"):
        parse_duration(text)


@given(st.integers(min_value=1, max_value=10**9))
def test_a_written_duration_reads_as_the_same_milliseconds(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(("seconds", "text"), [(2, "2s"), (1.5, "1.5s"), (60.0, "60s"), (100, "100s"), (0.25, "0.25s")])
def test_durations_are_written_plainly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
