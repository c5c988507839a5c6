"""An empty store of each kind."""

from collections.abc import Iterator

import pytest

from gha_step.ledger.store import Store
from tests.ledger.store_contract import STORES


@pytest.fixture(params=["sqlite", pytest.param("kubernetes", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Each store that there is."""
    with STORES[request.param](request) as opened:
        yield opened
