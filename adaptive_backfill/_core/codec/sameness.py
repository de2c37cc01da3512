"""Whether a value came back as it was, and where it did not.

Rule: the same means the same type all the way down, not only equal. `1`, `1.0` and
`True` are equal, and so are `Decimal("1.0")` and `Decimal("1.00")`; none is the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import NamedTuple
from uuid import UUID

from adaptive_backfill._core.codec.words import short

__all__ = ["Difference", "culprit", "difference"]

_BY_EQUALITY = frozenset({NoneType, bool, int, str, bytes, date, timedelta, UUID})


class Difference(NamedTuple):
    """Something that would come back as something else.

    Attributes:
        place: Where in the value it sits, such as ``.cursor[1]``; `""` is the whole.
        was: What is there.
        came: What would come back.
    """

    place: str
    was: object
    came: object

    def within(self, step: str) -> Difference:
        """Return it as seen from one step further out."""
        return self._replace(place=step + self.place)


def difference(was: object, came: object) -> Difference | None:
    """Return the first difference between *was* and *came*, or `None`."""
    kind = type(was)
    if kind is not type(came):
        return None if _same_uuid(was, came) else Difference("", was, came)
    if kind in _BY_EQUALITY:
        return None if was == came else Difference("", was, came)
    if isinstance(was, list | tuple) and isinstance(came, list | tuple):
        return _in_order(was, came)
    if isinstance(was, dict) and isinstance(came, dict):
        return _in_pairs(was, came)
    if isinstance(was, AbstractSet) and isinstance(came, AbstractSet):
        return _in_sets(was, came)
    if names := _fields(was):
        return _in_fields(was, came, names)
    return None if _ALIKE.get(kind, _equal)(was, came) else Difference("", was, came)


def culprit(value: object, fails: Callable[[object], bool]) -> tuple[str, object]:
    """Return the first innermost part of *value* that *fails*, and where it sits."""
    return _innermost(value, fails) or ("", value)


def _in_order(
    was: list[object] | tuple[object, ...], came: list[object] | tuple[object, ...]
) -> Difference | None:
    if len(was) != len(came):
        return Difference("", was, came)
    for index, (one, other) in enumerate(zip(was, came, strict=True)):
        if found := difference(one, other):
            return found.within(f"[{index}]")
    return None


def _in_pairs(
    was: dict[object, object], came: dict[object, object]
) -> Difference | None:
    if len(was) != len(came):
        return Difference("", was, came)
    pairs = zip(was.items(), came.items(), strict=True)
    for (one_key, one), (other_key, other) in pairs:
        if found := difference(one_key, other_key):
            return found.within(f" key {short(one_key)}")
        if found := difference(one, other):
            return found.within(f"[{short(one_key)}]")
    return None


def _in_sets(was: AbstractSet[object], came: AbstractSet[object]) -> Difference | None:
    if len(was) != len(came):
        return Difference("", was, came)
    partners = {member: member for member in came}
    for member in was:
        if member not in partners:
            return Difference("", was, came)
        if found := difference(member, partners[member]):
            return found.within(f" member {short(member)}")
    return None


def _in_fields(was: object, came: object, names: tuple[str, ...]) -> Difference | None:
    for name in names:
        found = difference(getattr(was, name, None), getattr(came, name, None))
        if found:
            return found.within(f".{name}")
    return None


def _innermost(
    value: object, fails: Callable[[object], bool]
) -> tuple[str, object] | None:
    for step, part in _parts(value):
        if found := _innermost(part, fails):
            place, what = found
            return step + place, what
    return ("", value) if fails(value) else None


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield f" key {short(key)}", key
            yield f"[{short(key)}]", part
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, AbstractSet):
        yield from ((f" member {short(part)}", part) for part in value)
    else:
        yield from ((f".{name}", getattr(value, name, None)) for name in _fields(value))


def _fields(value: object) -> tuple[str, ...]:
    kind = type(value)
    if (names := getattr(kind, "__dataclass_fields__", None)) is not None:
        return (*names, *_beside(value, names))
    if (names := getattr(kind, "__struct_fields__", None)) is not None:
        return tuple(names)
    return tuple(field.name for field in getattr(kind, "__attrs_attrs__", ()))


def _beside(value: object, names: Collection[str]) -> Iterator[str]:
    """Yield the attributes that *value* was given beside its fields.

    What its class knows of, such as a `cached_property`, is worked out again.
    """
    for name in getattr(value, "__dict__", ()):
        if name not in names and not hasattr(type(value), name):
            yield name


def _same_uuid(was: object, came: object) -> bool:
    # asyncpg hands out UUIDs of a faster class of its own; that one is not told from
    # the standard library's, or no row's key could be a state.
    return isinstance(was, UUID) and type(came) is UUID and was == came


def _same_float(was: object, came: object) -> bool:
    return (
        isinstance(was, float) and isinstance(came, float) and was.hex() == came.hex()
    )


def _same_decimal(was: object, came: object) -> bool:
    return str(was) == str(came)


def _same_moment(was: object, came: object) -> bool:
    if not (
        isinstance(was, datetime | time)
        and isinstance(came, datetime | time)
        and was.fold == came.fold
        and type(was.tzinfo) is type(came.tzinfo)
        and was.tzinfo == came.tzinfo
    ):
        return False
    # Without the zone: two moments in a repeated hour are never equal across zones.
    return was.replace(tzinfo=None) == came.replace(tzinfo=None)


def _equal(was: object, came: object) -> bool:
    return bool(was == came)


_ALIKE: dict[type, Callable[[object, object], bool]] = {
    float: _same_float,
    Decimal: _same_decimal,
    datetime: _same_moment,
    time: _same_moment,
}
