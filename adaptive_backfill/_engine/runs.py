"""See and steer runs from any process, through the store that they share."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from typing import Literal, TypeAlias

from typing_extensions import override

from adaptive_backfill._core.options import tuned
from adaptive_backfill._core.result import Progress, RunResult
from adaptive_backfill._core.rules import is_name
from adaptive_backfill._ports import Control, Wish
from adaptive_backfill.errors import ConfigurationError

__all__ = ["Runs"]

# Within the class below, `list` is a method.
_AllProgress: TypeAlias = list[Progress]
_Results: TypeAlias = list[RunResult]


class Runs:
    """The runs of a store, wherever they are running.

    Names are those of the checkpoints. A wish is heard within two seconds, and obeyed
    after the batch under way.

    Args:
        store: A store that can carry wishes: `SqliteStore`, `PostgresStore`, or, within
            one process, `MemoryStore`.
        by: Who wishes; people read it as the reason of a pause. By default the user
            and the host.

    Raises:
        ConfigurationError: *store* cannot carry wishes, or *by* is empty.
    """

    def __init__(self, store: object, *, by: str | None = None) -> None:
        problems = _store_problems(store)
        if by is not None and not is_name(by):
            problems.append(f"by must be a non-empty str or None, not {by!r}")
        if problems or not isinstance(store, Control):
            raise ConfigurationError(problems, subject="Runs")
        self._store = store
        self._by = by

    @override
    def __repr__(self) -> str:
        return f"Runs({self._store!r})"

    async def list(self) -> _AllProgress:
        """Return what is known of every name, running or not, by its last run."""
        return [*await self._store.look()]

    async def status(self, name: str) -> Progress | None:
        """Return what is known of *name*, or `None`."""
        return next(iter(await self._store.look(_checked(name))), None)

    async def pause(self, name: str) -> None:
        """Pause *name* until `resume`, over restarts, and also before its first run."""
        await self._wish("pause", name)

    async def resume(self, name: str) -> None:
        """Withdraw the pause of *name*, whoever paused it."""
        await self._wish("resume", name)

    async def stop(self, name: str) -> None:
        """Stop the run of *name*; its next run resumes.

        Raises:
            NotRunning: Nobody runs it.
        """
        await self._wish("stop", name)

    async def set(self, name: str, /, **values: object) -> None:
        """Change options of the run of *name*, until it ends.

        Args:
            name: The name of its checkpoint.
            values: What `Run.set` takes. What that run has not, it does not change; its
                log says so.

        Raises:
            ConfigurationError: An option cannot be changed, or not to this value.
            NotRunning: Nobody runs it.
        """
        if not values:
            msg = "nothing to set; name an option, such as batch_size=500"
            raise ConfigurationError([msg], subject="set")
        await self._wish("set", name, tuned(values))

    async def history(self, name: str) -> _Results:
        """Return how the runs of *name* ended, newest first, 100 at most."""
        return [*await self._store.history(_checked(name))]

    async def _wish(
        self,
        kind: Literal["pause", "resume", "stop", "set"],
        name: str,
        values: Mapping[str, object] | None = None,
    ) -> None:
        wish = Wish(kind, self._by or _somebody(), values or {})
        await self._store.wish(_checked(name), wish)


def _store_problems(store: object) -> list[str]:
    if isinstance(store, type):
        name = store.__name__
        return [f"the store is the class {name}; pass an instance: {name}(...)"]
    if not isinstance(store, Control):
        return [
            f"{type(store).__name__} cannot carry wishes between processes; use "
            "SqliteStore or PostgresStore"
        ]
    return []


def _checked(name: str) -> str:
    if is_name(name):
        return name
    msg = f"a name must be a non-empty str, not {name!r}"
    raise ConfigurationError([msg], subject="Runs")


def _somebody() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        # In a container the user may have a number only.
        user = f"process {os.getpid()}"
    return f"{user}@{socket.gethostname()}"
