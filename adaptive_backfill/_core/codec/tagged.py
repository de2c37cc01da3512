"""Values that describe themselves: JSON, with a tag on what JSON has no word for.

A tag is an object of one key that begins with `$`: ``{"$uuid": "..."}``. A dict of the
user's that has such a key, or one that is no str, is stored as its pairs under
`$dict`, so that no value can be taken for a tag.

Rule: a value is stored by its exact type. A subclass would come back as its base, so
it is refused here; but for UUIDs, of which asyncpg has a class of its own.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, ClassVar, Protocol, TypeAlias, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from adaptive_backfill._core.codec.names import NotFound, address

__all__ = ["Find", "Unknown", "packed", "unpacked"]

Find: TypeAlias = Callable[[str, str], object]
"""Finds a class by its module and its qualified name, or raises `NotFound`."""


class Unknown(ValueError):
    """A value does not describe itself, or a tag means nothing; half a sentence."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def packed(value: object) -> object:
    """Return *value* as plain JSON values and tags.

    Raises:
        Unknown: It, or something in it, does not describe itself.
    """
    pack = _PACK.get(type(value)) or _pack_by_kind(value)
    return pack(value)


def unpacked(plain: object, find: Find) -> object:
    """Return the value that *plain* was packed from.

    Raises:
        Unknown: There is a tag that nobody knows.
        NotFound: A class is not there any more.
        Exception: The text was changed by hand, or a class refuses its old values.
    """
    if isinstance(plain, list):
        return [unpacked(part, find) for part in plain]
    if not isinstance(plain, dict):
        return plain
    for key, part in plain.items():
        if key.startswith("$"):
            return _from_tag(key, part, find)
    return {key: unpacked(part, find) for key, part in plain.items()}


def _pack_by_kind(value: object) -> Callable[..., object]:
    kind = type(value)
    if isinstance(value, UUID):
        return _pack_uuid
    if isinstance(value, Enum):
        return _pack_enum
    if is_dataclass(kind):
        return _pack_dataclass
    msg = "its type does not describe itself"
    raise Unknown(msg)


def _itself(value: object) -> object:
    return value


def _pack_float(value: float) -> object:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _pack_list(value: list[object]) -> object:
    return [packed(part) for part in value]


def _pack_tuple(value: tuple[object, ...]) -> object:
    return {"$tuple": [packed(part) for part in value]}


def _pack_dict(value: dict[object, object]) -> object:
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: packed(part) for key, part in value.items()}
    return {"$dict": [[packed(key), packed(part)] for key, part in value.items()]}


def _pack_set(value: set[object]) -> object:
    return {"$set": [packed(part) for part in value]}


def _pack_frozenset(value: frozenset[object]) -> object:
    return {"$frozenset": [packed(part) for part in value]}


def _pack_uuid(value: UUID) -> object:
    return {"$uuid": str(value)}


def _pack_datetime(value: datetime) -> object:
    zone = _zone(value)
    if zone is None and not value.fold:
        return {"$datetime": value.isoformat()}
    shown = value if zone is None else value.replace(tzinfo=None)
    return {"$datetime": [shown.isoformat(), value.fold, zone]}


def _pack_time(value: time) -> object:
    zone = _zone(value)
    shown = value if zone is None else value.replace(tzinfo=None)
    return {"$time": [shown.isoformat(), value.fold, zone]}


def _zone(value: datetime | time) -> str | None:
    zone = value.tzinfo
    if zone is None or type(zone) is timezone:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    msg = f"its time zone, a {type(zone).__qualname__}, does not describe itself"
    raise Unknown(msg)


def _pack_date(value: date) -> object:
    return {"$date": value.isoformat()}


def _pack_timedelta(value: timedelta) -> object:
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


def _pack_decimal(value: Decimal) -> object:
    return {"$decimal": str(value)}


def _pack_bytes(value: bytes) -> object:
    return {"$bytes": b64encode(value).decode()}


