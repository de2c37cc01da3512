"""Say aloud what a check cannot see: once a run for each remedy."""

from __future__ import annotations

import structlog
from typing_extensions import override

from adaptive_backfill._core.health import HealthContext
from adaptive_backfill.postgres._finding import Gap
from adaptive_backfill.postgres._terms import Terms

__all__ = ["keep_quiet", "tell_absent", "tell_unseen"]

_TOLD = "adaptive_backfill.postgres: what was warned of"


class _Nothing(set[str]):
    """Has been told everything already."""

    @override
    def __contains__(self, item: object) -> bool:
        return True


def keep_quiet(context: HealthContext) -> None:
    """Warn of nothing in the run of *context*: somebody else tells."""
    context.memory[_TOLD] = _Nothing()


def tell_unseen(check: str, gap: Gap, context: HealthContext, terms: Terms) -> None:
    """Warn that *check* sees only a part."""
    # Whichever check comes first: those that lack the same grant say the same.
    if _is_new(gap.remedy, context):
        structlog.get_logger("adaptive_backfill").warning(
            "health check is blind",
            backfill=context.name,
            run_id=context.run_id,
            check=check,
            reason=str(gap),
            allowed=terms.allow_blind,
        )


def tell_absent(check: str, gap: Gap, context: HealthContext) -> None:
    """Warn that *check* is left out of this run."""
    if _is_new(f"{check}: {gap.remedy}", context):
        structlog.get_logger("adaptive_backfill").warning(
            "health check is disabled",
            backfill=context.name,
            run_id=context.run_id,
            check=check,
            reason=str(gap),
        )


def _is_new(what: str, context: HealthContext) -> bool:
    told = context.memory.setdefault(_TOLD, set())
    if not isinstance(told, set) or what in told:
        return False
    told.add(what)
    return True
