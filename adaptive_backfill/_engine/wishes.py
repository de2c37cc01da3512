"""How wishes from outside add up until a run hears of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._ports import Wish

__all__ = ["needs_a_run", "wished", "wished_since", "with_values"]


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
            return with_values(wishes, wish.values)


def with_values(wishes: Wishes, values: Mapping[str, object]) -> Wishes:
    """Return *wishes* with *values* wished for, once more where they were before."""
    asked = dict(wishes.asked or {})
    for name in values:
        asked[name] = asked.get(name, 0) + 1
    return replace(wishes, values={**(wishes.values or {}), **values}, asked=asked)


def wished_since(before: Wishes, now: Wishes) -> dict[str, object]:
    """Return the values of *now* that are not *before*'s, or wished for once more.

    A store that does not count its wishes is believed by the values alone.
    """
    old, counted, counts = before.values or {}, before.asked or {}, now.asked or {}
    return {
        name: value
        for name, value in (now.values or {}).items()
        if name not in old
        or old[name] != value
        or (name in counts and counted.get(name) != counts[name])
    }
