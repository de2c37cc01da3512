"""Backfills that watch the database and pace themselves.

Subclass `Backfill`, write `handle_batch`, and ``await MyBackfill.run()``.

How to read this package, from the ground up; each floor imports only from beneath:

* `errors`: every error.
* `_core`: values and laws; pure functions, no IO, no clock.
* `_ports`: what the engine needs from outside, as protocols.
* `telemetry`: who listens.
* `_engine`: the one loop that carries out what the core decides.
* `_dsl`: the class that users subclass, and what their classes mean.
* `testing`: a fake clock, scripted checks, contract suites, a throw-away server.
* `postgres`: the only floor that knows asyncpg.
* `cli`: the command line.
"""

from __future__ import annotations

from adaptive_backfill import errors, telemetry
from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.answers import (
    DONE,
    OK,
    Answer,
    Done,
    Fail,
    Halt,
    Next,
    Pause,
    Slow,
    Verdict,
)
from adaptive_backfill._core.evaluation import quorum, weighted, worst_of
from adaptive_backfill._core.health import (
    CheckResult,
    HealthCheck,
    HealthContext,
    Reason,
)
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.snapshot import Checkpoint, Snapshot
from adaptive_backfill._dsl.backfill import Backfill
from adaptive_backfill._engine.handle import Run
from adaptive_backfill._engine.memory_store import MemoryStore
from adaptive_backfill._engine.runs import Runs
from adaptive_backfill._engine.sqlite_store import SqliteStore

__all__ = [
    "DONE",
    "OK",
    "Adaptive",
    "Answer",
    "Backfill",
    "CheckResult",
    "Checkpoint",
    "Done",
    "Fail",
    "Halt",
    "HealthCheck",
    "HealthContext",
    "MemoryStore",
    "Next",
    "Pause",
    "Progress",
    "Reason",
    "Retry",
    "Run",
    "RunResult",
    "RunStatus",
    "Runs",
    "Slow",
    "Snapshot",
    "SqliteStore",
    "Verdict",
    "errors",
    "quorum",
    "telemetry",
    "weighted",
    "worst_of",
]
