from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive_backfill import SqliteStore
from adaptive_backfill.testing.contracts import (
    CheckpointStoreContract,
    ControlContract,
    LeaseStoreContract,
)


class Sqlite:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteStore]:
        store = SqliteStore(tmp_path / "backfills.db")
        yield store
        store.close()


@pytest.mark.asyncio
class TestSqliteStore(Sqlite, CheckpointStoreContract):
    pass


@pytest.mark.asyncio
class TestLeasesInSqlite(Sqlite, LeaseStoreContract):
    pass


@pytest.mark.asyncio
class TestControlInSqlite(Sqlite, ControlContract):
    pass
