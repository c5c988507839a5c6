"""An empty store of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gha_step.ledger.store import Store
from tests.ledger.store_contract import STORES


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each store that there is."""
    with STORES[request.param](tmp_path) as opened:
        yield opened
