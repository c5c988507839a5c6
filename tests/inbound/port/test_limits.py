"""Port's limits, in both spellings of the reset."""

from hypothesis import given
from hypothesis import strategies as st

from gha_step.github.messages import Answer
from gha_step.inbound.port.limits import DEFAULT, LONGEST, wait_of
from tests.support.rows import each_row

DATE = "Tue, 14 Nov 2023 22:13:20 GMT"  # 1,700,000,000


@each_row(
    ("status", "headers", "expected"),
    [
        (429, {"x-ratelimit-reset": "60"}, 60.0),
        (429, {"x-ratelimit-reset": "1700000060", "date": DATE}, 60.0),
        (429, {"x-ratelimit-reset": "1700000060"}, DEFAULT),  # whose clock it is cannot be known
        (429, {"x-ratelimit-reset": "1700009000", "date": DATE}, LONGEST),
        (429, {"x-ratelimit-reset": "1600000000", "date": DATE}, 1.0),
        (429, {"x-ratelimit-reset": "999999"}, LONGEST),
        (429, {"x-ratelimit-reset": "0"}, 1.0),
        (429, {"x-ratelimit-reset": "soon", "retry-after": "7"}, 7.0),
        (429, {"x-ratelimit-reset": "-5"}, DEFAULT),
        (429, {"retry-after": "inf"}, DEFAULT),
        (429, {}, DEFAULT),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "5"}, 5.0),
        (200, {"x-ratelimit-remaining": "1", "x-ratelimit-reset": "5"}, None),
        (200, {"x-ratelimit-remaining": "0"}, None),
        (503, {"retry-after": "5"}, None),
        (200, {}, None),
    ],
)
def test_how_long_to_wait(status: int, headers: dict[str, str], expected: float | None) -> None:
    assert wait_of(Answer(status, headers, b"")) == expected


@given(st.sampled_from([200, 429]), st.text(max_size=25), st.text(max_size=25), st.text(max_size=25))
def test_no_wait_is_zero_or_longer_than_ten_minutes(status: int, reset: str, after: str, left: str) -> None:
    headers = {"x-ratelimit-reset": reset, "retry-after": after, "x-ratelimit-remaining": left, "date": DATE}
    wait = wait_of(Answer(status, headers, b""))
    assert wait is None or 1.0 <= wait <= LONGEST
    assert status != 429 or wait is not None
