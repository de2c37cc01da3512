"""What types are called in a checkpoint, and how they are found again.

Rule: `__main__` is never written where the module has a name of its own, so that a
script and whoever imports it mean the same class.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

__all__ = ["NotFound", "address", "imported", "loaded", "type_name"]


class NotFound(LookupError):
    """There is no such class here; the message is half a sentence."""


def address(kind: type) -> tuple[str, str]:
    """Return the module and the qualified name that *kind* is stored by."""
    module = kind.__module__
    return (_main_module() if module == "__main__" else module), kind.__qualname__


def imported(module: str, qualname: str) -> object:
    """Return what *qualname* is in *module*, which is imported where it is not yet.

    Raises:
        NotFound: It is not there.
    """
    if module == _main_module():
        module = "__main__"
    try:
        found = sys.modules.get(module) or import_module(module)
    except ImportError as error:
        msg = f"the module {module} cannot be imported ({error})"
        raise NotFound(msg) from error
    return _within(found, module, qualname)


def loaded(module: str, qualname: str) -> object:
    """Return what *qualname* is in *module*, without importing anything.

    Raises:
        NotFound: It is not there, or the module is not imported yet.
    """
    found = sys.modules.get("__main__" if module == _main_module() else module)
    if found is None:
        msg = f"the module {module} is not imported"
        raise NotFound(msg)
    return _within(found, module, qualname)


def type_name(kind: object) -> str:
    """Return *kind* as people write it, the same for every way of writing it."""
    if kind is None or kind is NoneType:
        return "None"
    if kind is Ellipsis:
        return "..."
    origin = get_origin(kind)
    if origin is Union or origin is UnionType:
        return " | ".join(map(type_name, get_args(kind)))
    if origin is Annotated:
        return type_name(get_args(kind)[0])
    if origin is not None and origin is not Literal:
        return f"{type_name(origin)}[{', '.join(map(type_name, get_args(kind)))}]"
    if not isinstance(kind, type):
        return repr(kind)
    module, qualname = address(kind)
    return qualname if module == "builtins" else f"{module}.{qualname}"


def _within(found: object, module: str, qualname: str) -> object:
    for name in qualname.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            msg = f"the module {module} has no {qualname}"
            raise NotFound(msg) from None
    return found


def _main_module() -> str:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return "__main__" if file is None else _stem(file)


def _stem(file: str) -> str:
    # By hand: it is asked for twice a batch, and `PurePath` takes ten times as long.
    name = file.replace("\\", "/").rpartition("/")[2]
    return name.rpartition(".")[0] or name
