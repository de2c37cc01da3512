from __future__ import annotations

import copy

import pytest

from adaptive_backfill import Snapshot
from adaptive_backfill.testing.contracts import CheckpointStoreContract


class OwnStore:
    """The least that a store can be: three plain methods."""

    def __init__(self) -> None:
        self._kept: dict[str, Snapshot] = {}

    def load(self, name: str) -> Snapshot | None:
        return copy.deepcopy(self._kept.get(name))

    def save(self, name: str, snapshot: Snapshot) -> None:
        self._kept[name] = copy.deepcopy(snapshot)

    def delete(self, name: str) -> None:
        self._kept.pop(name, None)


@pytest.mark.asyncio
class TestOwnStore(CheckpointStoreContract):
    @pytest.fixture
    def store(self) -> OwnStore:
        return OwnStore()
