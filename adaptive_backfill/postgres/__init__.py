"""PostgreSQL: health checks that ask the server. The only floor that knows asyncpg."""

from __future__ import annotations

from adaptive_backfill.postgres import checks
from adaptive_backfill.postgres.checks import (
    hot_io_tables,
    long_waiting_queries,
    pg_health_checks,
    temp_file_usage,
)
from adaptive_backfill.postgres.doctor import Diagnosis, Examined, doctor

__all__ = [
    "Diagnosis",
    "Examined",
    "checks",
    "doctor",
    "hot_io_tables",
    "long_waiting_queries",
    "pg_health_checks",
    "temp_file_usage",
]
