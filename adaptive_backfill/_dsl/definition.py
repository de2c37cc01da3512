"""Read a class body once, and say everything that is wrong with it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptive_backfill._core.options import OPTIONS, Refused, near, parsed
from adaptive_backfill._dsl.reading import (
    annotated,
    find,
    is_method,
    takes,
    writes_async,
    yields_values,
)
from adaptive_backfill.errors import ConfigurationError

__all__ = [
    "ABSTRACT",
    "HANDLERS",
    "HOOKS",
    "Definition",
    "define",
    "handler_problems",
    "hook_problems",
]

HANDLERS: Mapping[str, Literal["batch", "single"]] = {
    "handle_batch": "batch",
    "handle": "single",
}
HOOKS = ("on_success", "on_error", "on_complete")
METHOD_OPTIONS = ("initial_state", "total", "evaluate")
"""Options that a class may also define as a method."""

_RESERVED = ("run", "start")
_NEAR = 0.85


@dataclass(frozen=True, slots=True)
class Definition:
    """What a class declares.

    Attributes:
        kind: `"batch"`, `"single"`, or `None` for an abstract base.
        values: The options that it sets, parsed; those that are methods as they are.
        parameters: Names that `run()` may be given beside the options.
        required: Those of them that have no default.
    """

    kind: Literal["batch", "single"] | None
    values: Mapping[str, object]
    parameters: frozenset[str]
    required: tuple[str, ...]


ABSTRACT = Definition(None, {"name": "Backfill"}, frozenset(), ())
"""What `Backfill` itself declares: nothing that could run."""


def define(cls: type, root: type) -> Definition:
    """Return what *cls*, a subclass of *root*, declares.

    Raises:
        ConfigurationError: With a sentence for each problem.
    """
    handlers = [name for name in HANDLERS if _handler(cls, name, root)]
    kind = HANDLERS[handlers[0]] if len(handlers) == 1 else None
    values, problems = _values(cls, root)
    problems += _handlers_problems(cls, root, handlers)
    problems += _hooks_problems(cls, root, kind)
    problems += _name_problems(cls)
    if kind == "single":
        problems += [
            f"{name} is for batches; a single operation (handle) has no use for it"
            for name in values
            if OPTIONS[name].batch_only
        ]
    if problems:
        raise ConfigurationError(problems, subject=cls.__qualname__)
    _warn_of_near_options(cls)
    values["name"] = values.get("name") or _dotted(cls)
    known = {*OPTIONS, *HANDLERS, *HOOKS}
    parameters = [name for name in annotated(cls, root) if name not in known]
    return Definition(
        kind=kind,
        values=values,
        parameters=frozenset(parameters),
        required=tuple(
            name for name in dict.fromkeys(parameters) if not hasattr(cls, name)
        ),
    )


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
    arguments = _hook_arguments(name, kind)
    if not callable(hook) and not isinstance(hook, staticmethod | classmethod):
        yield f"{name} must be a function, not {hook!r}"
    elif yields_values(hook):
        yield f"{name} must not have a `yield` in it: it would never run"
    elif arguments is not None and not takes(hook, len(arguments), in_class=in_class):
        yield f"{name} must take ({', '.join(arguments)})"


def _hook_arguments(name: str, kind: str | None) -> tuple[str, ...] | None:
    if name == "on_complete":
        return ("result",)
    if kind is None:
        return None
    if name == "on_success":
        return ("result",) if kind == "single" else ("state",)
    return ("error",) if kind == "single" else ("error", "state")


def _handler(cls: type, name: str, root: type) -> bool:
    found = find(cls, name, root)
    return found is not None and not getattr(found.value, "__isabstractmethod__", False)


def _values(cls: type, root: type) -> tuple[dict[str, object], list[str]]:
    values: dict[str, object] = {}
    problems: list[str] = []
    for name in OPTIONS:
        found = find(cls, name, root)
        if found is None or (name == "name" and found.owner is not cls):
            continue
        if is_method(found.value) or isinstance(found.value, property):
            if name in METHOD_OPTIONS and not isinstance(found.value, property):
                values[name] = found.value
            else:
                problems.append(f"{name} must be a value, not a method")
            continue
        try:
            values[name] = parsed(name, found.value)
        except Refused as refused:
            problems.append(str(refused))
    return values, problems


def _handlers_problems(cls: type, root: type, handlers: list[str]) -> Iterator[str]:
    if len(handlers) > 1:
        yield (
            "it has both handle_batch (batches) and handle (a single operation); "
            "keep one"
        )
    for name in handlers:
        found = find(cls, name, root)
        if found is not None:
            yield from handler_problems(name, found.value, in_class=True)


def _hooks_problems(cls: type, root: type, kind: str | None) -> Iterator[str]:
    for name in HOOKS:
        found = find(cls, name, root)
        if found is not None:
            yield from hook_problems(name, found.value, kind, in_class=True)


def _name_problems(cls: type) -> Iterator[str]:
    for name, value in vars(cls).items():
        function = callable(value) or isinstance(value, staticmethod | classmethod)
        if name in _RESERVED:
            yield f"{name} is the library's own; call yours something else"
        elif name in HOOKS or name in HANDLERS or not function:
            continue
        elif name.startswith("on_"):
            meant = near(name, HOOKS)
            hint = f"did you mean {meant}?" if meant else f"hooks: {', '.join(HOOKS)}"
            yield f"{name} is not a hook; {hint}"
        elif name.startswith("handle"):
            meant = near(name, HANDLERS, cutoff=_NEAR)
            if meant is not None:
                yield f"{name} is not a handler; did you mean {meant}?"


def _warn_of_near_options(cls: type) -> None:
    # `model` and `modes` are near to `mode`, and everyday words.
    long_names = [name for name in OPTIONS if len(name) > 4]
    for name, value in vars(cls).items():
        if name.startswith("_") or callable(value) or name in OPTIONS:
            continue
        meant = near(name, long_names, cutoff=_NEAR)
        if meant is not None:
            warnings.warn(
                f"{cls.__qualname__}.{name} is not an option; did you mean {meant}?",
                stacklevel=4,
            )


def _dotted(cls: type) -> str:
    return f"{_module_of(cls)}.{cls.__qualname__}"


def _module_of(cls: type) -> str:
    """Return the module's real name, so that a script and the CLI mean the same."""
    if cls.__module__ != "__main__":
        return cls.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"
