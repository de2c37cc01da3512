"""Hear what runs do: attach handlers to events by name.

A handler takes one `Event`. It may return a context manager, which is entered at
once, in the run's own task, and left after the event that ends what began: `stop`
for `start`, the end of the attempt for `batch.start`, `resume` for `pause`. That
gives spans. A handler that raises is logged once and detached: a broken dashboard
must not stop a backfill.

The events, with their measurements and metadata, are listed in `EVENTS`, and
described at the head of `adaptive_backfill/_core/events.py`.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TypeAlias

import structlog

from adaptive_backfill._core.events import (
    BATCH_EVENTS,
    RUN_EVENTS,
    SINGLE_EVENTS,
    Event,
)
from adaptive_backfill._core.rules import is_name
from adaptive_backfill.errors import ConfigurationError

__all__ = ["EVENTS", "Emitter", "Event", "Handler", "attach", "attached", "detach"]

Handler: TypeAlias = Callable[[Event], object]
"""Takes an event; returns nothing, or a context manager."""

EVENTS = (*RUN_EVENTS, *BATCH_EVENTS, *SINGLE_EVENTS)
"""The event names, without their prefix."""

_Attached: TypeAlias = tuple[str, str, Handler]
_Opened: TypeAlias = tuple[str, AbstractContextManager[object]]

# Replaced whole, never changed, so that attaching during a dispatch is safe.
_handlers: tuple[_Attached, ...] = ()


def attach(handler_id: str, pattern: str, handler: Handler) -> None:
    """Call *handler* for every event that *pattern* matches, in every run.

    Args:
        handler_id: Names the attachment, for `detach`.
        pattern: An event's full name, ``my_app.users.batch.success``; or, with
            ``.**`` behind it, a name and everything below; or ``**`` for all.
        handler: A plain function of one `Event`. It is called in the run's task,
            so it must not block.

    Raises:
        ConfigurationError: *handler_id* is taken, or an argument is not usable.
    """
    global _handlers
    problems = []
    if not is_name(handler_id):
        problems.append(f"the id must be a non-empty str, not {handler_id!r}")
    if any(handler_id == taken for taken, _, _ in _handlers):
        problems.append(f"the id {handler_id!r} is taken; detach({handler_id!r}) first")
    if not is_name(pattern):
        problems.append(f"the pattern must be a dotted str, not {pattern!r}")
    elif not _is_pattern(pattern):
        problems.append(
            f"the pattern must be 'a.name', 'a.name.**' or '**', not {pattern!r}"
        )
    if not callable(handler):
        problems.append(f"the handler must be callable, not {handler!r}")
    elif inspect.iscoroutinefunction(handler):
        problems.append("the handler must be a plain `def`: nobody would await it")
    if problems:
        raise ConfigurationError(problems, subject="telemetry.attach")
    _handlers = (*_handlers, (handler_id, pattern, handler))


def detach(handler_id: str) -> bool:
    """Stop calling the handler of *handler_id*; return whether there was one."""
    global _handlers
    before = _handlers
    _handlers = tuple(entry for entry in before if entry[0] != handler_id)
    return len(_handlers) < len(before)


def attached() -> tuple[str, ...]:
    """Return the ids that are attached now."""
    return tuple(handler_id for handler_id, _, _ in _handlers)


class Emitter:
    """Hands one run's events to whoever listens, and survives them.

    Ask `hears` before making an event: nothing is built for nobody.
    """

    def __init__(self, prefix: str, metadata: Mapping[str, object]) -> None:
        self._prefix = prefix
        self._metadata = dict(metadata)
        self._known = _handlers
        self._cache: dict[str, tuple[_Attached, ...]] = {}
        self._names: dict[str, str] = {}
        self._opened: dict[str, list[_Opened]] = {}

    @property
    def heard(self) -> bool:
        """Whether anybody listens to anything, or may have a span open."""
        return bool(_handlers or self._opened)

    def hears(self, event: str) -> tuple[_Attached, ...]:
        """Return whoever listens to *event*; empty, so false, where nobody does."""
        if self._known is not _handlers:
            self._known = _handlers
            self._cache.clear()
        found = self._cache.get(event)
        if found is None:
            name = self._names[event] = f"{self._prefix}.{event}"
            found = tuple(entry for entry in _handlers if _matches(entry[1], name))
            self._cache[event] = found
        return found

    def emit(
        self,
        event: str,
        measurements: Mapping[str, float],
        metadata: Mapping[str, object],
    ) -> None:
        """Tell whoever listens. Never raises an `Exception`."""
        listeners = self.hears(event)
        if listeners:
            told = self._event(event, measurements, metadata)
            for handler_id, _, handler in listeners:
                _guarded(handler_id, handler, told)

    def open(
        self,
        event: str,
        measurements: Mapping[str, float],
        metadata: Mapping[str, object],
    ) -> None:
        """Tell of *event*, and enter the context managers that handlers return."""
        listeners = self.hears(event)
        if not listeners:
            return
        told = self._event(event, measurements, metadata)
        for handler_id, _, handler in listeners:
            answer = _guarded(handler_id, handler, told)
            if answer is None or not isinstance(answer, AbstractContextManager):
                continue
            if _guarded(handler_id, answer.__enter__) is not _FAILED:
                self._opened.setdefault(event, []).append((handler_id, answer))

    def close(self, event: str) -> None:
        """Leave the context managers that the handlers of *event* returned.

        While an exception is being handled, they are told of it.
        """
        if not self._opened:
            return
        for handler_id, manager in reversed(self._opened.pop(event, [])):
            _guarded(handler_id, manager.__exit__, *sys.exc_info())

    def _event(
        self,
        event: str,
        measurements: Mapping[str, float],
        metadata: Mapping[str, object],
    ) -> Event:
        return Event(self._names[event], measurements, {**self._metadata, **metadata})


def traced(error: BaseException) -> dict[str, object]:
    """Return what to log of *error*, so that its traceback is shown.

    Where nobody configured structlog, and rich is installed, it would draw every
    local variable into the traceback, the states of the run among them; and take a
    fifth of a second for it, in which the whole event loop stands still.
    """
    if structlog.is_configured():
        return {"exc_info": error}
    return {"stack": "".join(traceback.format_exception(error))}


def _matches(pattern: str, name: str) -> bool:
    if not pattern.endswith("**"):
        return pattern == name
    if pattern == "**":
        return True
    below = pattern.removesuffix(".**")
    return name == below or name.startswith(f"{below}.")


def _is_pattern(pattern: str) -> bool:
    if pattern == "**":
        return True
    parts = pattern.removesuffix(".**").split(".")
    return all(part and "*" not in part for part in parts)


_FAILED = object()


def _guarded(handler_id: str, call: Callable[..., object], *args: object) -> object:
    """Return what *call* gives; where it raises, detach its handler: `_FAILED`."""
    try:
        return call(*args)
    except Exception as error:
        detach(handler_id)
        structlog.get_logger("adaptive_backfill").error(
            "telemetry handler failed and is detached",
            handler=handler_id,
            **traced(error),
        )
        return _FAILED
