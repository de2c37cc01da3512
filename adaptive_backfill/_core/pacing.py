"""How long to rest after a batch."""

from __future__ import annotations

from adaptive_backfill._core.answers import Slow, Verdict

__all__ = ["rest_after"]


def rest_after(delay: float, duration: float, verdict: Verdict) -> float:
    """Return the seconds to rest after a batch.

    Args:
        delay: The declared delay, in seconds.
        duration: What the batch took, in seconds.
        verdict: What the health checks said before it.

    Returns:
        *delay*; while *verdict* is `Slow`, at least *duration*, so that no more than
        half of the time is spent working.
    """
    if isinstance(verdict, Slow):
        return max(delay, duration)
    return delay
