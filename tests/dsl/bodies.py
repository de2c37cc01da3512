"""Class bodies to define, and stores that tell what was asked of them."""

from __future__ import annotations

from collections.abc import Callable
from types import new_class
from typing import Any

import pytest

from adaptive_backfill import DONE, Answer, Backfill, MemoryStore, Snapshot
from adaptive_backfill.errors import ConfigurationError


async def batch(self: object, state: object) -> Answer:
    return DONE


async def single(self: object, health_check: object) -> Answer:
    return DONE


def defined(
    body: dict[str, Any], *bases: type, name: str = "Users"
) -> type[Backfill[Any]]:
    """Return the class that *body* makes, named `Users`, wherever it is made."""
    # Calling `type` would do, but for bases that are generic.
    made = new_class(name, bases or (Backfill,), exec_body=lambda ns: ns.update(body))
    assert issubclass(made, Backfill)
    return made


def refusal(define: Callable[[], object]) -> str:
    """Return the whole message with which *define* is refused."""
    with pytest.raises(ConfigurationError) as refused:
        define()
    return str(refused.value)


def message(*problems: str, subject: str = "Users") -> str:
    return "\n".join(
        [f"{subject} cannot be used:", *(f"  - {problem}" for problem in problems)]
    )


class PlainStore:
    """Three methods, and a list of what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.kept: dict[str, Snapshot] = {}

    def load(self, name: str) -> Snapshot | None:
        self.asked.append(f"load {name}")
        return self.kept.get(name)

    def save(self, name: str, snapshot: Snapshot) -> None:
        self.asked.append(f"save {name}")
        self.kept[name] = snapshot

    def delete(self, name: str) -> None:
        self.asked.append(f"delete {name}")
        self.kept.pop(name, None)


class LeasingStore(MemoryStore):
    """A `MemoryStore` that tells who took a lease."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def acquire(self, name: str, run_id: str, state_type: object = None) -> Any:
        self.asked.append(f"acquire {name}")
        return await super().acquire(name, run_id, state_type)
