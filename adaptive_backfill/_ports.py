"""What the engine needs from outside, as protocols."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from adaptive_backfill._core.answers import Done
from adaptive_backfill._core.evaluation import HealthReport
from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.options import TUNABLE
from adaptive_backfill._core.result import Progress, RunResult
from adaptive_backfill._core.snapshot import Snapshot, Wishes

__all__ = [
    "CheckpointStore",
    "Clock",
    "Control",
    "Gate",
    "Handle",
    "Held",
    "Lease",
    "LeaseStore",
    "MaybeAwaitable",
    "Measured",
    "Measuring",
    "Monitor",
    "UnitOfWork",
    "Wish",
    "Work",
]

MaybeAwaitable: TypeAlias = Awaitable[object] | object
"""What a user's callable returns, sync or async."""

Handle: TypeAlias = Callable[..., Awaitable[object]]
"""A handler: takes the state, or `health_check`, and returns its answer."""


class Clock(Protocol):
    """Time, so that tests can own it."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...

    def wall(self) -> datetime:
        """Return the time of day, with its time zone."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*; 0 still lets other tasks run."""
        ...


class Monitor(Protocol):
    """Answers one question: may we go on?"""

    async def start(self) -> None:
        """Begin to watch. Returns once there is something to say."""
        ...

    async def verdict(self) -> HealthReport:
        """Return the present report. Raises nothing but cancellation."""
        ...

    @property
    def recheck_after(self) -> float | None:
        """Seconds after which to ask again while paused; `None`: it rings by itself."""
        ...

    async def stop(self) -> None:
        """Watch no more. Nothing of it is left running when this returns."""
        ...


class CheckpointStore(Protocol):
    """Keeps one snapshot a name. The methods may also be plain `def`."""

    def load(self, name: str) -> Awaitable[Snapshot | None]:
        """Return the snapshot, or `None` where there is none.

        Raises:
            Exception: It cannot be read. Never return `None` for that: the run
                would start over.
        """
        ...

    def save(self, name: str, snapshot: Snapshot) -> Awaitable[None]:
        """Replace the snapshot of *name*, all or nothing."""
        ...

    def delete(self, name: str) -> Awaitable[None]:
        """Forget the snapshot of *name*. Does nothing where there is none."""
        ...


class Lease(Protocol):
    """One run's hold of a name in a store: only its holder may write.

    Every method but `load` and `finished` raises `errors.LeaseLost`, and changes
    nothing, once another run has taken over.
    """

    @property
    def beat_every(self) -> float | None:
        """Seconds between two calls of `beat`; `None` where there is no need."""
        ...

    def load(self) -> Awaitable[Snapshot | None]:
        """Return the snapshot, or `None` where there is none."""
        ...

    def save(self, snapshot: Snapshot) -> Awaitable[None] | None:
        """Replace the snapshot and renew the lease, all or nothing.

        A returned awaitable may be abandoned, and the save still ends; `None` says
        that it is done already.
        """
        ...

    def finished(self) -> Awaitable[RunResult | None]:
        """Return how this name was finished, if it is remembered as such."""
        ...

    def untold(self) -> Awaitable[RunResult | None]:
        """Return the result of a run that committed its last batch and then fell.

        It is finished, and nobody was told. `None` where there is none, and where the
        store does not commit the finish together with the data.
        """
        ...

    def discard(self) -> Awaitable[None]:
        """Forget the snapshot and that it was ever finished."""
        ...

    def beat(self, progress: Progress) -> Awaitable[Wishes]:
        """Renew the lease, show *progress* to others, return what they wish."""
        ...

    def release(
        self, result: RunResult | None, *, handed_over: bool
    ) -> Awaitable[None]:
        """Give the name free, and keep *result* in its history.

        A `done` result also forgets the snapshot and is remembered as finished, in
        the same step. Releasing a lost lease does nothing.

        Args:
            result: How the run ended; `None` where it was cancelled.
            handed_over: Whether whoever stands by is to take over; False where the
                run reached an ending of its own. Without a result and not handed
                over, nothing was begun, and all that is known stays as it was.
        """
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """Another run holds the name.

    Attributes:
        run_id: That run.
        batches: Batches that it is known to have done.
        rows: Rows that it is known to have done.
    """

    run_id: str
    batches: int = 0
    rows: int = 0


@runtime_checkable
class LeaseStore(Protocol):
    """A store that lets one run at a time have a name, and remembers endings."""

    def acquire(
        self, name: str, run_id: str, state_type: object = None
    ) -> Awaitable[Lease | Held]:
        """Take *name* for *run_id*, or say who has it.

        Taking it withdraws the wishes to stop and to change options that were made
        to an earlier run; a pause stays. What `look` shows of the earlier run stays,
        too, until the first `beat`.

        Args:
            name: The checkpoint's name.
            run_id: Names the run.
            state_type: The declared type of the state, for typed encoding; `None`
                where values have to describe themselves.
        """
        ...

    def ending(self, name: str, run_id: str) -> Awaitable[RunResult | None]:
        """Return how *run_id* ended by itself; `None` if it did not, or not yet."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody outside wants of a run.

    Attributes:
        kind: What.
        by: Who asks, for the reason that people will read.
        values: For `"set"`: options and their new values, already parsed.
    """

    kind: Literal["pause", "resume", "stop", "set"]
    by: str
    values: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class Control(Protocol):
    """A store through which runs are seen and steered from any process."""

    def look(self, name: str | None = None) -> Awaitable[Sequence[Progress]]:
        """Return what is known of *name*, or of every name."""
        ...

    def wish(self, name: str, wish: Wish) -> Awaitable[None]:
        """Leave *wish* for the run of *name*.

        Raises:
            NotRunning: A wish to stop or to set, and nobody holds the name.
        """
        ...

    def history(self, name: str) -> Awaitable[Sequence[RunResult]]:
        """Return how the runs of *name* ended, newest first, 100 at most."""
        ...


