"""How dense the rows lie that there is something to do for, and what that may cost.

Where most rows need nothing, big batches are cheap: until the first dense one, which
then takes a hundred times as long. No size can foresee it, but it can be bounded by
what dense batches were seen to take.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

__all__ = ["GOOD", "UNKNOWN_DENSITY", "Density", "met"]

GOOD = 1.5
"""Times as long as expected that a batch may take to be one in good time."""

DENSER = 4.0
"""Times as many affected rows as a good batch had that the next may meet."""

WORK_KEPT, DENSITY_KEPT = 0.995, 0.999
"""What is kept, a batch, of the best work and the greatest density that were seen."""


class Density(NamedTuple):
    """What was seen of dense batches. It fades.

    Attributes:
        work: The most rows that a batch in good time affected.
        speed: The most rows a second that such a batch affected.
        share: The greatest share of its rows that a batch affected.
    """

    work: float = 0.0
    speed: float = 0.0
    share: float = 0.0

    def bearable(self, target: float) -> float:
        """Return the size that could be borne, should all of its rows count at once.

        That is what takes *target* seconds, or a few times what was borne already.
        """
        if self.share <= 0.0 or self.work <= 0.0:
            return inf
        return max(DENSER * self.work, target * self.speed) / self.share


UNKNOWN_DENSITY = Density()


def met(density: Density, size: int, rows: int | None, rate: float | None) -> Density:
    """Return *density* after a batch.

    Args:
        density: Before it.
        size: Rows asked for.
        rows: Rows affected; `None`: not known, and nothing changes.
        rate: Rows affected a second; `None` where the batch was not in good time.
    """
    if rows is None:
        return density
    work, speed = WORK_KEPT * density.work, WORK_KEPT * density.speed
    if rate is not None:
        work, speed = max(work, float(rows)), max(speed, rate)
    return Density(work, speed, max(DENSITY_KEPT * density.share, rows / size))
