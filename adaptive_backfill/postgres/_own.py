"""Attributes of which each worker of a run has its own.

A run has one instance, and hooks and handlers share its `self`. But what belongs to the
batch under way, such as its connection, there is once for each worker. Where there are
no workers, such an attribute is one like any other.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Generic, Self, TypeVar, overload

__all__ = ["Own", "begin_to_work_for", "works_for"]

_T = TypeVar("_T")

# A task of a batch, such as its COMMIT, copies the context of the worker that made it.
_place: ContextVar[tuple[object, dict[str, Any]] | None] = ContextVar(
    "adaptive_backfill_worker", default=None
)


def begin_to_work_for(instance: object) -> None:
    """Make the current task a worker of *instance*, with its own of each `Own`."""
    _place.set((instance, {}))


def works_for(instance: object) -> bool:
    """Whether the current task is a worker of *instance*."""
    place = _place.get()
    return place is not None and place[0] is instance


class Own(Generic[_T]):
    """An attribute of which each worker has its own, and the run one for itself."""

    def __init__(self, default: _T) -> None:
        self._default = default
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> _T: ...

    def __get__(self, instance: object, owner: type) -> _T | Self:
        if instance is None:
            return self
        found: _T = _values(instance).get(self._name, self._default)
        return found

    def __set__(self, instance: object, value: _T) -> None:
        _values(instance)[self._name] = value


def _values(instance: object) -> dict[str, Any]:
    place = _place.get()
    # A worker's batch may run another backfill, which has nothing to do with it.
    if place is not None and place[0] is instance:
        return place[1]
    return vars(instance)
