"""Each mistake gets one message with its subject, its cause and its mend; the documented text is the real one."""

from pathlib import Path

import pytest

from .cases import CASES, Case, tell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "messages.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mistake)
def test_a_mistake_is_told_as_documented(case: Case) -> None:
    message = tell(case)
    for word in case.words:
        assert word in message
    assert message.replace("|", "\\|") in PAGE.read_text(), "make fix writes docs/messages.md anew"
