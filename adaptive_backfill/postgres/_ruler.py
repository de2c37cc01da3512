"""Where a key lies between the first and the last one, by how rows are spread.

The planner's histogram cuts a column so that about as many rows lie between one bound
and the next. So the place among its bounds is the share of the rows, also where keys
have gaps; without one, the place among the values has to do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

__all__ = ["Ruler", "place_of"]

_EPOCH = datetime(2000, 1, 1)
_EPOCH_UTC = datetime(2000, 1, 1, tzinfo=UTC)


def place_of(value: object) -> float | None:
    """Return *value* as a number, in PostgreSQL's order; `None` where there is none.

    Text has an order by collation, which is the server's alone.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, datetime):
        epoch = _EPOCH if value.tzinfo is None else _EPOCH_UTC
        return (value - epoch) / timedelta(seconds=1)
    if isinstance(value, date):
        return float(value.toordinal())
    return float(value.int) if isinstance(value, UUID) else None


class Ruler:
    """Measures how much of the way from one key to another is done.

    Args:
        begin: The key where the walk begins, in either direction.
        end: The key where it ends.
        bounds: Values between which there are about as many rows; may be none.
    """

    def __init__(self, begin: float, end: float, bounds: Iterable[float] = ()) -> None:
        inside = sorted(set(bounds))
        self._marks = inside if len(inside) > 1 else sorted({begin, end})
        self._begin = self._at(begin)
        self._whole = self._at(end) - self._begin

    def share(self, key: float) -> float:
        """Return the share of the way that is done at *key*, from 0 to 1."""
        if self._whole == 0:
            return 1.0
        return min(1.0, max(0.0, (self._at(key) - self._begin) / self._whole))

    def _at(self, key: float) -> float:
        """Return the place of *key* in parts; outside of them as they are in all."""
        marks = self._marks
        parts = len(marks) - 1
        if parts < 1:
            return 0.0
        width = (marks[-1] - marks[0]) / parts
        if key <= marks[0]:
            return (key - marks[0]) / width
        if key >= marks[-1]:
            return parts + (key - marks[-1]) / width
        part = bisect_right(marks, key) - 1
        return part + (key - marks[part]) / (marks[part + 1] - marks[part])
