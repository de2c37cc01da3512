"""Read a class body once, and say everything that is wrong with it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from adaptive_backfill._core.options import OPTIONS, Option, Refused, near, parsed
from adaptive_backfill._dsl.functions import (
    HANDLERS,
    HOOKS,
    METHOD_OPTIONS,
    function_problems,
    handler_problems,
    hook_problems,
)
from adaptive_backfill._dsl.reading import annotated, find, is_method
from adaptive_backfill.errors import ConfigurationError

__all__ = ["ABSTRACT", "Definition", "define"]

_RESERVED = ("run", "start")
_ARGUMENTS = {"restart": "run(restart=True)", "grace": "start(grace=...)"}
"""What one call takes beside options and parameters, and no class may set."""

_NEAR = 0.85


@dataclass(frozen=True, slots=True)
class Definition:
    """What a class declares.

    Attributes:
        kind: `"batch"`, `"single"`, or `None` for an abstract base.
        values: The options that it sets, parsed; those that are methods as they are.
        options: The options that there are for such a class.
        parameters: Names that `run()` may be given beside the options.
        required: Those of them that have no default.
    """

    kind: Literal["batch", "single"] | None
    values: Mapping[str, object]
    options: Mapping[str, Option]
    parameters: frozenset[str]
    required: tuple[str, ...]


ABSTRACT = Definition(None, {"name": "Backfill"}, OPTIONS, frozenset(), ())
"""What `Backfill` itself declares: nothing that could run."""


def define(
    cls: type,
    root: type,
    options: Mapping[str, Option],
    own_problems: Iterable[str] = (),
) -> Definition:
    """Return what *cls*, a subclass of *root* that has *options*, declares.

    *own_problems* are those that its kind of backfill knows of.

    Raises:
        ConfigurationError: With a sentence for each problem.
    """
    handlers = [name for name in HANDLERS if _handler(cls, name, root)]
    kind = HANDLERS[handlers[0]] if len(handlers) == 1 else None
    values, problems = _values(cls, root, options)
    problems += function_problems(cls, values)
    problems += _handlers_problems(cls, root, handlers)
    problems += _hooks_problems(cls, root, kind)
    problems += _reserved_problems(cls, root)
    problems += _misspelt_problems(cls)
    problems += own_problems
    if kind == "single":
        problems += [
            f"{name} is for batches; a single operation (handle) has no use for it"
            for name in values
            if options[name].batch_only
        ]
    if problems:
        raise ConfigurationError(problems, subject=cls.__qualname__)
    _warn_of_near_options(cls, options)
    values["name"] = _real_name(cls, values.get("name"))
    known = {*options, *HANDLERS, *HOOKS}
    parameters = [name for name in annotated(cls, root) if name not in known]
    return Definition(
        kind=kind,
        values=values,
        options=options,
        parameters=frozenset(parameters),
        required=tuple(
            name for name in dict.fromkeys(parameters) if not hasattr(cls, name)
        ),
    )


def _handler(cls: type, name: str, root: type) -> bool:
    found = find(cls, name, root)
    return found is not None and not getattr(found.value, "__isabstractmethod__", False)


def _values(
    cls: type, root: type, options: Mapping[str, Option]
) -> tuple[dict[str, object], list[str]]:
    values: dict[str, object] = {}
    problems: list[str] = []
    for name in options:
        found = find(cls, name, root)
        if found is None or (name == "name" and found.owner is not cls):
            continue
        if is_method(found.value) and name in METHOD_OPTIONS:
            values[name] = found.value
            continue
        try:
            values[name] = parsed(name, _not_computed(name, found.value), options)
        except Refused as refused:
            problems.append(str(refused))
    return values, problems


def _not_computed(name: str, value: object) -> object:
    if is_method(value):
        msg = f"{name} must be a value, not a method"
        raise Refused(msg)
    if isinstance(value, property | cached_property):
        allowed = "a value or a method" if name in METHOD_OPTIONS else "a value"
        msg = f"{name} must be {allowed}, not a property"
        raise Refused(msg)
    return value


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


def _reserved_problems(cls: type, root: type) -> Iterator[str]:
    parameters = set(annotated(cls, root))
    for name in _RESERVED:
        if name in parameters or find(cls, name, root) is not None:
            yield f"{name} is the library's own; call yours something else"
    for name, call in _ARGUMENTS.items():
        value = vars(cls).get(name)
        if name in parameters or not (value is None or callable(value)):
            yield f"{name} is for one call, not for a class: {call}"


def _misspelt_problems(cls: type) -> Iterator[str]:
    for name, value in vars(cls).items():
        function = callable(value) or isinstance(value, staticmethod | classmethod)
        if name in HOOKS or name in HANDLERS or not function:
            continue
        elif name.startswith("on_"):
            meant = near(name, HOOKS)
            hint = f"did you mean {meant}?" if meant else f"hooks: {', '.join(HOOKS)}"
            yield f"{name} is not a hook; {hint}"
        elif name.startswith("handle"):
            meant = near(name, HANDLERS, cutoff=_NEAR)
            if meant is not None:
                yield f"{name} is not a handler; did you mean {meant}?"


def _warn_of_near_options(cls: type, options: Mapping[str, Option]) -> None:
    # `model` and `modes` are near to `mode`, and everyday words.
    long_names = [name for name in options if len(name) > 4]
    for name, value in vars(cls).items():
        function = callable(value) or isinstance(value, classmethod)
        if name.startswith("_") or function or name in options:
            continue
        meant = near(name, long_names, cutoff=_NEAR)
        if meant is not None:
            warnings.warn(
                f"{cls.__qualname__}.{name} is not an option; did you mean {meant}?",
                stacklevel=4,
            )


def _real_name(cls: type, given: object) -> str:
    """Return the name *given*, or the class's own, with its module's real name.

    So that a script and the command line mean the same.
    """
    name = given if isinstance(given, str) else f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__ == "__main__" and name.startswith("__main__."):
        return _main_module() + name.removeprefix("__main__")
    package = cls.__module__.removesuffix(".__main__")
    return name.replace(f"{package}.__main__.", f"{package}.", 1)


def _main_module() -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"
