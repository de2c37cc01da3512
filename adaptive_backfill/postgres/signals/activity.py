"""The sessions of others, and what of them a role may see."""

from __future__ import annotations

from adaptive_backfill.postgres._finding import Gap
from adaptive_backfill.postgres._signal import Row

__all__ = ["GRANT", "OTHERS", "SIGHT", "unseen_sessions"]

GRANT = "grant pg_monitor to {role}, or say allow_blind=True"
"""What to do about what a role may not see."""

# Clients only: a walsender is "active" for as long as its replica lives. Ages are
# taken there, by a clock that also runs within a transaction. What a role may not see
# has neither state nor backend_type, but usesysid is always shown.
OTHERS = """
others AS (
    SELECT pid, application_name, state, backend_type, wait_event_type,
           extract(epoch FROM clock_timestamp() - query_start)::float8 AS query_s,
           extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_s,
           extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_s
    FROM pg_stat_activity
    WHERE datname = current_database()
      AND usesysid IS NOT NULL
      AND pid <> pg_backend_pid()
      AND coalesce(application_name, '') NOT LIKE 'adaptive\\_backfill%'
      AND coalesce(backend_type, 'client backend')
          IN ('client backend', 'parallel worker')
)
"""
"""A common table of the clients of this database that are not ours."""

SIGHT = """
    current_user::text AS role,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_others,
    (SELECT count(*) FROM others WHERE backend_type IS NULL) AS hidden,
    (SELECT count(*) FROM others WHERE state = 'disabled') AS untracked
"""
"""Columns for `unseen_sessions`, beside `OTHERS`."""


def unseen_sessions(row: Row) -> Gap | None:
    """Return what a look at `OTHERS` could not see."""
    if not row["sees_others"]:
        # Also while none is hidden: the next one to come would be.
        return Gap(
            f"cannot see the queries of other roles ({row['hidden']} hidden now)",
            GRANT.format(role=row["role"]),
        )
    if row["untracked"]:
        return Gap(
            f"cannot see what {row['untracked']} sessions do",
            "set track_activities = on for them",
        )
    return None
