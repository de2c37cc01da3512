"""The functions that users write: what each is called, and what it has to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, cast

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._dsl.reading import belongs, takes, writes_async, yields_values

__all__ = [
    "HANDLERS",
    "HOOKS",
    "METHOD_OPTIONS",
    "function_problems",
    "handler_problems",
    "hook_problems",
]

HANDLERS: Mapping[str, Literal["batch", "single"]] = {
    "handle_batch": "batch",
    "handle": "single",
}
HOOKS = ("on_success", "on_canary", "on_error", "on_complete")
METHOD_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "initial_state": (),
    "total": (),
    "evaluate": ("results",),
}
"""Options that a class may also define as a method, and what it is called with."""


def handler_problems(name: str, handler: object, *, in_class: bool) -> Iterator[str]:
    """Yield what is wrong with *handler*, set as *name*."""
    argument = "health_check" if name == "handle" else "state"
    if not callable(handler) and not isinstance(handler, staticmethod | classmethod):
        yield f"{name} must be an async function, not {handler!r}"
    elif yields_values(handler):
        yield f"{name} must return one answer; it has a `yield` in it"
    elif not writes_async(handler):
        yield f"{name} must be a coroutine function: write `async def {name}`"
    elif not takes(handler, 1, in_class=in_class):
        yield f"{name} must take one argument: ({argument})"


def hook_problems(
    name: str, hook: object, kind: str | None, *, in_class: bool
) -> Iterator[str]:
    """Yield what is wrong with *hook*, set as *name* in a class of *kind*."""
    if name == "on_canary" and kind == "single":
        yield "on_canary is for batches; a single operation (handle) has none"
        return
    arguments = _hook_arguments(name, kind)
    if not callable(hook) and not isinstance(hook, staticmethod | classmethod):
        yield f"{name} must be a function, not {hook!r}"
    elif yields_values(hook):
        yield f"{name} must not have a `yield` in it: it would never run"
    elif arguments is not None and not takes(hook, len(arguments), in_class=in_class):
        yield f"{name} must take ({', '.join(arguments)})"


def function_problems(cls: type, values: Mapping[str, object]) -> Iterator[str]:
    """Yield what is wrong with the functions among *values*, options of *cls*."""
    for check in cast("tuple[HealthCheck, ...]", values.get("health_checks", ())):
        own = belongs(check.fn, cls)
        if not any(takes(check.fn, count, in_class=own) for count in (0, 1)):
            yield (
                f"health check {check.name!r} must take no argument, or one "
                "(a HealthContext)"
            )
    for name, arguments in METHOD_OPTIONS.items():
        value = values.get(name)
        own = isinstance(value, staticmethod | classmethod) or belongs(value, cls)
        # A state may be any callable, and is not called.
        if not own and (name == "initial_state" or not callable(value)):
            continue
        if not takes(value, len(arguments), in_class=own):
            wanted = f"({', '.join(arguments)})" if arguments else "no argument"
            yield f"{name} must take {wanted}"


def _hook_arguments(name: str, kind: str | None) -> tuple[str, ...] | None:
    if name in ("on_canary", "on_complete"):
        return ("result",)
    if kind is None:
        return None
    if name == "on_success":
        return ("result",) if kind == "single" else ("state",)
    return ("error",) if kind == "single" else ("error", "state")
