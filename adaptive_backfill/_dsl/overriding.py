"""Check what one call of `run` or `start` sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from adaptive_backfill._core.options import Option, Refused, near, parsed
from adaptive_backfill._dsl.definition import Definition
from adaptive_backfill._dsl.functions import (
    HANDLERS,
    HOOKS,
    function_problems,
    handler_problems,
    hook_problems,
)

__all__ = ["Overrides", "read_overrides"]

RESTART = "restart"


class Overrides(NamedTuple):
    """What one call sets.

    Attributes:
        kind: `"batch"` or `"single"`, by the class or by a handler given here;
            `None` where that is a problem.
        values: Options, parsed.
        functions: Handlers and hooks, to be called without `self`.
        parameters: Values for the class's parameters.
        restart: Whether to throw the checkpoint away first.
    """

    kind: str | None
    values: Mapping[str, object]
    functions: Mapping[str, object]
    parameters: Mapping[str, object]
    restart: bool


def read_overrides(
    cls: type, definition: Definition, given: Mapping[str, object]
) -> tuple[Overrides, list[str]]:
    """Sort and check *given*, the keyword arguments of one call.

    Returns:
        What could be read; and a sentence for each problem, and for what is missing.
    """
    kind, problems = _kind(cls, definition, given)
    values: dict[str, object] = {}
    options = definition.options
    for name in [name for name in given if name in options]:
        single = kind == "single" and options[name].batch_only
        problems += _read_option(name, given[name], options, values, single=single)
    problems += function_problems(cls, values)
    functions = {name: given[name] for name in (*HANDLERS, *HOOKS) if name in given}
    problems += _function_problems(functions, kind)
    parameters = {name: given[name] for name in definition.parameters & given.keys()}
    known = [*options, *HANDLERS, *HOOKS, *definition.parameters, RESTART]
    problems += [_unknown(name, known) for name in given if name not in known]
    restart = given.get(RESTART, False)
    if not isinstance(restart, bool):
        problems.append(f"restart must be True or False, not {restart!r}")
    problems += [
        f"{name} is missing: it has no default, so pass run({name}=...)"
        for name in definition.required
        if name not in parameters
    ]
    return Overrides(kind, values, functions, parameters, bool(restart)), problems


def _kind(
    cls: type, definition: Definition, given: Mapping[str, object]
) -> tuple[str | None, list[str]]:
    kinds = {kind for name, kind in HANDLERS.items() if name in given}
    if definition.kind is not None:
        kinds.add(definition.kind)
    problems = []
    if len(kinds) > 1:
        problems.append("it has both handle_batch and handle; keep one")
    if not kinds:
        problems.append(
            "it has no handler: define `async def handle_batch(self, state)` for "
            "batches, or `async def handle(self, health_check)` for a single operation"
        )
    # Also where one is given for this run: Python makes no instance of such a class.
    problems += [
        f"{name} is abstract; define it in a subclass"
        for name in sorted(getattr(cls, "__abstractmethods__", ()))
        if kinds or name not in HANDLERS
    ]
    return (kinds.pop() if len(kinds) == 1 else None), problems


def _read_option(
    name: str,
    value: object,
    options: Mapping[str, Option],
    values: dict[str, object],
    *,
    single: bool,
) -> Iterator[str]:
    if single:
        yield f"{name} is for batches; a single operation (handle) has no use for it"
        return
    try:
        values[name] = parsed(name, value, options)
    except Refused as refused:
        yield str(refused)


def _function_problems(
    functions: Mapping[str, object], kind: str | None
) -> Iterator[str]:
    for name, function in functions.items():
        if name in HANDLERS:
            yield from handler_problems(name, function, in_class=False)
        elif function is not None:
            yield from hook_problems(name, function, kind, in_class=False)


def _unknown(name: str, known: Sequence[str]) -> str:
    meant = near(name, known)
    if meant is not None:
        return f"{name} is not an option; did you mean {meant}?"
    return f"{name} is not an option; there are: {', '.join(sorted(known))}"
