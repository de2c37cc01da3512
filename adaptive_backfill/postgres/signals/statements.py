"""How long the statements of others take, compared with what is usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import NUMBER, Finding, Gap, measured
from adaptive_backfill.postgres._signal import Judge, Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.capabilities import Absent, Capabilities
from adaptive_backfill.postgres.signals.activity import GRANT

__all__ = ["statement_latency"]

# Ours are told by their text, in which names and comments stay: a batch that keeps its
# checkpoint names our table.
_STATEMENTS = """
SELECT s.queryid, sum(s.calls)::int8 AS calls,
       sum(s.total_exec_time)::float8 / 1000 AS seconds,
       extract(epoch FROM clock_timestamp())::float8 AS at,
       current_user::text AS role
FROM {view} AS s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND s.query NOT LIKE '%adaptive\\_backfill%'
GROUP BY s.queryid
"""

_FEWEST_CALLS = 20

# The text of all statements is read for each look.
_SECONDS_BETWEEN_LOOKS = 30.0

# Calls that are few may take their time to become enough; longer ago is not now.
_LONGEST_WINDOW = 300.0


def statement_latency(
    pool: Source = None,
    *,
    limit: float = 1.5,
    action: Action = "slow",
    name: str | None = None,
    allow_blind: bool = False,
) -> HealthCheck:
    """Unhealthy while the statements of others take longer than they used to.

    The index is 1 where they take what pg_stat_statements says that they took before
    the run began. Each statement weighs what it weighed then, so that other statements
    than usual do not look like slow ones. Those with fewer than 20 calls, before or
    now, and our own do not count. Judged every 30 seconds.

    Needs the extension pg_stat_statements: without it the check is left out of the
    run, with a warning.

    Args:
        limit: The index, 0 or more.
    """
    return health_check(
        "statement_latency",
        Signal(
            _statements,
            _index(limit),
            every=_SECONDS_BETWEEN_LOOKS,
            paces="as it allows",
        ),
        pool,
        Terms(action, name, allow_blind),
        *NUMBER.problems(limit),
    )


def _statements(server: Capabilities) -> str:
    if server.statements is None:
        remedy = "CREATE EXTENSION pg_stat_statements in this database"
        raise Absent(Gap("how long statements take is not counted", remedy))
    return _STATEMENTS.format(view=server.statements)


class _Calls(NamedTuple):
    calls: int
    seconds: float

    @property
    def mean(self) -> float:
        return self.seconds / self.calls


_Counts = Mapping[int, _Calls]


class _Memory(NamedTuple):
    """What was counted before the run, and where the window began."""

    usual: _Counts
    base: _Counts
    at: float


def _index(limit: object) -> Judge:
    def judge(rows: Sequence[Row], memory: object) -> Finding:
        now = {
            row["queryid"]: _Calls(row["calls"], row["seconds"])
            for row in rows
            if row["queryid"] is not None
        }
        at = rows[0]["at"] if rows else 0.0
        last = memory if isinstance(memory, _Memory) else _Memory(now, now, at)
        found = _compared(last.usual, _between(last.base, now), NUMBER.number(limit))
        if found.measure is not None or at - last.at >= _LONGEST_WINDOW:
            last = _Memory(last.usual, now, at)
        return found._replace(unseen=_unseen(rows), memory=last)

    return judge


def _between(base: _Counts, now: _Counts) -> _Counts:
    """Return what was called since; nothing of statements that were reset."""
    since = {
        query: _Calls(
            after.calls - base[query].calls, after.seconds - base[query].seconds
        )
        for query, after in now.items()
        if query in base
    }
    return {query: calls for query, calls in since.items() if min(calls) >= 0}


def _compared(usual: _Counts, now: _Counts, limit: float) -> Finding:
    both = [
        (usual[query], now[query])
        for query in usual.keys() & now.keys()
        if min(usual[query].calls, now[query].calls) >= _FEWEST_CALLS
    ]
    expected = sum(before.seconds for before, _ in both)
    if not expected:
        return Finding()
    taken = sum(before.calls * after.mean for before, after in both)
    note = f"{len(both)} statements"
    return measured("statement_latency", taken / expected, limit, note=note)


def _unseen(rows: Sequence[Row]) -> Gap | None:
    if all(row["queryid"] is not None for row in rows):
        return None
    remedy = GRANT.format(role=rows[0]["role"])
    return Gap("cannot see the statements of other roles", remedy)
