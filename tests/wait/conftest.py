"""What the tests of the waiting step share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .site import Site, site


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    """A GitHub with Kargo's example repository, and the step."""
    with site(tmp_path) as made:
        yield made
