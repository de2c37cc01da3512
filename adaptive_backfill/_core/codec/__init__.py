"""States as text and back, for stores that outlive the process.

Rule: what comes back is what was there, in type and value, or nothing comes back. So
every state is read again before it is kept, and one that would come back as anything
else is refused by name. There is no pickle.

A state is kept in one of two forms. Where the backfill declares its type, it is the
plain JSON of that type; where it does not, values describe themselves. The form is
remembered beside the text, with the version of the codec and the type's name.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from adaptive_backfill._core.codec.names import NotFound, imported
from adaptive_backfill._core.codec.sameness import culprit, difference
from adaptive_backfill._core.codec.tagged import Find, Unknown, packed, unpacked
from adaptive_backfill._core.codec.typed import Typed, is_open, typed
from adaptive_backfill._core.codec.words import described
from adaptive_backfill.errors import CheckpointError

__all__ = ["Encoded", "decode", "encode", "self_described"]

TAGGED = "tagged/1"
TYPED = "typed/1"

_PLAIN = frozenset({type(None), bool, int})
_START_OVER = "start over with run(restart=True)"

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode


class Encoded(NamedTuple):
    """A state as it is kept.

    Attributes:
        text: JSON.
        form: How to read it: the codec's version, and the declared type's name.
    """

    text: str
    form: str


def encode(state: object, state_type: object = None) -> Encoded:
    """Return *state* as text that is known to come back as it is.

    Args:
        state: Any value.
        state_type: The declared type; `None`, `Any` or `object` where there is none.

    Raises:
        CheckpointError: It cannot come back the same; names the type and the place.
    """
    if is_open(state_type):
        return Encoded(_described_text(state), TAGGED)
    codec = typed(state_type)
    return Encoded(codec.encode(state), f"{TYPED} {codec.name}")


def decode(encoded: Encoded, state_type: object = None) -> object:
    """Return the state that was encoded.

    A declared type may have gained fields with defaults, and lost fields, since.

    Args:
        encoded: What `encode` returned.
        state_type: The type that is declared now.

    Raises:
        CheckpointError: It does not fit *state_type*, or cannot be read.
    """
    text, form = encoded
    version, _, name = form.partition(" ")
    if version == TAGGED:
        state = self_described(text, imported)
        if not is_open(state_type):
            # It has to be a value of the type that is declared by now.
            typed(state_type).encode(state)
        return state
    if version != TYPED:
        msg = (
            f"The state is kept in the form {form!r}, which this version of "
            "adaptive_backfill does not know. Upgrade to the version that wrote it."
        )
        raise CheckpointError(msg)
    if is_open(state_type):
        msg = (
            f"The state is kept as {name}, and now no type is declared. Declare "
            f"Backfill[{name.rpartition('.')[2]}] again, or {_START_OVER}."
        )
        raise CheckpointError(msg)
    return _of_type(text, name, typed(state_type))


def self_described(text: str, find: Find) -> object:
    """Return the value that describes itself in *text*.

    Args:
        text: What `encode` made without a type.
        find: Finds a class by its module and its qualified name.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        return unpacked(_from_json(text), find)
    except (NotFound, Unknown) as error:
        msg = (
            f"The state cannot be read: {error}. Bring back what it was kept with, or "
            f"{_START_OVER}."
        )
        raise CheckpointError(msg) from error
    except (
        TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
        RecursionError,
    ) as error:  # fmt: skip
        msg = (
            f"The state cannot be read: {type(error).__name__}: {error}, in "
            f"{described(text)}. Bring back what it was kept with, or {_START_OVER}."
        )
        raise CheckpointError(msg) from error


def _of_type(text: str, name: str, codec: Typed) -> object:
    cases = set(codec.name.split(" | "))
    if cases.issuperset(name.split(" | ")) or (
        # A record may be renamed or moved: its fields say whether it fits.
        text.startswith("{") and codec.is_record()
    ):
        try:
            return codec.decode(text)
        except CheckpointError as error:
            msg = f"The state cannot be read: {error}. {_declared_again(name)}"
            raise CheckpointError(msg) from error
    msg = (
        f"The state cannot be read: it is kept as {name}, and now {codec.name} is the "
        f"declared type. {_declared_again(name)}"
    )
    raise CheckpointError(msg)


def _declared_again(name: str) -> str:
    return f"Declare the type that it was kept with ({name}), or {_START_OVER}."


def _described_text(state: object) -> str:
    try:
        text = _to_json(packed(state)).decode()
    except RecursionError as error:
        raise CheckpointError(_refusal("it is nested too deeply")) from error
    except (Unknown, ValueError, OverflowError, AttributeError) as error:
        place, found = culprit(state, _fails)
        what = f"state{place} is {described(found)}: {error}"
        raise CheckpointError(_refusal(what)) from error
    if type(state) not in _PLAIN and type(state) is not str:
        _check(state, text)
    return text


def _check(state: object, text: str) -> None:
    try:
        came = self_described(text, imported)
    except CheckpointError as error:
        raise CheckpointError(_refusal(str(error))) from error
    changed = difference(state, came)
    if changed is not None:
        what = (
            f"state{changed.place} is {described(changed.was)}, and would come back as "
            f"{described(changed.came)}"
        )
        raise CheckpointError(_refusal(what))


def _fails(value: object) -> bool:
    try:
        _to_json(packed(value))
    except (Unknown, ValueError, OverflowError, AttributeError, RecursionError):
        return True
    return False


def _refusal(what: str) -> str:
    return (
        f"The state cannot be kept: {what}. Use plain values, or a dataclass declared "
        "at the top of a module; or declare the state's type: Backfill[State]."
    )
