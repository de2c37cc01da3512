"""Holds a run back until others have what its batches wrote.

The options `standbys` and `slots`: after each batch it is noted how far the primary's
WAL goes, and the next one waits until each of them is within `max_lag_bytes` of that.
So it is the lag that the run makes, and no clock is asked. Who was found to be far
enough once is not asked again until more is written, because none of them goes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf
from urllib.parse import urlsplit

from typing_extensions import override

from adaptive_backfill._core.answers import OK, Pause, Verdict
from adaptive_backfill._core.health import HealthCheck, HealthContext
from adaptive_backfill._ports import Gate
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._connecting import Connection, open_connection
from adaptive_backfill.postgres._limits import seconds_left
from adaptive_backfill.postgres._source import database_of
from adaptive_backfill.postgres._wal_meter import POSITION, WalMeter

__all__ = ["LIMIT", "check_slots", "fence_of"]

LIMIT = 64 * 1024 * 1024
"""Bytes of WAL that each may be behind, by default."""

_HEADER = 40
"""Bytes at most by which the WAL's end is past the last record: a page's header."""

_REPLAYED = """
SELECT CASE WHEN pg_is_in_recovery()
       THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::int8 END
"""

# A logical slot is where its consumer has confirmed to be, a physical one where its
# standby has written to disk.
_CONFIRMED = """
SELECT CASE WHEN restart_lsn IS NOT NULL
       THEN (coalesce(confirmed_flush_lsn, restart_lsn) - '0/0'::pg_lsn)::int8 END
FROM pg_replication_slots WHERE slot_name = $1
"""

_SLOTS = "SELECT slot_name::text FROM pg_replication_slots ORDER BY slot_name"


def fence_of(
    meter: WalMeter, limit: int, *, standbys: Sequence[str], slots: Sequence[str]
) -> Gate | None:
    """Return what holds a run back; `None` where nobody is to be waited for.

    Args:
        meter: Knows how far the WAL goes with the run's last batch.
        limit: Bytes that each may be behind.
        standbys: Their DSNs.
        slots: The names of replication slots of the primary.
    """
    places: list[_Place] = []
    for number, dsn in enumerate(standbys, 1):
        title = f"standby {_place(dsn) or number}"
        places.append(_Standby(title, meter, limit, dsn))
    places += [_Slot(f"slot {slot}", meter, limit, slot) for slot in slots]
    if not places:
        return None
    # One that cannot be asked may be far behind: the run waits, and says so.
    checks = [
        HealthCheck(place, name=place.title, on_error="pause") for place in places
    ]
    return Gate(checks, lambda: all(place.is_known_to_follow() for place in places))


async def check_slots(
    connection: Connection, slots: Sequence[str], subject: str
) -> None:
    """Refuse *slots* that are not there: the run would wait for them for ever.

    Raises:
        ConfigurationError: One of them is not; the message names those that are.
    """
    if not slots:
        return
    there = [name for (name,) in await connection.fetch(_SLOTS)]
    missing = [slot for slot in slots if slot not in there]
    if missing:
        have = f"there are: {', '.join(there)}" if there else "it has none"
        problems = [f"the server has no replication slot {slot!r}" for slot in missing]
        raise ConfigurationError(
            [*problems[:-1], f"{problems[-1]}; {have}"], subject=subject
        )


class _Place(ABC):
    """One that is to follow.

    Attributes:
        title: Names it to people.
    """

    def __init__(self, title: str, meter: WalMeter, limit: int) -> None:
        self.title = title
        self._meter = meter
        self._limit = limit
        self._reached: int | None = None
        self._first: int | None = None

    def is_known_to_follow(self) -> bool:
        """Whether it was found to be far enough for all that the run wrote."""
        written = self._meter.reached
        return written is not None and self._behind(written) <= self._limit

    async def __call__(self, context: HealthContext) -> Verdict:
        written = await self._written(context)
        if self._behind(written) > self._limit:
            self._reached = await self._look(context)
        if self._reached is None:
            return Pause(f"{self.title} {self._unknown()}")
        if self._behind(written) > self._limit:
            # After a failover the WAL may end before what was noted.
            written = min(written, await _end_of_wal(context))
        behind = self._behind(written)
        if behind > self._limit:
            return Pause(f"{self.title} {behind:.0f} bytes behind > {self._limit}")
        return OK

    async def _written(self, context: HealthContext) -> int:
        """Return how far the WAL went with the last batch.

        Before the first one as far as it went when that was asked first: it may be
        behind already, by what others wrote.
        """
        if self._meter.reached is not None:
            return self._meter.reached
        if self._first is None:
            self._first = await _end_of_wal(context)
        return self._first

    def _behind(self, written: int) -> float:
        if self._reached is None:
            return inf
        return max(0, written - _HEADER - self._reached)

    @abstractmethod
    async def _look(self, context: HealthContext) -> int | None:
        """Return the position that it has reached; `None` where there is none."""

    @abstractmethod
    def _unknown(self) -> str:
        """Return what is wrong where it has no position."""


class _Standby(_Place):
    def __init__(self, title: str, meter: WalMeter, limit: int, dsn: str) -> None:
        super().__init__(title, meter, limit)
        self._dsn = dsn

    @override
    async def _look(self, context: HealthContext) -> int | None:
        return await _asked(self._dsn, context, _REPLAYED)

    @override
    def _unknown(self) -> str:
        return "is no standby, or has replayed nothing yet"


class _Slot(_Place):
    def __init__(self, title: str, meter: WalMeter, limit: int, slot: str) -> None:
        super().__init__(title, meter, limit)
        self._slot = slot

    @override
    async def _look(self, context: HealthContext) -> int | None:
        return await _asked(context.pool, context, _CONFIRMED, self._slot)

    @override
    def _unknown(self) -> str:
        return "is gone, or reserves no WAL: whoever read from it may have lost some"


async def _end_of_wal(context: HealthContext) -> int:
    return await _asked(context.pool, context, POSITION) or 0


async def _asked(
    database: object, context: HealthContext, sql: str, *args: object
) -> int | None:
    source = await database_of(database, None)
    limit = seconds_left()
    opened = await open_connection(source, context.name, limit)
    try:
        found: int | None = await opened.connection.fetchval(sql, *args, timeout=limit)
    finally:
        await opened.give_back()
    return found


def _place(dsn: str) -> str:
    """Return host and port; never a password, nor anything that may hold one."""
    parts = urlsplit(dsn)
    if not parts.scheme or not parts.hostname:
        return ""
    return parts.netloc.rpartition("@")[2]
