"""What a check makes of a finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from adaptive_backfill._core.rules import is_name

__all__ = ["Action", "Terms"]

Action: TypeAlias = Literal["halt", "pause", "slow"]
"""What a run does while a limit is broken."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a check makes of a finding.

    Attributes:
        action: What a broken limit leads to.
        name: The check's name, if not its own.
        allow_blind: Whether to go by what is seen where something is not.
    """

    action: Action
    name: str | None = None
    allow_blind: bool = False

    @property
    def unknown(self) -> Action:
        """What it leads to that nothing can be told.

        Unknown is not healthy: a check that only slows still stops for what it cannot
        tell, as it does where it is blind.
        """
        return "pause" if self.action == "slow" else self.action

    def problems(self) -> list[str]:
        """Return what is wrong with these."""
        found: list[str] = []
        if self.action not in get_args(Action):
            words = " or ".join(map(repr, get_args(Action)))
            found.append(f"action must be {words}, not {self.action!r}")
        if self.name is not None and not is_name(self.name):
            found.append(f"name must be a non-empty str, not {self.name!r}")
        if not isinstance(self.allow_blind, bool):
            found.append(f"allow_blind must be True or False, not {self.allow_blind!r}")
        return found
