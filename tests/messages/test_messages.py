"""Each mistake gets one message with its subject, its cause and its fix; the documented text is the real one."""

from pathlib import Path

import pytest

from .cases import TABLES, Case, tell
from .port_cases import rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "messages.md"


@pytest.mark.parametrize(
    ("table", "case"),
    [pytest.param(table, case, id=f"{table}: {case.mistake}") for table, cases in TABLES.items() for case in cases],
)
def test_a_mistake_is_told_as_documented(table: str, case: Case) -> None:
    message = tell(case)
    for word in case.words:
        assert word in message
    shown = PAGE.read_text().partition(f"<!-- generated: {table} -->")[2].partition("<!-- end -->")[0]
    told = message.replace("|", "\\|")
    row = f"| {case.mistake} | {told} |"
    assert row in shown, "make fix writes docs/messages.md anew"


@pytest.mark.parametrize(("mistake", "message"), rows(), ids=[mistake for mistake, _ in rows()])
def test_a_mistake_in_a_port_action_is_told_as_documented(mistake: str, message: str) -> None:
    assert message.startswith("Not dispatched: ")
    shown = PAGE.read_text().partition("<!-- generated: messages-port -->")[2].partition("<!-- end -->")[0]
    assert f"| {mistake} | {message} |" in shown, "make fix writes docs/messages.md anew"
