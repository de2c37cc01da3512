"""How wishes from outside add up until a run hears of them."""

from __future__ import annotations

from dataclasses import replace

from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._ports import Wish

__all__ = ["needs_a_run", "wished"]


def needs_a_run(wish: Wish) -> bool:
    """Whether *wish* means the present run only, and nothing where there is none."""
    return wish.kind in ("stop", "set")


def wished(wishes: Wishes, wish: Wish) -> Wishes:
    """Return *wishes* with *wish* added."""
    match wish.kind:
        case "pause":
            return replace(wishes, paused=wish.by)
        case "resume":
            return replace(wishes, paused=None)
        case "stop":
            return replace(wishes, stop=True)
        case "set":
            return replace(wishes, values={**(wishes.values or {}), **wish.values})
