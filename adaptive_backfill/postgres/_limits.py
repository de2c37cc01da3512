"""How long a check may still take, so that it ends by itself and says why.

The engine cancels a check at its `health_timeout`. One that gives up a moment before
can still say what it waited for, and leaves a connection in a known state.
"""

from __future__ import annotations

import math

import anyio

__all__ = ["seconds_left"]

_SECONDS_WHERE_NOBODY_SAYS = 5.0
_SHARE = 0.9
_LEAST = 0.01


def seconds_left() -> float:
    """Return the seconds that whoever asks now should give itself; above 0."""
    left = anyio.current_effective_deadline() - anyio.current_time()
    if math.isinf(left) and left > 0:
        return _SECONDS_WHERE_NOBODY_SAYS
    return max(_LEAST, left * _SHARE)
