"""What the tests of the waiting step share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .follower import Follower, following


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Follower]:
    """A GitHub with Kargo's example repository, and the step."""
    with following(tmp_path) as made:
        yield made
