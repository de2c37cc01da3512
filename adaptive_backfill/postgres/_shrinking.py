"""How many keys to take at once, after batches that failed.

Two laws that do not know of each other. What was too much halves a ceiling, which
comes back by an eighth with each batch that is done, so that a limit which is there to
stay is met seldom. What a bad row spoilt is halved until the row is alone: of the keys
among which it must be, half are taken; done, they are not suspect any more.
"""

from __future__ import annotations

__all__ = ["Shrinking"]

_GROWS_BY = 8


class Shrinking:
    """The size of the next batch.

    Attributes:
        size: Keys that the batch under way may take.
    """

    def __init__(self) -> None:
        self.size = 0
        self._ceiling: int | None = None
        self._suspect = 0

    def of(self, declared: int) -> int:
        """Return how many keys to take, at least 1 and at most *declared*."""
        self.size = declared
        if self._ceiling is not None:
            self.size = min(self.size, self._ceiling)
            if self._ceiling >= declared:
                self._ceiling = None
        if self._suspect:
            self.size = min(self.size, max(1, self._suspect // 2))
        return self.size

    @property
    def seeks(self) -> bool:
        """Whether a bad row is being looked for."""
        return self._suspect > 0

    def too_much(self) -> None:
        """Take half from now on."""
        self._ceiling = max(1, self.size // 2)

    def bad_row(self) -> bool:
        """Look for it in half of the batch; return whether it is alone already."""
        alone = self.size <= 1
        self._suspect = 0 if alone else self.size
        return alone

    def done(self) -> None:
        """Take note that the batch was done."""
        self._suspect = max(0, self._suspect - self.size)
        if self._ceiling is not None:
            self._ceiling += max(1, self._ceiling // _GROWS_BY)
