"""States of a declared type: the JSON that msgspec makes of it."""

from __future__ import annotations

import math
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, is_typeddict

import msgspec

from adaptive_backfill._core.codec.names import type_name
from adaptive_backfill._core.codec.sameness import culprit, difference
from adaptive_backfill._core.codec.words import described
from adaptive_backfill.errors import CheckpointError

__all__ = ["Typed", "is_open", "typed"]

_encode = msgspec.json.encode

_REFUSED = (TypeError, ValueError, OverflowError, AttributeError, LookupError)
"""What msgspec raises, and what a `__post_init__` of the user's may."""


class Typed:
    """Encodes the states of one declared type.

    Attributes:
        name: The type, as it is remembered beside each state.
    """

    def __init__(self, kind: object) -> None:
        self.name = type_name(kind)
        self._kind = kind
        try:
            # msgspec's own annotation leaves out the special forms that it accepts.
            declared: Any = kind
            self._decoder = msgspec.json.Decoder(declared)
        except (TypeError, NameError) as error:
            msg = (
                f"States of the type {self.name} cannot be kept as JSON: {error}. "
                "Declare another type, or none: then values describe themselves."
            )
            raise CheckpointError(msg) from error

    def encode(self, state: object) -> str:
        """Return *state* as text.

        Raises:
            CheckpointError: It would not come back as it is.
        """
        try:
            text = _encode(state)
        except RecursionError as error:
            raise CheckpointError(self._refusal("it is nested too deeply")) from error
        except _REFUSED as error:
            place, found = culprit(state, _fails)
            what = f"state{place} is {described(found)}: {error}"
            raise CheckpointError(self._refusal(what)) from error
        try:
            came = self._decoder.decode(text)
        except _REFUSED as error:
            what = self._what_failed(state, error)
            raise CheckpointError(self._refusal(what)) from error
        changed = difference(state, came)
        if changed is not None:
            what = (
                f"state{changed.place} is {described(changed.was)}, and would come "
                f"back as {described(changed.came)}"
            )
            raise CheckpointError(self._refusal(what))
        return text.decode()

    def decode(self, text: str) -> object:
        """Return the state that *text* keeps.

        Raises:
            CheckpointError: It does not fit the type.
        """
        try:
            return self._decoder.decode(text)
        except (*_REFUSED, RecursionError) as error:
            what = _in_words(error)
            msg = f"what is kept does not fit the declared type {self.name}: {what}"
            raise CheckpointError(msg) from error

    def is_record(self) -> bool:
        """Whether the type has named fields, at least in one of its cases."""
        return any(_has_fields(case) for case in _cases(self._kind))

    def _refusal(self, what: str) -> str:
        return (
            f"The state cannot be kept as the declared type {self.name}: {what}. "
            "Declare the type exactly, down to the items (tuple[datetime, UUID], not "
            "tuple), with moments in UTC, or change the value."
        )

    def _what_failed(self, state: object, error: Exception) -> str:
        place, found = culprit(state, _is_no_number)
        if _is_no_number(found):
            return f"state{place} is {found}, for which JSON has no word"
        said = _in_words(error)
        if " - at `state" in said:
            return said
        return f"state is {described(state)}: {said}"


@lru_cache(maxsize=128)
def typed(kind: object) -> Typed:
    """Return the encoder of *kind*."""
    return Typed(kind)


def is_open(kind: object) -> bool:
    """Whether *kind* declares nothing, so that values have to describe themselves."""
    return kind is None or kind is Any or kind is object or isinstance(kind, TypeVar)


def _fails(value: object) -> bool:
    try:
        _encode(value)
    except (*_REFUSED, RecursionError):
        return True
    return False


def _is_no_number(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _in_words(error: Exception) -> str:
    # msgspec calls the whole `$`, people call it the state.
    return str(error).replace("`$", "`state")


def _cases(kind: object) -> tuple[object, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _has_fields(case: object) -> bool:
    kind = get_origin(case) or case
    if kind is NoneType or not isinstance(kind, type):
        return False
    return is_typeddict(kind) or any(
        hasattr(kind, fields)
        for fields in ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__")
    )
