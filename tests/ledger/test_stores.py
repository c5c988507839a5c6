"""Each store keeps the contract."""

from tests.ledger.store_contract import StoreContract


class TestStores(StoreContract):
    """See `StoreContract`."""
