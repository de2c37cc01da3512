from __future__ import annotations

import pytest

from adaptive_backfill import MemoryStore
from adaptive_backfill.testing.contracts import (
    CheckpointStoreContract,
    ControlContract,
    LeaseStoreContract,
)


class Memory:
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


@pytest.mark.asyncio
class TestMemoryStore(Memory, CheckpointStoreContract):
    pass


@pytest.mark.asyncio
class TestLeasesInMemory(Memory, LeaseStoreContract):
    pass


@pytest.mark.asyncio
class TestControlInMemory(Memory, ControlContract):
    pass
