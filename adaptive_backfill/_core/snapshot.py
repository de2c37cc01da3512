"""What is kept of a run, so that a later one can go on from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from typing_extensions import override

from adaptive_backfill._core.rules import is_name
from adaptive_backfill.errors import ConfigurationError

__all__ = [
    "STORE_METHODS",
    "Checkpoint",
    "Snapshot",
    "Wishes",
    "by_value",
    "is_immutable",
]

STORE_METHODS = ("load", "save", "delete")

_T = TypeVar("_T")

_IMMUTABLE = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes,
        date, datetime, time, timedelta, Decimal, UUID,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A backfill's position, as checkpoint stores keep it.

    Attributes:
        state: What the next batch is to be handed.
        batches: Batches done in the whole backfill, over all its runs.
        rows: Rows done in the whole backfill.
        batch_size: The size in force, or `None` where the backfill has none.
    """

    state: object
    batches: int = 0
    rows: int = 0
    batch_size: int | None = None


class Checkpoint:
    """Where a backfill's position is kept.

    Attributes:
        store: An object with `load`, `save` and `delete`.
        name: The key in the store; `None` means the run's own name.

    Raises:
        ConfigurationError: *store* is a class, lacks a method, or *name* is empty.
    """

    __slots__ = ("name", "store")

    def __init__(self, store: object, name: str | None = None) -> None:
        problems = []
        if isinstance(store, type):
            problems.append(
                f"the store is the class {store.__name__}; pass an instance: "
                f"{store.__name__}(...)"
            )
        else:
            problems += [
                f"the store {type(store).__name__} has no method {method!r}; a store "
                "has load(name), save(name, snapshot) and delete(name)"
                for method in STORE_METHODS
                if not callable(getattr(store, method, None))
            ]
        if name is not None and not is_name(name):
            problems.append(f"the name must be a non-empty str or None, not {name!r}")
        if problems:
            raise ConfigurationError(problems, subject="Checkpoint")
        self.store = store
        self.name = name

    @override
    def __repr__(self) -> str:
        name = "" if self.name is None else f", {self.name!r}"
        return f"Checkpoint({self.store!r}{name})"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What people asked of a run from outside.

    Attributes:
        stop: Stop at the next batch boundary.
        paused: Who or what paused the run, or `None`; stays until resumed.
        values: Options to change from the next batch on, already checked.
        asked: How often each of them was wished for, so that a wish for the value
            that was wished before is one, too; equal wishes may differ in it.
    """

    stop: bool = False
    paused: str | None = None
    values: Mapping[str, object] | None = None
    asked: Mapping[str, int] | None = field(default=None, compare=False)


def is_immutable(state: object) -> bool:
    """Whether *state* is a value that nobody can change."""
    return type(state) in _IMMUTABLE


def by_value(state: _T) -> _T:
    """Return *state* so that nobody else can change it: itself, or a deep copy."""
    if type(state) in _IMMUTABLE:
        return state
    return copy.deepcopy(state)
