"""What tests of backfills need: time, checks and events under the test's control.

Beside it: `adaptive_backfill.testing.contracts`, suites that a checkpoint store of
your own has to pass, and `adaptive_backfill.testing.postgres`, a real PostgreSQL
server to throw away.
"""

from __future__ import annotations

from adaptive_backfill.testing.checks import ScriptedCheck
from adaptive_backfill.testing.clock import FakeClock
from adaptive_backfill.testing.events import capture
from adaptive_backfill.testing.replaying import Change, Replay, replay
from adaptive_backfill.testing.running import run, start
from adaptive_backfill.testing.tracing import Trace, record

__all__ = [
    "Change",
    "FakeClock",
    "Replay",
    "ScriptedCheck",
    "Trace",
    "capture",
    "record",
    "replay",
    "run",
    "start",
]
