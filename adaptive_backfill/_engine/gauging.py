"""Ask a check how near to its limit what it looks at is, where it can tell."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import TypeGuard

import structlog

from adaptive_backfill._core.health import HealthCheck, HealthContext
from adaptive_backfill._core.rules import is_number
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._engine.outside import ask

__all__ = ["Gauge", "is_load"]


class Gauge:
    """The method `load` of one check's function, in one run."""

    def __init__(
        self, check: HealthCheck, load: Callable[..., object], context: HealthContext
    ) -> None:
        self._check = check
        self._context = context
        self._load = partial(load, context) if _takes(load, context) else load
        self._is_told = False

    @classmethod
    def of(cls, check: HealthCheck, context: HealthContext) -> Gauge | None:
        """Return that of *check*; `None` where it has none."""
        load = getattr(check.fn, "load", None)
        return cls(check, load, context) if callable(load) else None

    async def read(self) -> object:
        """Return what it says; `None`, with one warning a run, where it raises."""
        given = await ask(self._load)
        if given.error is not None and not self._is_told:
            self._is_told = True
            structlog.get_logger("adaptive_backfill").warning(
                "health check tells no load",
                backfill=self._context.name,
                run_id=self._context.run_id,
                check=self._check.name,
                error=said_of_error(given.error),
            )
        return given.value


def is_load(value: object) -> TypeGuard[int | float]:
    """Whether *value* says how near a limit is: 0 or more, or that it cannot be said.

    NaN and infinity are what arithmetic makes of a limit of 0 or of a lost reading.
    Neither is healthy, so that they are for the pace to judge, as bad.
    """
    if isinstance(value, float) and (math.isnan(value) or value == math.inf):
        return True
    return is_number(value)


def _takes(load: Callable[..., object], context: HealthContext) -> bool:
    try:
        inspect.signature(load).bind(context)
    except TypeError:
        return False
    except ValueError:
        # It does not say.
        return True
    return True
