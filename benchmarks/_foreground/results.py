"""What was measured, and how it is kept in a file."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from _foreground.measuring import Window
from _foreground.modes import FULL, NONE

__all__ = ["MOST_FOREIGN", "Cell", "Results"]

MOST_FOREIGN = 0.08
"""Share of the machine that others may have had in a window; a window in which they
had more is left out where two others remain."""


@dataclass
class Cell:
    """One mode beside one load: medians over its windows, with the p99's range.

    Attributes:
        speed: Rows a second, as a share of that of `FULL`.
        p99: Times that of no backfill.
        least, most: The range of that.
        windows: How many were used, and how many there are.
    """

    speed: float
    p99: float
    least: float
    most: float
    windows: tuple[int, int]


@dataclass
class Results:
    """Windows by load and mode.

    Attributes:
        rows: Of the table.
        windows: By load, then by mode.
    """

    rows: int
    windows: dict[str, dict[str, list[Window]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, rows: int) -> Results:
        if path is None or not path.exists():
            return cls(rows)
        kept = json.loads(path.read_text())
        windows = {
            load: {
                mode: [Window(**window) for window in each]
                for mode, each in modes.items()
            }
            for load, modes in kept["windows"].items()
        }
        return cls(kept["rows"], windows)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    def add(self, load: str, mode: str, window: Window) -> None:
        self.windows.setdefault(load, {}).setdefault(mode, []).append(window)

    def cell(self, load: str, mode: str) -> Cell | None:
        """Return what *mode* came to; `None` where something is missing."""
        used, idle, full = (self._used(load, each) for each in (mode, NONE, FULL))
        if not used or not idle or not full:
            return None
        usual = statistics.median(window.p99 for window in idle)
        best = statistics.median(window.speed for window in full)
        ratios = [window.p99 / usual for window in used]
        return Cell(
            speed=statistics.median(window.speed for window in used) / best,
            p99=statistics.median(ratios),
            least=min(ratios),
            most=max(ratios),
            windows=(len(used), len(self.windows[load][mode])),
        )

    def usual(self, load: str) -> float:
        """Return the p99 of no backfill, in milliseconds."""
        return statistics.median(window.p99 for window in self._used(load, NONE))

    def usual_range(self, load: str) -> tuple[float, float]:
        """Return the least and the greatest p99 of no backfill, in milliseconds."""
        idle = [window.p99 for window in self._used(load, NONE)]
        return min(idle), max(idle)

    def _used(self, load: str, mode: str) -> list[Window]:
        windows = self.windows.get(load, {}).get(mode, [])
        clean = [window for window in windows if window.foreign <= MOST_FOREIGN]
        return clean if len(clean) >= 2 else windows
