from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.testing.contracts import (
    CheckpointStoreContract,
    ControlContract,
    LeaseStoreContract,
)


class Postgres:
    @pytest.fixture
    def store(self, pool: asyncpg.Pool[Any]) -> PostgresStore:
        return PostgresStore(pool)


@pytest.mark.asyncio
class TestPostgresStore(Postgres, CheckpointStoreContract):
    pass


@pytest.mark.asyncio
class TestLeasesInPostgres(Postgres, LeaseStoreContract):
    pass


@pytest.mark.asyncio
class TestControlInPostgres(Postgres, ControlContract):
    pass
