"""Find the class that `module:Class`, or `path/to/file.py:Class`, names."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from adaptive_backfill import Backfill
from adaptive_backfill._core.options import near
from adaptive_backfill.cli.trouble import Failure, Trouble, explained
from adaptive_backfill.errors import BackfillError, ConfigurationError

__all__ = ["BackfillClass", "load", "users_code"]

BackfillClass: TypeAlias = type[Backfill[Any]]


def load(target: str) -> BackfillClass:
    """Return the backfill that *target* names; the current folder is searched, too.

    Raises:
        Trouble: There is no such module or class, or its import failed; says which
            names are near.
    """
    place, colon, name = target.rpartition(":")
    if not (place and colon and name):
        msg = (
            f"{target!r} names no class: write module:Class, such as "
            "my_app.backfills:Users, or path/to/file.py:Class."
        )
        raise Trouble(msg)
    module = _from_file(place) if place.endswith(".py") else _from_name(place)
    return _class_in(module, name, target)


@contextmanager
def users_code() -> Iterator[None]:
    """Tell in a sentence what the class's own code raises in the block.

    Raises:
        Failure: It raised; says where.
    """
    try:
        yield
    except BackfillError:
        raise
    except Exception as error:  # It is the user's own code.
        raise Failure(explained(error)) from error


def _from_name(name: str) -> ModuleType:
    # As `python -m` does, and as a console script does not.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return _imported(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise Trouble(_import_failed(name, error)) from error
        raise Trouble(_no_module(name, error.name)) from error


def _from_file(text: str) -> ModuleType:
    """Import a file under the name of its stem, which is what `python file.py` means.

    The stem is part of the backfill's name, so the script and this mean the same one.
    """
    path = Path(text).resolve()
    if not path.is_file():
        meant = near(path.stem, (file.stem for file in path.parent.glob("*.py")))
        told = f"; did you mean {Path(text).with_stem(meant)}?" if meant else "."
        msg = f"There is no file {text}{told}"
        raise Trouble(msg)
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) != str(path):
        msg = (
            f"{text} cannot be imported as {path.stem!r}: another module of that name "
            "is in use. Rename the file."
        )
        raise Trouble(msg)
    sys.path.insert(0, str(path.parent))
    try:
        return _imported(path.stem)
    except ModuleNotFoundError as error:
        raise Trouble(_import_failed(text, error)) from error


def _imported(name: str) -> ModuleType:
    """Import *name*.

    Raises:
        ModuleNotFoundError: It, or something that it imports, is not there.
        Trouble: Its code raised.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise
    except ConfigurationError as error:
        raise Trouble(str(error)) from error
    except (Exception, SystemExit) as error:  # It is the user's own code.
        raise Trouble(_import_failed(name, error)) from error


def _import_failed(what: str, error: BaseException) -> str:
    return f"{what} cannot be imported.\n  {explained(error)}"


def _no_module(name: str, missing: str) -> str:
    parent, _, child = missing.rpartition(".")
    # A module in between that is no package has no path, and nothing beneath it.
    inside = getattr(sys.modules.get(parent), "__path__", ())
    where = list(inside) if parent else [str(Path.cwd())]
    siblings = {module.name for module in pkgutil.iter_modules(where)}
    meant = near(child, siblings)
    if meant is None:
        looked = f"in {parent}" if parent else f"in {Path.cwd()} or on the Python path"
        return f"There is no module {missing!r} {looked}."
    whole = f"{parent}.{meant}" if parent else meant
    return f"There is no module {missing!r}; did you mean {whole}?"


def _class_in(module: ModuleType, name: str, target: str) -> BackfillClass:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Backfill):
        return found
    backfills = dict(_backfills(module))
    if found is not None:
        return _raise_no_backfill(target, found, backfills)
    meant = near(name, backfills)
    told = f"did you mean {meant}?" if meant else _listed(backfills)
    msg = f"There is no {name!r} in {module.__name__}; {told}"
    raise Trouble(msg)


def _raise_no_backfill(
    target: str, found: object, backfills: dict[str, BackfillClass]
) -> BackfillClass:
    kind = "a class" if isinstance(found, type) else f"a {type(found).__name__}"
    msg = f"{target} is {kind}, and not a subclass of Backfill; {_listed(backfills)}"
    raise Trouble(msg)


def _backfills(module: ModuleType) -> Iterator[tuple[str, BackfillClass]]:
    for name, value in vars(module).items():
        if (
            isinstance(value, type)
            and issubclass(value, Backfill)
            and value is not Backfill
        ):
            yield name, value


def _listed(backfills: dict[str, BackfillClass]) -> str:
    if not backfills:
        return "there is no backfill in that module."
    return f"the backfills there: {', '.join(sorted(backfills))}."
