"""What a store has to do, as tests: subclass a suite, and give it your store.

    @pytest.mark.asyncio
    class TestMyStore(CheckpointStoreContract):
        @pytest.fixture
        def store(self) -> MyStore:
            return MyStore()

Each test gets a fresh `store`, with nothing in it. pytest is needed to run the suites,
and not to import them. For failures that tell more, put
``pytest.register_assert_rewrite("adaptive_backfill.testing.contracts")`` in a
`conftest.py`.
"""

from __future__ import annotations

from adaptive_backfill.testing.contracts.checkpoints import (
    CheckpointStoreContract,
    PlainStore,
)
from adaptive_backfill.testing.contracts.control import ControlContract, ControlStore
from adaptive_backfill.testing.contracts.leases import LeaseStoreContract

__all__ = [
    "CheckpointStoreContract",
    "ControlContract",
    "ControlStore",
    "LeaseStoreContract",
    "PlainStore",
]
