"""What users subclass."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Generic, Literal

from typing_extensions import override

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.answers import State
from adaptive_backfill._core.options import OPTIONS, Option
from adaptive_backfill._core.result import RunResult
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.snapshot import Checkpoint
from adaptive_backfill._dsl.definition import ABSTRACT, Definition, define
from adaptive_backfill._dsl.preparing import Prepared, prepare
from adaptive_backfill._engine.handle import Run
from adaptive_backfill._engine.session import Session
from adaptive_backfill._ports import Clock
from adaptive_backfill.errors import ConfigurationError

__all__ = ["Backfill", "definition_of", "prepared_for", "session_of"]


class Backfill(Generic[State]):
    """A backfill: declare options as class attributes, and write the handler.

    Define ``async def handle_batch(self, state)`` for batches: it does one batch and
    returns ``Next(state, rows=n)``, `DONE`, ``Halt(reason)`` or ``Fail(reason)``. Or
    define ``async def handle(self, health_check)`` for a single operation. Then
    ``await MyBackfill.run()``.

    Times are seconds, as int, float or `timedelta`. Every option may be overridden in
    `run`, where `None` switches an optional one off. An annotated attribute that is
    no option (``client: Client``) is a parameter of `run`.

    A handler must not block the event loop: blocking code inside ``async def`` cannot
    be interrupted by `timeout`.

    Example:
        >>> class Users(Backfill[int]):
        ...     initial_state = 0
        ...     async def handle_batch(self, state: int) -> Answer[int]:
        ...         users = await fetch(state, 100)
        ...         if not users:
        ...             return DONE
        ...         await migrate(users)
        ...         return Next(state + len(users), rows=len(users))
    """

    name: str
    """The key in checkpoints, logs and telemetry. By default ``module.ClassName``; not
    inherited."""
    initial_state: Any
    """What the first batch is handed: a value, deep-copied for each run, or a method.
    By default `None`."""
    mode: Literal["async", "sync"]
    """``"async"``, the default: checks run in the background, batches read the latest
    verdict. ``"sync"``: checks run before each batch."""
    health_checks: Sequence[Any] | None
    """Callables or `HealthCheck`s, asked before every batch. By default none."""
    health_interval: float | timedelta
    """Seconds from the end of one sampling to the next; 5 by default."""
    health_timeout: float | timedelta
    """Seconds that one check may take; 5 by default."""
    evaluate: Any
    """Findings to verdict: `worst_of` (the default), `quorum`, `weighted`, your own."""
    batch_size: int
    """Rows a batch, at least 1; read ``self.batch_size``. By default `None`."""
    pace: Adaptive | None
    """``Adaptive()`` lets size and pace follow what the database bears. By default
    `None`: as declared."""
    duty: float
    """Share of the time that it works at most, above 0 and at most 1, the default."""
    max_rows_per_second: float | None
    """Rows a second at most, above 0. By default `None`: no cap."""
    max_wal_per_second: float | None
    """Bytes of WAL a second at most, above 0; on PostgreSQL only. By default `None`."""
    windows: str | Sequence[str] | None
    """When it may work: ``"22:00-06:00 Europe/Berlin"``, with days before it,
    ``"Mon-Fri 22:00-06:00"``, or several of which any may be open; UTC where there is
    no zone. It is paused outside of them. By default `None`: always."""
    canary: int | None
    """Rows to do first, before `on_canary`, or ``resume``, lets it go on. By default
    `None`: it just goes on."""
    timeout: float | timedelta | None
    """Seconds that a batch may take, above 0. By default `None`: no limit."""
    delay_between_batches: float | timedelta
    """Seconds to rest after each batch; 0 by default."""
    max_pause: float | timedelta | None
    """Seconds of bad health waited out before the run halts; 3600 by default."""
    retry: Retry | None
    """How a failed batch is tried again. By default it is not."""
    total: Any
    """Rows there are, an int or a method: gives share and eta. By default `None`."""
    max_batches: int | None
    """Stop, to be resumed, after so many batches. By default `None`."""
    telemetry_prefix: str | Sequence[str]
    """What event names begin with; ``"backfill"`` by default."""
    checkpoint: Checkpoint | None
    """Where the position is kept. By default nowhere."""
    once: bool
    """Whether a finished run is remembered, and the next one skipped."""
    if_running: Literal["raise", "skip", "wait"]
    """What to do where another run has the name; ``"raise"`` by default."""

    _definition: ClassVar[Definition] = ABSTRACT
    _options: ClassVar[Mapping[str, Option]] = OPTIONS

    @classmethod
    def _own_problems(cls, root: type) -> Iterator[str]:
        """Yield what is wrong for a kind of backfill of the library's own."""
        yield from ()

    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        """Return the run as a kind of backfill of the library's own has it."""
        return prepared

    @classmethod
    def _session(cls, prepared: Prepared, clock: Clock | None) -> Session:
        """Return the run that *prepared* makes."""
        return Session(
            prepared.work, prepared.options, restart=prepared.restart, clock=clock
        )

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls._own_problems(Backfill)
        cls._definition = define(cls, Backfill, cls._options, own)

    @classmethod
    async def run(cls, /, **overrides: Any) -> RunResult:
        """Run to the end, from the checkpoint where there is one.

        Args:
            overrides: Options, parameters, handlers and hooks for this run only, and
                `restart=True` to throw the checkpoint away first.

        Returns:
            How it ended. Trouble at run time is returned, never raised; call
            `raise_for_status` to have it raised.

        Raises:
            ConfigurationError: The class, or an override, is not usable.
            AlreadyRunning: Another run has the name, and `if_running` is ``"raise"``.
        """
        return await session_of(cls, overrides, resumable=None).run()

    @classmethod
    def start(cls, /, *, grace: float | timedelta = 10.0, **overrides: Any) -> Run:
        """Return a handle that runs in the background, for ``async with``.

        Args:
            grace: Seconds that the batch under way may take to finish when the block
                is left; then it is cancelled.
            overrides: As in `run`.
        """
        return Run(lambda: session_of(cls, overrides), grace)

    # Hooks do nothing unless a class defines them; these are here so that `super()`
    # works in mixins. `*args: Any, **kwargs: Any` lets any signature override them.
    def on_success(self, *args: Any, **kwargs: Any) -> Any:
        """Hear of each batch (`state`) that is done and saved, or of the `result`."""
        return _NOTHING

    def on_canary(self, *args: Any, **kwargs: Any) -> Any:
        """Look at the `result` of the first rows, where `canary` says how many.

        Return `True` or `OK` to let the run go on, `False` or ``Halt(reason)`` to halt
        it, `None` to have it wait for ``resume``; where nobody could, that halts it.
        """
        return _NOTHING

    def on_error(self, *args: Any, **kwargs: Any) -> Any:
        """Hear once of the `error`, and the `state`, of a run that failed."""
        return _NOTHING

    def on_complete(self, *args: Any, **kwargs: Any) -> Any:
        """Hear once of the `result` of a run that reached an ending of its own."""
        return _NOTHING


