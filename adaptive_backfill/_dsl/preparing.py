"""Make one run out of a class and the overrides of one call.

Nothing here has a side effect: what is wrong is found before the lease is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import FunctionType
from typing import NamedTuple, TypeVar, cast

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.options import OPTIONS, TUNABLE, RunOptions, made
from adaptive_backfill._core.snapshot import Checkpoint, by_value
from adaptive_backfill._dsl.definition import Definition
from adaptive_backfill._dsl.functions import HOOKS
from adaptive_backfill._dsl.overriding import Overrides, read_overrides
from adaptive_backfill._dsl.reading import belongs, find, is_method
from adaptive_backfill._dsl.state_type import state_type_of
from adaptive_backfill._ports import Control, LeaseStore, Work
from adaptive_backfill.errors import ConfigurationError

__all__ = ["Prepared", "prepare"]

_Any = TypeVar("_Any")


class Prepared(NamedTuple):
    """One run, ready to begin."""

    work: Work
    options: RunOptions
    restart: bool
    instance: object


def prepare(
    cls: type, root: type, definition: Definition, given: Mapping[str, object]
) -> Prepared:
    """Return the run of *cls*, a subclass of *root*, that *given* asks for.

    Raises:
        ConfigurationError: With a sentence for each problem.
    """
    overrides, problems = read_overrides(cls, definition, given)
    values = {name: each.default for name, each in definition.options.items()}
    values |= definition.values
    values |= overrides.values
    _withdraw_what_needs_a_store(values, overrides)
    problems += [*_init_problems(cls), *_store_problems(values)]
    if problems:
        raise ConfigurationError(problems, subject=cls.__qualname__)
    bound = _Bound(cls, root, cls(), overrides)
    checks = cast("tuple[HealthCheck, ...]", values["health_checks"])
    values["health_checks"] = tuple(map(bound.check, checks))
    values["evaluate"] = bound.method("evaluate", values["evaluate"])
    options = made({name: values[name] for name in OPTIONS})
    bound.put(values, overrides)
    work = _work(cls, root, bound, options)
    work = replace(work, tunable=TUNABLE & definition.options.keys())
    return Prepared(work, options, overrides.restart, bound.instance)


class _Bound:
    """What a class and a call define, bound to the run's one instance."""

    def __init__(
        self, cls: type, root: type, instance: object, overrides: Overrides
    ) -> None:
        self._cls = cls
        self._root = root
        self._functions = overrides.functions
        self.instance = instance
        self.given = overrides.values
        self.single = overrides.kind == "single"

    def method(self, name: str, value: object) -> object:
        """Return option *name*'s *value*, bound where it is a method of the class."""
        if name not in self.given and is_method(value):
            return getattr(self.instance, name)
        return self._bound(value)

    def function(self, name: str) -> Callable[..., object] | None:
        """Return the handler or hook *name*, where there is one."""
        if name in self._functions:
            return cast("Callable[..., object] | None", self._functions[name])
        if find(self._cls, name, self._root) is None:
            return None
        return cast("Callable[..., object]", getattr(self.instance, name))

    def check(self, check: HealthCheck) -> HealthCheck:
        """Return *check*, bound where its function is a method of the class."""
        fn = self._bound(check.fn)
        return check if fn is check.fn else check.bound(fn)

    def put(self, values: Mapping[str, object], overrides: Overrides) -> None:
        """Put what is in force on the instance, never on the class."""
        for name, value in values.items():
            found = find(self._cls, name, self._root)
            own = found is not None and is_method(found.value)
            if name in self.given or not own:
                setattr(self.instance, name, value)
        for name, value in overrides.parameters.items():
            setattr(self.instance, name, value)

    def _bound(self, fn: _Any) -> _Any:
        if isinstance(fn, FunctionType) and belongs(fn, self._cls):
            return cast("_Any", fn.__get__(self.instance))
        return fn

    def retune(self, values: Mapping[str, object]) -> None:
        """Put changed options on the instance."""
        for name, value in values.items():
            setattr(self.instance, name, value)


def _init_problems(cls: type) -> Iterator[str]:
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        yield (
            f"its __init__ needs arguments ({error}); annotate them as attributes "
            "instead (`client: Client`) and pass them to run(client=...)"
        )


def _withdraw_what_needs_a_store(
    values: dict[str, object], overrides: Overrides
) -> None:
    """Without a checkpoint, by request, what needs one is off, too."""
    if "checkpoint" in overrides.values and values["checkpoint"] is None:
        values["once"] = False
        values["if_running"] = "raise"


def _store_problems(values: Mapping[str, object]) -> Iterator[str]:
    wanted = []
    if values["once"]:
        wanted.append("once=True")
    if values["if_running"] != "raise":
        wanted.append(f"if_running={values['if_running']!r}")
    checkpoint = cast("Checkpoint | None", values["checkpoint"])
    if not wanted or (checkpoint and isinstance(checkpoint.store, LeaseStore)):
        return
    store = "no checkpoint" if checkpoint is None else type(checkpoint.store).__name__
    yield (
        f"{' and '.join(wanted)} needs a store that holds leases and remembers "
        f"endings, such as SqliteStore or MemoryStore; here is {store}"
    )


def _work(cls: type, root: type, bound: _Bound, options: RunOptions) -> Work:
    handler = "handle" if bound.single else "handle_batch"
    hooks = {name: bound.function(name) for name in HOOKS}
    typed = options.checkpoint is not None and not bound.single
    return Work(
        handle=cast("Callable[..., Awaitable[object]]", bound.function(handler)),
        title=f"{cls.__qualname__}.{handler}",
        single=bound.single,
        initial_state=_initial_state(bound, options),
        state_given="initial_state" in bound.given,
        on_success=hooks["on_success"],
        on_error=hooks["on_error"],
        on_complete=hooks["on_complete"],
        total=_total(bound, options),
        on_canary=hooks["on_canary"],
        retuned=bound.retune,
        state_type=state_type_of(cls, root) if typed else None,
        pool=getattr(bound.instance, "pool", None),
        can_be_resumed=_carries_wishes(options.checkpoint),
    )


def _carries_wishes(checkpoint: Checkpoint | None) -> bool:
    # Wishes are heard with the beat of a lease.
    store = None if checkpoint is None else checkpoint.store
    return isinstance(store, Control) and isinstance(store, LeaseStore)


def _initial_state(bound: _Bound, options: RunOptions) -> Callable[[], object]:
    value = options.initial_state
    if "initial_state" not in bound.given and is_method(value):
        return cast("Callable[[], object]", bound.method("initial_state", value))
    return partial(by_value, value)


def _total(bound: _Bound, options: RunOptions) -> Callable[[], object] | None:
    total = bound.method("total", options.total)
    if total is None:
        return None
    if callable(total):
        return total
    return partial(by_value, total)