def _pack_enum(value: Enum) -> object:
    return {"$enum": [*_address(type(value)), value.name]}


def _pack_dataclass(value: _Dataclass) -> object:
    parts = {field.name: packed(getattr(value, field.name)) for field in fields(value)}
    return {"$dataclass": [*_address(type(value)), parts]}


def _address(kind: type) -> tuple[str, str]:
    module, qualname = address(kind)
    if "<locals>" in qualname:
        msg = "its class is declared within a function, where nobody finds it again"
        raise Unknown(msg)
    return module, qualname


def _from_tag(tag: str, part: object, find: Find) -> object:
    if tag in _FROM_PARTS:
        members = cast("list[object]", part)
        return _FROM_PARTS[tag](unpacked(member, find) for member in members)
    if tag in _FROM_ATOM:
        return _FROM_ATOM[tag](part)
    if tag == "$enum":
        return _from_enum(cast("list[str]", part), find)
    if tag == "$dataclass":
        return _from_dataclass(cast("list[object]", part), find)
    msg = f"the tag {tag!r} is not known to this version of adaptive_backfill"
    raise Unknown(msg)


def _pairs(members: Iterable[object]) -> object:
    return dict(cast("Iterable[tuple[object, object]]", members))


def _from_datetime(part: str | list[object]) -> object:
    if isinstance(part, str):
        return datetime.fromisoformat(part)
    return _zoned(datetime.fromisoformat(cast("str", part[0])), part)


def _from_time(part: list[object]) -> object:
    return _zoned(time.fromisoformat(cast("str", part[0])), part)


def _zoned(moment: datetime | time, part: list[object]) -> object:
    _, fold, zone = part
    if isinstance(zone, str):
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.replace(fold=cast("int", fold))


def _from_enum(part: list[str], find: Find) -> object:
    module, qualname, name = part
    kind = find(module, qualname)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[name]
    msg = f"{module}.{qualname} is no Enum any more"
    raise NotFound(msg)


def _from_dataclass(part: list[object], find: Find) -> object:
    module, qualname, kept = cast("tuple[str, str, dict[str, object]]", part)
    kind = find(module, qualname)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        msg = f"{module}.{qualname} is no dataclass any more"
        raise NotFound(msg)
    # Not through `__init__`, whose parameters need not be the fields; what the class
    # works out beside its fields, it works out again.
    made: object = object.__new__(kind)
    for field in fields(kind):
        if field.name in kept:
            value = unpacked(kept[field.name], find)
        elif field.default is not MISSING:
            value = field.default
        elif field.default_factory is not MISSING:
            value = field.default_factory()
        else:
            msg = f"{module}.{qualname}.{field.name} is new, and has no default"
            raise Unknown(msg)
        object.__setattr__(made, field.name, value)
    if work_out := getattr(made, "__post_init__", None):
        work_out()
    return made


_PACK: dict[type, Callable[..., object]] = {
    NoneType: _itself, bool: _itself, int: _itself, str: _itself,
    float: _pack_float, list: _pack_list, tuple: _pack_tuple, dict: _pack_dict,
    set: _pack_set, frozenset: _pack_frozenset, UUID: _pack_uuid,
    datetime: _pack_datetime, date: _pack_date, time: _pack_time,
    timedelta: _pack_timedelta, Decimal: _pack_decimal, bytes: _pack_bytes,
}  # fmt: skip

_FROM_PARTS: dict[str, Callable[[Iterable[object]], object]] = {
    "$tuple": tuple, "$set": set, "$frozenset": frozenset, "$dict": _pairs,
}  # fmt: skip

_FROM_ATOM: dict[str, Callable[..., object]] = {
    "$float": float, "$uuid": UUID, "$date": date.fromisoformat, "$time": _from_time,
    "$datetime": _from_datetime, "$timedelta": lambda part: timedelta(*part),
    "$decimal": Decimal, "$bytes": b64decode,
}  # fmt: skip
