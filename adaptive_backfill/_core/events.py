"""What a run tells the world.

| event | measurements | metadata, beside `backfill`, `run_id`, `mode` |
| --- | --- | --- |
| `start` | | `resumed`, `state` |
| `stop` | `duration`, `batches`, `rows`, `paused` | `outcome`, `state`, `error` |
| `batch.start` | `batch`, `size` | `state`, `attempt` |
| `batch.success` | `batch`, `duration`, `rows` | `state`, `next_state`, `attempt` |
| `batch.done` | `batch`, `duration`, `rows` | `state`, `result`, `attempt` |
| `batch.error` | `batch`, `duration` | `state`, `error`, `attempt` (`Fail`) |
| `batch.exception` | `batch`, `duration` | `state`, `error`, `attempt`, `outcome` |
| `batch.timeout` | `batch`, `duration` | `state`, `error`, `attempt` |
| `batch.halt` | `batch`, `duration` | `state`, `error`, `attempt` (`Halt`) |
| `batch.retry` | `batch`, `attempt`, `wait` | `state`, `error` |
| `health_check.halt`, `health_check.slow` | | `results`, `reasons` |
| `pause` | | `results`, `reasons` |
| `resume` | `paused` | `reasons` |
| `pace.change` | `batch_size`, `delay`, `duty`, `level` | `reasons` |
| `pace.sample` | `load`, `rate`, `level`, `seconds`, and flags | `gauge`, `said` |
| `checkpoint.save` | `duration` | `state` |
| `hook.exception` | | `hook`, `error` |

`duration` ends before the save. Where both are one transaction, `batch.success` and
`batch.done` have two more measurements: `database`, the seconds that the pace goes by,
from the change to COMMIT; and `size`, what the batch was for.

The flags of `pace.sample` are 0 or 1: `tripped`, `slow`, `fresh`, and `pending` where a
gauge has no news. `gauge` is the check whose `load` that is, `said` why it is tripped
or slow.

A single operation has `start`, one of `success`, `error`, `halt`, `exception`,
`timeout`, and `stop`; `retry` where it is tried again. Durations are seconds. A
measurement without a value is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["BATCH_EVENTS", "RUN_EVENTS", "SINGLE_EVENTS", "Event"]

RUN_EVENTS = (
    "start",
    "stop",
    "health_check.halt",
    "health_check.slow",
    "pause",
    "resume",
    "pace.change",
    "pace.sample",
    "checkpoint.save",
    "hook.exception",
)
BATCH_EVENTS = (
    "batch.start",
    "batch.success",
    "batch.done",
    "batch.error",
    "batch.exception",
    "batch.timeout",
    "batch.halt",
    "batch.retry",
)
SINGLE_EVENTS = ("success", "error", "halt", "exception", "timeout", "retry")


class Event(NamedTuple):
    """A moment of a run. A tuple, because several are made for every batch.

    Attributes:
        name: The prefix and the event, dotted: ``my_app.users.batch.success``.
        measurements: Numbers only; durations in float seconds.
        metadata: `backfill`, `run_id` and `mode` always; the rest where it applies.
    """

    name: str
    measurements: Mapping[str, float]
    metadata: Mapping[str, object]
