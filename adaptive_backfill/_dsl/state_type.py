"""Find the `State` of a `Backfill[State]`, through generic bases."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ForwardRef, TypeVar, get_args, get_origin, get_type_hints

from adaptive_backfill.errors import ConfigurationError

__all__ = ["state_type_of"]

_SAYS_NOTHING: tuple[object, ...] = (None, Any, object)


def state_type_of(cls: type, root: type) -> object:
    """Return the type that *cls* gives *root* as its state.

    Returns:
        `None` where it gives none, or one that says nothing: `Any`, `object`, or a
        type variable that is still open.

    Raises:
        ConfigurationError: It is a forward reference to a name that is not there.
    """
    found = _argument(cls, root)
    return None if found in _SAYS_NOTHING or isinstance(found, TypeVar) else found


def _argument(cls: type, root: type) -> object:
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if not isinstance(origin, type) or not issubclass(origin, root):
            continue
        # A name is looked up where it is written, which may be a base's module.
        given = tuple(_resolved(each, cls) for each in get_args(base))
        found = (
            next(iter(given), None)
            if origin is root
            else _substituted(_argument(origin, root), origin, given)
        )
        if found not in _SAYS_NOTHING:
            return found
    return None


def _substituted(inner: object, origin: type, given: tuple[object, ...]) -> object:
    """Return *inner*, said in *origin*'s own variables, with those *given*."""
    own: tuple[object, ...] = getattr(origin, "__parameters__", ())
    meaning = dict(zip(own, given, strict=False))
    if inner in own:
        return meaning.get(inner)
    open_ones = getattr(inner, "__parameters__", ())
    if not open_ones:
        return inner
    return _subscripted(inner, tuple(meaning.get(each, Any) for each in open_ones))


def _subscripted(alias: Any, arguments: tuple[object, ...]) -> object:
    return alias[arguments]


def _resolved(found: object, cls: type) -> object:
    def probe() -> None: ...

    probe.__annotations__ = {"state": found}
    names = {base.__name__: base for base in reversed(cls.__mro__)}
    module = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    hints: Callable[..., dict[str, object]] = get_type_hints
    try:
        resolved = hints(probe, globalns=dict(module), localns=names)["state"]
    except (NameError, AttributeError) as error:
        name = found.__forward_arg__ if isinstance(found, ForwardRef) else found
        msg = (
            f"the state type {name!r} cannot be resolved ({error}); define it in "
            f"module {cls.__module__}, or give the class itself instead of its name"
        )
        raise ConfigurationError([msg], subject=cls.__qualname__) from error
    return None if resolved is type(None) else resolved
