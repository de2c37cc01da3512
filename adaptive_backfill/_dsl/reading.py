"""Look into a class body: what it sets, what is a method, what takes what."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import NamedTuple

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

__all__ = [
    "Found",
    "annotated",
    "belongs",
    "find",
    "is_method",
    "takes",
    "writes_async",
    "yields_values",
]

_NO_PARAMETER = re.compile(r"^\W*(\w+\.)*(ClassVar|Final)\b")


class Found(NamedTuple):
    """An attribute as it stands in a class body, not bound.

    Attributes:
        value: The raw value.
        owner: The class that sets it.
    """

    value: object
    owner: type


def find(cls: type, name: str, root: type) -> Found | None:
    """Return what *cls* and its bases set *name* to; what *root* sets is no find."""
    for klass in cls.__mro__:
        if klass in (root, object):
            continue
        if name in vars(klass):
            return Found(vars(klass)[name], klass)
    return None


def is_method(value: object) -> bool:
    """Whether *value*, raw from a class body, is a method of that class."""
    if isinstance(value, staticmethod | classmethod):
        return True
    return isinstance(value, FunctionType) and _first_parameter(value) == "self"


def belongs(fn: object, cls: type) -> bool:
    """Whether *fn* is a method in the body of *cls* or a base, and wants its `self`."""
    return (
        isinstance(fn, FunctionType)
        and is_method(fn)
        and any(fn is raw for klass in cls.__mro__ for raw in vars(klass).values())
    )


def takes(value: object, count: int, *, in_class: bool) -> bool:
    """Whether *value* can be called with *count* arguments.

    Args:
        value: A callable; raw, where it is *in_class*: the argument that it is bound
            to does not count.
        count: Positional arguments.
        in_class: Whether it stands in a class body.
    """
    is_bound = hasattr(type(value), "__get__") and not isinstance(value, staticmethod)
    bound = int(in_class and is_bound)
    inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if not callable(inner):
        return False
    try:
        inspect.signature(inner).bind(*range(bound + count))
    except TypeError:
        return False
    except ValueError:
        # Some builtins have no signature; there is nothing to check.
        return True
    return True


def writes_async(value: object) -> bool:
    """Whether *value* is an `async def`, which can be awaited."""
    return _says(inspect.iscoroutinefunction, value)


def yields_values(value: object) -> bool:
    """Whether *value* has a `yield` in it: called, it would do nothing."""
    return _says(inspect.isgeneratorfunction, value) or _says(
        inspect.isasyncgenfunction, value
    )


def annotated(cls: type, root: type) -> Iterator[str]:
    """Yield the public names that *cls* and its bases annotate as attributes."""
    for klass in reversed(cls.__mro__):
        if klass in (root, object):
            continue
        for name, kind in _annotations(klass).items():
            text = kind if isinstance(kind, str) else str(kind)
            if not name.startswith("_") and not _NO_PARAMETER.match(text):
                yield name


if sys.version_info >= (3, 14):

    def _annotations(cls: type) -> Mapping[str, object]:
        # Evaluated only when asked for, where a name may be missing still.
        return get_annotations(cls, format=Format.STRING)

else:

    def _annotations(cls: type) -> Mapping[str, object]:
        found: Mapping[str, object] = vars(cls).get("__annotations__", {})
        return found


def _says(test: Callable[[object], bool], value: object) -> bool:
    inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    return test(inner) or test(inspect.getattr_static(type(inner), "__call__", None))


def _first_parameter(function: FunctionType) -> str | None:
    return next(iter(inspect.signature(function).parameters), None)
