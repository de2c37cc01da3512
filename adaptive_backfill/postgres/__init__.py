"""PostgreSQL: tables by keyset, exactly once, and health checks that ask the server.

The only floor that knows asyncpg.
"""

from __future__ import annotations

from adaptive_backfill.postgres import checks
from adaptive_backfill.postgres._walk import Cursor
from adaptive_backfill.postgres.backfill import PostgresBackfill
from adaptive_backfill.postgres.checks import (
    hot_io_tables,
    long_waiting_queries,
    pg_health_checks,
    temp_file_usage,
)
from adaptive_backfill.postgres.doctor import Diagnosis, Examined, doctor
from adaptive_backfill.postgres.failures import Failure
from adaptive_backfill.postgres.finishing import ensure_finished
from adaptive_backfill.postgres.plans import DryRun, Plan, Verification
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill

__all__ = [
    "Cursor",
    "Diagnosis",
    "DryRun",
    "Examined",
    "Failure",
    "Plan",
    "PostgresBackfill",
    "PostgresStore",
    "TableBackfill",
    "Verification",
    "checks",
    "doctor",
    "ensure_finished",
    "hot_io_tables",
    "long_waiting_queries",
    "pg_health_checks",
    "temp_file_usage",
]
