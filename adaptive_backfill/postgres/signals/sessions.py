"""What other sessions are doing."""

from __future__ import annotations

from collections.abc import Sequence

from adaptive_backfill._core.answers import Measure
from adaptive_backfill.postgres._signal import Finding, Row, Signal

__all__ = ["longest_query"]

# Client backends only: a walsender is "active" for as long as its replica lives. The
# age is taken there, by a clock that also runs within a transaction. What a role may
# not see has neither state nor backend_type, but usesysid is always shown.
_LONGEST_QUERY = """
WITH others AS (
    SELECT pid, application_name, state, backend_type,
           extract(epoch FROM clock_timestamp() - query_start)::float8 AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database()
      AND usesysid IS NOT NULL
      AND pid <> pg_backend_pid()
      AND coalesce(application_name, '') NOT LIKE 'adaptive\\_backfill%'
      AND coalesce(backend_type, 'client backend') = 'client backend'
)
SELECT current_user::text AS role,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_others,
       (SELECT count(*) FROM others WHERE backend_type IS NULL) AS hidden,
       (SELECT count(*) FROM others WHERE state = 'disabled') AS untracked,
       longest.pid, longest.application_name, longest.seconds
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT pid, application_name, seconds
    FROM others
    WHERE state = 'active' AND seconds IS NOT NULL
    ORDER BY seconds DESC
    LIMIT 1
) AS longest ON true
"""


def longest_query(limit: float) -> Signal:
    """The age of the query that has been running longest, against *limit* seconds."""

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        return Finding(_too_long(row, limit), _unseen(row))

    return Signal(_LONGEST_QUERY, judge)


def _too_long(row: Row, limit: float) -> Measure | None:
    seconds = row["seconds"]
    if seconds is None or seconds <= limit:
        return None
    app = row["application_name"]
    note = f"pid {row['pid']}, app {app}" if app else f"pid {row['pid']}"
    return Measure("longest_query", seconds, limit, unit=" s", note=note)


def _unseen(row: Row) -> str | None:
    if not row["sees_others"]:
        # Also while none is hidden: the next one to come would be.
        return (
            f"cannot see the queries of other roles ({row['hidden']} hidden now); "
            f"grant pg_monitor to {row['role']}, or say allow_blind=True"
        )
    if row["untracked"]:
        return (
            f"cannot see what {row['untracked']} sessions do; "
            "set track_activities = on for them"
        )
    return None
