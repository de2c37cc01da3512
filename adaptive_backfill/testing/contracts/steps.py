"""The steps that the suites are made of."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TypeVar

from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._ports import Held, Lease, LeaseStore

__all__ = ["NAME", "OTHER", "result_of", "running", "settled", "taken"]

NAME = "users_v2"
OTHER = "orders"

_T = TypeVar("_T")


async def settled(given: Awaitable[_T] | _T) -> _T:
    """Return *given*, awaited where it is to be."""
    return await given if inspect.isawaitable(given) else given


async def taken(store: LeaseStore, run_id: str, name: str = NAME) -> Lease:
    """Return the lease of *name*, which is free."""
    lease = await store.acquire(name, run_id)
    assert not isinstance(lease, Held), f"{name} is held by {lease.run_id}"
    return lease


def running(run_id: str, name: str = NAME) -> Progress:
    """Return what a run may show while it runs."""
    return Progress(name, run_id, "running", 1, batches=1, rows=10, eta=5.0)


def result_of(
    run_id: str, status: RunStatus, name: str = NAME, *, batches: int = 0
) -> RunResult:
    """Return what a run may end in."""
    return RunResult(name, run_id, status, batches=batches)
