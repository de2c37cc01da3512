"""The options of backfills on PostgreSQL, beside those of every backfill."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adaptive_backfill._core.options import OPTIONS, Option, Refused, RefusedUnseen
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.rules import is_count, is_name, is_number
from adaptive_backfill._core.snapshot import Checkpoint
from adaptive_backfill.postgres._fence import LIMIT
from adaptive_backfill.postgres._source import source_problems
from adaptive_backfill.postgres._store_pool import Pool, pool_problems
from adaptive_backfill.postgres.identifiers import table_named
from adaptive_backfill.postgres.keyset import has_batch
from adaptive_backfill.postgres.store import PostgresStore

__all__ = ["OWN_STORE", "POSTGRES_OPTIONS", "TABLE_OPTIONS"]


def _no_pool() -> Pool:
    msg = "the store on the run's own pool is for runs only"
    raise LookupError(msg)


OWN_STORE = PostgresStore(_no_pool)
"""Stands for a `PostgresStore` on the run's own pool, where none is declared."""


def _pool(value: object) -> object:
    problems = [] if value is None else pool_problems(value)
    if problems:
        raise Refused(problems[0].removeprefix("pool "))
    return value


def _text_or_none(value: object) -> object:
    if value is None or is_name(value):
        return value
    msg = "a non-empty str, or None"
    raise Refused(msg)


def _above_zero(value: object) -> float:
    if isinstance(value, int | float) and is_number(value, above_zero=True):
        return float(value)
    msg = "seconds above 0"
    raise Refused(msg)


def _count(least: int) -> Callable[[object], object]:
    def parse(value: object) -> object:
        if is_count(value, least=least):
            return value
        msg = f"an int of at least {least}"
        raise Refused(msg)

    return parse


def _flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    msg = "True or False"
    raise Refused(msg)


def _word(*allowed: str) -> Callable[[object], object]:
    def parse(value: object) -> object:
        if value in allowed:
            return value
        raise Refused(" or ".join(map(repr, allowed)))

    return parse


def _table(value: object) -> object:
    if not isinstance(value, str):
        msg = "the name of a table, such as users or public.users"
        raise Refused(msg)
    try:
        table_named(value)
    except ValueError as error:
        msg = "the name of a table, such as users or public.users"
        raise Refused(msg) from error
    return value


def _columns(value: object) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if isinstance(names, list | tuple) and names and all(map(is_name, names)):
        return tuple(names)
    msg = "the name of a column, or a sequence of names"
    raise Refused(msg)


def _statement(value: object) -> object:
    if isinstance(value, str) and has_batch(value):
        return value
    msg = "an UPDATE, DELETE or INSERT ... SELECT with {batch} in its WHERE"
    raise Refused(msg)


def _column_list(value: object) -> tuple[str, ...]:
    return () if value is None else _columns(value)


def _standbys(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(map(is_name, value)):
        msg = "a sequence of DSNs"
        raise Refused(msg)
    wrong = [str(n) for n, dsn in enumerate(value, 1) if source_problems(dsn)]
    if wrong:
        msg = (
            "DSNs such as postgresql://user@host:5432/database, not host=... "
            f"dbname=...; see to number {', '.join(wrong)}"
        )
        raise RefusedUnseen(msg)
    return tuple(value)


def _slots(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list | tuple) and all(map(is_name, value)):
        return tuple(value)
    msg = "a sequence of names of replication slots"
    raise Refused(msg)


POSTGRES_OPTIONS: Mapping[str, Option] = {
    **OPTIONS,
    "checkpoint": Option(OPTIONS["checkpoint"].parse, Checkpoint(OWN_STORE)),
    "pool": Option(_pool),
    "dsn": Option(_text_or_none),
    "lock_timeout": Option(_above_zero, 0.5),
}

TABLE_OPTIONS: Mapping[str, Option] = {
    **POSTGRES_OPTIONS,
    "batch_size": Option(_count(1), 1000, batch_only=True),
    "table": Option(_table),
    "key": Option(_columns),
    "where": Option(_text_or_none),
    "statement": Option(_statement),
    "columns": Option(_column_list, ()),
    "order": Option(_word("asc", "desc"), "asc"),
    "follow": Option(_flag, default=False),
    "count": Option(_word("estimate", "exact"), "estimate"),
    "standbys": Option(_standbys, ()),
    "slots": Option(_slots, ()),
    "max_lag_bytes": Option(_count(0), LIMIT),
    "retry": Option(OPTIONS["retry"].parse, Retry(attempts=10, on=())),
    "workers": Option(_count(1), 1),
    "max_quarantined": Option(_count(0), 100),
}
