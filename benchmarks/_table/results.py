"""What was measured, and how it is kept in a file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Bloat", "Flatness", "Results", "spread"]


@dataclass
class Flatness:
    """One run that was watched batch by batch.

    Attributes:
        rows: Of the table.
        speed: Rows a second between the first batch and the last.
        last_by_first: How long the last tenth took, by the first tenth.
        memory_first: MB of the process after a tenth of the batches.
        memory_last: MB of the process at the end.
    """

    rows: int
    speed: float
    last_by_first: float
    memory_first: float
    memory_last: float


@dataclass
class Bloat:
    """What one run left behind, with autovacuum on.

    Attributes:
        how: The run.
        rows: Of the table.
        seconds: It took.
        heap: The table's size after it, by before.
        index: The index's size after it, by before.
        dead: Dead rows left at the end, as statistics tell.
        vacuums: Autovacuums of the table that ended while it ran.
    """

    how: str
    rows: int
    seconds: float
    heap: float
    index: float
    dead: int
    vacuums: int


@dataclass
class Results:
    """Seconds by round and job, and the rest.

    Attributes:
        rows: Of the table.
        server: Its `server_version_num`.
        rounds: Seconds by the job's name, one dict a round.
    """

    rows: int
    server: int = 0
    rounds: list[dict[str, float]] = field(default_factory=list)
    flatness: list[Flatness] = field(default_factory=list)
    bloat: list[Bloat] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path | None, rows: int) -> Results:
        """Return what *path* holds, or nothing yet."""
        if path is None or not path.exists():
            return cls(rows)
        kept = json.loads(path.read_text())
        if kept["rows"] != rows:
            raise SystemExit(f"{path} holds rounds on {kept['rows']} rows, not {rows}")
        flatness = [Flatness(**one) for one in kept.pop("flatness")]
        bloat = [Bloat(**one) for one in kept.pop("bloat")]
        return cls(**kept, flatness=flatness, bloat=bloat)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    def speeds(self, job: str) -> list[float]:
        """Return rows a second, one a round that has *job*."""
        return [self.rows / taken[job] for taken in self.rounds if job in taken]

    def names(self) -> list[str]:
        """Return the jobs that were measured, in order."""
        return list(dict.fromkeys(name for taken in self.rounds for name in taken))

    def ratios(self, job: str, to: str) -> list[float]:
        """Return the speed of *job* by that of *to*, one a round that has both."""
        return [b / a for a, b in self._pairs(job, to)]

    def more_a_batch(self, job: str, than: str, size: int) -> list[float]:
        """Return the milliseconds a batch that *job* takes more, one a round."""
        batches = self.rows / size
        return [(a - b) / batches * 1e3 for a, b in self._pairs(job, than)]

    def _pairs(self, job: str, to: str) -> Iterator[tuple[float, float]]:
        for taken in self.rounds:
            if job in taken and to in taken:
                yield taken[job], taken[to]


def spread(values: list[float], form: str) -> str:
    """Return the median of *values*, and their range."""
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"
