"""How busy the machine is with what is none of ours."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["Ticks", "foreign_between"]


class Ticks(NamedTuple):
    """Processor time so far: of all, spent by anybody, and spent by ours."""

    all: int
    busy: int
    ours: int

    @classmethod
    def now(cls, roots: set[int]) -> Ticks:
        """Look; ours are the processes *roots* and all that they have begun."""
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        numbers = list(map(int, words))
        idle = numbers[3] + numbers[4]
        return cls(sum(numbers), sum(numbers) - idle, _of(roots))


def foreign_between(before: Ticks, after: Ticks) -> float:
    """Return the share of the machine that others had."""
    spent = (after.busy - before.busy) - (after.ours - before.ours)
    return max(0.0, spent / max(1, after.all - before.all))


def _of(roots: set[int]) -> int:
    parents, spent = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        # Its own, and that of its children that are gone.
        spent[pid] = sum(map(int, fields[11:15]))
    return sum(ticks for pid, ticks in spent.items() if _descends(pid, parents, roots))


def _descends(pid: int, parents: dict[int, int], roots: set[int]) -> bool:
    while pid in parents:
        if pid in roots:
            return True
        pid = parents[pid]
    return False