class _Nothing:
    """What `super().on_success(state)` gives: it may be awaited, and need not be."""

    def __await__(self) -> Generator[None]:
        yield from ()


_NOTHING = _Nothing()


def definition_of(cls: type[Backfill[Any]]) -> Definition:
    """Return what *cls* declares."""
    return cls._definition


def prepared_for(cls: type[Backfill[Any]], overrides: Mapping[str, object]) -> Prepared:
    """Return what a run of *cls* would be made of.

    Raises:
        ConfigurationError: The class, or an override, is not usable.
    """
    prepared = cls._adapted(prepare(cls, Backfill, cls._definition, overrides))
    if prepared.options.max_wal_per_second is not None and prepared.work.wal is None:
        msg = (
            "max_wal_per_second needs a backfill that knows its WAL: subclass "
            "PostgresBackfill or TableBackfill of adaptive_backfill.postgres"
        )
        raise ConfigurationError([msg], subject=cls.__qualname__)
    return prepared


def session_of(
    cls: type[Backfill[Any]],
    overrides: dict[str, Any],
    *,
    clock: Clock | None = None,
    resumable: bool | None = True,
) -> Session:
    """Return a run of *cls*, ready to begin.

    Args:
        clock: What it goes by, where not by the real one.
        resumable: Whether somebody could resume it from a pause, as by its handle;
            `None`: only by its store.

    Raises:
        ConfigurationError: The class, or an override, is not usable.
    """
    prepared = prepared_for(cls, overrides)
    if resumable is not None:
        work = replace(prepared.work, can_be_resumed=resumable)
        prepared = prepared._replace(work=work)
    return cls._session(prepared, clock)
