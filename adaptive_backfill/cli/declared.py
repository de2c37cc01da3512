"""What a backfill's class declares, for those who do not run it yet."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast, get_type_hints

from adaptive_backfill import Backfill, Checkpoint, MemoryStore
from adaptive_backfill._dsl.backfill import definition_of
from adaptive_backfill._dsl.state_type import state_type_of
from adaptive_backfill.cli.loading import BackfillClass

__all__ = ["Declared", "declared_by"]


@dataclass(frozen=True, slots=True)
class Declared:
    """What *cls* declares.

    Attributes:
        cls: The class.
        name: Its name in logs.
        checkpoint: Where its position is kept.
        parameters: What `run` may be given beside the options.
        required: Those of them that have no default.
        options: The options that there are for such a class.
        values: Those that it sets.
    """

    cls: BackfillClass
    name: str
    checkpoint: Checkpoint | None
    parameters: frozenset[str]
    required: tuple[str, ...]
    options: frozenset[str] = frozenset()
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def state_type(self) -> object:
        """The declared type of its states; `None` where there is none."""
        return state_type_of(self.cls, Backfill)

    @property
    def lasting(self) -> Checkpoint | None:
        """Its checkpoint, unless that goes with this process."""
        checkpoint = self.checkpoint
        if checkpoint is None or isinstance(checkpoint.store, MemoryStore):
            return None
        return checkpoint

    def annotation(self, parameter: str) -> object:
        """Return the type of *parameter*, or its text where that cannot be resolved."""
        for owner in self.cls.__mro__:
            written = inspect.get_annotations(owner).get(parameter)
            if written is not None:
                return _resolved(written, owner)
        return None


def declared_by(cls: BackfillClass) -> Declared:
    """Return what *cls* declares."""
    definition = definition_of(cls)
    return Declared(
        cls,
        name=str(definition.values["name"]),
        checkpoint=cast(
            "Checkpoint | None",
            definition.values.get(
                "checkpoint", definition.options["checkpoint"].default
            ),
        ),
        parameters=definition.parameters,
        required=definition.required,
        options=frozenset(definition.options),
        values=definition.values,
    )


def _resolved(written: object, owner: type) -> object:
    if not isinstance(written, str):
        return written
    alone = SimpleNamespace(__annotations__={"it": written})
    module = vars(sys.modules[owner.__module__])
    try:
        return get_type_hints(alone, module, dict(vars(owner)))["it"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        # Imported for type checkers only, mostly; or `Pool[Record]`, which asyncpg
        # has in its stubs and not at run time.
        return written