class Measured(NamedTuple):
    """What the attempt that was committed last took.

    Attributes:
        seconds: Of the database's time.
        size: Rows or keys that it was for, where it was not for the size in force.
        locked: Seconds of them that it waited for locks.
    """

    seconds: float
    size: int | None = None
    locked: float = 0.0


@runtime_checkable
class Measuring(Protocol):
    """A unit of work that knows what its attempts took."""

    def measured(self) -> Measured:
        """Return what the attempt took that was committed, or rolled back, last."""
        ...


class UnitOfWork(Protocol):
    """What holds one attempt at a batch together with what is saved of it."""

    @property
    def atomic(self) -> bool:
        """Whether work and checkpoint are kept together.

        If so, a commit that failed left nothing behind, and the batch may be tried
        again; and an answer of `Done` is committed, too, with or without rows.
        """
        ...

    def within(self, handle: Handle) -> Handle:
        """Return *handle* so that each call of it is one attempt in here."""
        ...

    def commit(
        self, snapshot: Snapshot, done: Done | None
    ) -> Awaitable[CancelledError | None] | None:
        """Keep the attempt's work and *snapshot*, both or neither.

        Args:
            snapshot: Where the run stands with this batch.
            done: The answer that finished it, where it did.

        Returns:
            An awaitable of the cancellation that arrived meanwhile, and was held back
            until it was done; or `None`, where it is done already.
        """
        ...

    async def rollback(self) -> None:
        """Drop the work of an attempt that is not to be kept."""
        ...

    async def rest(self) -> None:
        """Hold nothing that others might need: the run is about to wait."""
        ...


class Gate(NamedTuple):
    """What each batch waits for beside the health, however that is asked.

    Attributes:
        checks: Healthy where the next batch may begin.
        is_open: Whether all of them are known to be, so that none needs to be asked.
    """

    checks: Sequence[HealthCheck]
    is_open: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """What the engine runs: one run's handler and hooks, bound and ready.

    Attributes:
        handle: Does a batch; takes the state, or `health_check` if single.
        title: What errors call the handler, such as ``Users.handle_batch``.
        single: Whether it is a single operation.
        on_success: Hears of each batch that is done and saved.
        on_error: Hears of the error, once.
        on_complete: Hears of the result, once.
        initial_state: Makes the first state, where nothing was loaded.
        state_given: Whether the caller gave the first state for this very run.
        total: Counts the rows there are, once.
        left: Counts the rows still to do from a state, once; with those done, the
            total. Goes before `total`, which is asked where this gives `None`.
        share: The share that is done at a state, from 0 to 1; `None` where that is
            told by the rows.
        on_canary: Looks at the result of the first rows, once.
        retuned: Puts changed options where the handler looks for them.
        tunable: The options that may be changed while it runs.
        wal: Says how many bytes of WAL its batches have written since it began;
            `None` where nobody knows.
        too_much: Whether an error may be because a batch was too big: with a pace, the
            next ones are smaller. By default any that is tried again.
        unit: Makes the unit of work over the run's lease; `None`: nothing to hold.
        resources: What is open from before the lease is taken until it is released.
        state_type: The declared type of the state.
        most_workers: Says how many batches there may be at once, with a pace, once
            `resources` are open; one by default.
        pool: The database pool that health checks may use.
        gate: What each batch waits for beside the health.
        quarantined: Says how many rows are set aside by now.
        can_be_resumed: Whether anybody could resume it from a pause, by a handle or by
            a wish in its store.
    """

    handle: Handle
    title: str
    single: bool
    initial_state: Callable[[], MaybeAwaitable]
    state_given: bool = False
    on_success: Callable[[object], MaybeAwaitable] | None = None
    on_error: Callable[..., MaybeAwaitable] | None = None
    on_complete: Callable[[RunResult], MaybeAwaitable] | None = None
    total: Callable[[], MaybeAwaitable] | None = None
    left: Callable[[object], MaybeAwaitable] | None = None
    share: Callable[[object], float | None] | None = None
    on_canary: Callable[[RunResult], MaybeAwaitable] | None = None
    retuned: Callable[[Mapping[str, object]], None] | None = None
    tunable: frozenset[str] = TUNABLE
    wal: Callable[[], Awaitable[int | None]] | None = None
    too_much: Callable[[BaseException], bool] | None = None
    unit: Callable[[Lease], UnitOfWork] | None = None
    resources: Callable[[], AbstractAsyncContextManager[object]] | None = None
    state_type: object = None
    most_workers: Callable[[], int] | None = None
    pool: object = None
    gate: Gate | None = None
    quarantined: Callable[[], int] | None = None
    can_be_resumed: bool = True
