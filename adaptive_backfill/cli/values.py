"""Read `--set option=value`."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import msgspec.inspect

from adaptive_backfill import Adaptive
from adaptive_backfill.cli.declared import Declared
from adaptive_backfill.cli.trouble import Trouble
from adaptive_backfill.errors import ConfigurationError

__all__ = ["literal", "overrides_from", "pairs_from"]

_ADAPTIVE = re.compile(r"adaptive\((.*)\)", re.IGNORECASE)
_WORDS = {"none": None, "null": None, "true": True, "false": False}
_TEXTS = ("name", "mode", "if_running", "telemetry_prefix")
"""Options that are words, and never a number that only looks like one."""
_TEXTS_OF_TABLES = ("dsn", "table", "where", "statement", "order", "count")
"""Those of backfills on PostgreSQL."""


def overrides_from(declared: Declared, pairs: Sequence[str]) -> dict[str, object]:
    """Return what *pairs* set, for `run`. The last of a name counts.

    Options become literals, `initial_state` and parameters what the class declares
    them to be; whether an option allows its value is for `run` to say.

    Raises:
        Trouble: A pair is not ``option=value``, or a value is not of its type.
    """
    texts = pairs_from(pairs)
    if "grace" in texts:
        msg = "grace cannot be set here: a second Ctrl-C cuts it short."
        raise Trouble(msg)
    return {name: _value(declared, name, text) for name, text in texts.items()}


def pairs_from(pairs: Sequence[str]) -> dict[str, str]:
    """Return the names and texts of *pairs*.

    Raises:
        Trouble: One is not ``option=value``.
    """
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            msg = f"{pair!r} is not option=value; write it like timeout=30."
            raise Trouble(msg)
        texts[name] = text.strip()
    return texts


def literal(text: str) -> Any:
    """Return the value that *text* writes: JSON, a Python literal, or else the text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _value(declared: Declared, name: str, text: str) -> object:
    if name in _TEXTS:
        return text
    if name == "pace":
        return _pace(text)
    if name == "initial_state":
        return _typed(name, text, declared.state_type)
    if name in declared.parameters:
        return _typed(name, text, declared.annotation(name))
    if name in declared.options and name in _TEXTS_OF_TABLES:
        return None if text.lower() == "none" else text
    return literal(text)


def _pace(text: str) -> object:
    """Return the pace that *text* writes: adaptive, or Adaptive(target=0.05)."""
    if text.lower() == "adaptive":
        return Adaptive()
    found = _ADAPTIVE.fullmatch(text)
    if found is None:
        return literal(text)
    arguments = pairs_from([each for each in found[1].split(",") if each.strip()])
    try:
        return Adaptive(**{name: literal(value) for name, value in arguments.items()})
    except TypeError as error:
        problem = str(error)
    except ConfigurationError as error:
        problem = "; ".join(error.problems)
    msg = f"--set pace={text}: {problem}."
    raise Trouble(msg)


def _typed(name: str, text: str, wanted: Any) -> object:
    """Return *text* as the type *wanted*, where that is known."""
    value = literal(text)
    if wanted is None or isinstance(wanted, str) or _is_unknown(wanted):
        # Also a type of the user's own, which nothing on a command line can make.
        return value
    # None first, or the word would do for a str; and the text before the literal, or
    # Decimal would get its digits from a float.
    tries = (value, text) if value is None else (text, value)
    problem = ""
    for given in tries:
        try:
            return msgspec.convert(given, wanted, strict=False)
        except msgspec.ValidationError as error:
            problem = str(error)
    shown = getattr(wanted, "__name__", str(wanted))
    msg = f"--set {name}={text}: it is declared as {shown}. {problem}."
    raise Trouble(msg)


def _is_unknown(wanted: Any) -> bool:
    try:
        info = msgspec.inspect.type_info(wanted)
    except TypeError:
        return True
    kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return any(isinstance(kind, msgspec.inspect.CustomType) for kind in kinds)
