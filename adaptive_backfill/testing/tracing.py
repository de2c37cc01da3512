"""Traces: what a run saw of its batches and of its health, as lines of JSON.

One observation a line, with the seconds since the first one::

    {"at": 0.0, "batch": {"seconds": 0.0041, "size": 500, "rows": 500}}
    {"at": 5.0, "seen": {"load": 0.62, "seconds": 5.0, "rate": 101000.0}}

`rows` is left out where it is not known; of `seen`, `load` and `rate` where there is
none, and `tripped`, `slow` and `fresh` where they are as usual.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import msgspec
import structlog

from adaptive_backfill import telemetry
from adaptive_backfill._core.pacing_level import Seen
from adaptive_backfill._core.pacing_size import Batch
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.telemetry import Event

__all__ = ["Trace", "record"]


@dataclass(frozen=True, slots=True)
class Trace:
    """What a run saw.

    Attributes:
        batches: When each batch ended, in seconds, and the batch.
        seen: When each health sample came, in seconds, and what it said.
    """

    batches: tuple[tuple[float, Batch], ...] = ()
    seen: tuple[tuple[float, Seen], ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Trace:
        """Return the trace in the file at *path*.

        Raises:
            ConfigurationError: A line is no observation; all such lines are named.
            OSError: The file cannot be read.
        """
        with Path(path).open(encoding="utf-8") as lines:
            return cls.parse(lines, subject=f"trace {str(path)!r}")

    @classmethod
    def parse(cls, lines: Iterable[str], *, subject: str = "trace") -> Trace:
        """Return the trace that *lines* are; empty ones are passed over.

        Raises:
            ConfigurationError: As of `read`.
        """
        batches, seen, problems = [], [], []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                known = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError as error:
                problems.append(f"line {number} is no observation: {error}")
                continue
            if known.batch is not None:
                batches.append((known.at, Batch(*msgspec.structs.astuple(known.batch))))
            if known.seen is not None:
                seen.append((known.at, Seen(*msgspec.structs.astuple(known.seen))))
        if problems:
            raise ConfigurationError(problems, subject=subject)
        return cls(tuple(sorted(batches, key=_at)), tuple(sorted(seen, key=_at)))

    def lines(self) -> Iterator[str]:
        """Yield the lines of this trace, in order of time."""
        told: list[tuple[float, Batch | Seen]] = [*self.batches, *self.seen]
        for at, what in sorted(told, key=_at):
            yield _line(at, what)

    def write(self, path: str | Path) -> None:
        """Write this trace to the file at *path*, which is replaced."""
        text = "".join(f"{line}\n" for line in self.lines())
        Path(path).write_text(text, encoding="utf-8")


@contextmanager
def record(
    path: str | Path,
    pattern: str = "**",
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Record a run, the first that begins while the block runs, in a file.

    Args:
        path: Where to; a file that is there is replaced.
        pattern: Which events to listen to, as of `telemetry.attach`; the `start` of
            the run has to be among them.
        clock: Seconds, from anywhere.
    """
    handler_id = f"adaptive_backfill.testing.record.{next(_ids)}"
    with Path(path).open("w", encoding="utf-8") as file:
        recorder = _Recorder(file, clock)
        telemetry.attach(handler_id, pattern, recorder)
        try:
            yield
        finally:
            telemetry.detach(handler_id)
        if recorder.run is None:
            structlog.get_logger("adaptive_backfill").warning(
                "nothing recorded: no run began while its start was listened to",
                path=str(path),
                pattern=pattern,
            )


class _Recorder:
    """A telemetry handler that writes what it hears of one run.

    Attributes:
        run: The id of that run, once it has begun.
    """

    def __init__(self, file: TextIO, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._began: float | None = None
        self.run: object = None
        # Sizes of the batches under way: several, where there are workers.
        self._sizes: dict[tuple[object, ...], float] = {}

    def __call__(self, event: Event) -> None:
        run_id = event.metadata["run_id"]
        if self.run is None and _is_start(event):
            self.run = run_id
        if self.run is None or run_id != self.run:
            return
        numbers = event.measurements
        if event.name.endswith("batch.start"):
            if "size" in numbers:
                self._sizes[_key(event)] = numbers["size"]
        elif event.name.endswith(("batch.success", "batch.done")):
            wanted = self._sizes.pop(_key(event), None)
            size = numbers.get("size", wanted)
            if size:
                rows = numbers.get("rows")
                known = None if rows is None else int(rows)
                # What the pace went by: with COMMIT, where there is one.
                seconds = numbers.get("database", numbers["duration"])
                self._write(Batch(seconds, int(size), known))
        elif event.name.endswith("pace.sample"):
            self._write(
                Seen(
                    load=_finite(numbers.get("load")),
                    tripped=bool(numbers["tripped"]),
                    slow=bool(numbers["slow"]),
                    fresh=bool(numbers["fresh"]),
                    rate=numbers.get("rate"),
                    seconds=numbers["seconds"],
                    said=_text(event.metadata["said"]),
                    gauge=_text(event.metadata["gauge"]),
                    pending=bool(numbers["pending"]),
                )
            )

    def _write(self, what: Batch | Seen) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        self._file.write(f"{_line(now - self._began, what)}\n")


class _BatchLine(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    seconds: float
    size: int
    rows: int | None = None


class _SeenLine(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    load: float | None = None
    tripped: bool = False
    slow: bool = False
    fresh: bool = True
    rate: float | None = None
    seconds: float
    said: str | None = None
    gauge: str | None = None
    pending: bool = False


class _Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    at: float
    batch: _BatchLine | None = None
    seen: _SeenLine | None = None


_ids = itertools.count(1)


def _key(event: Event) -> tuple[object, ...]:
    """Return what tells a batch from others of its run. Shares count for themselves."""
    told = event.metadata
    return told.get("worker"), told.get("share"), event.measurements["batch"]


def _finite(load: float | None) -> float | None:
    """Return *load* as JSON can say it; what is no number is bad, as to the pace."""
    if load is None or math.isfinite(load):
        return load
    return 1.0 if math.isnan(load) else sys.float_info.max


def _text(told: object) -> str | None:
    return told if isinstance(told, str) else None


def _is_start(event: Event) -> bool:
    """Whether a run, not a batch of one, begins."""
    return event.name.endswith(".start") and "resumed" in event.metadata


def _at(told: tuple[float, object]) -> float:
    return told[0]


def _line(at: float, what: Batch | Seen) -> str:
    if isinstance(what, Batch):
        line = _Line(round(at, 6), batch=_BatchLine(*what))
    else:
        line = _Line(round(at, 6), seen=_SeenLine(**what._asdict()))
    return msgspec.json.encode(line).decode()
