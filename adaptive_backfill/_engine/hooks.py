"""Call a user's hooks, and survive them."""

from __future__ import annotations

from collections.abc import Callable

from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.reporting import Reporter

__all__ = ["Hooks"]


class Hooks:
    """Calls hooks for one run.

    Attributes:
        errors: What they raised. It is reported, and changes nothing.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.errors: list[Exception] = []

    async def call(
        self, name: str, hook: Callable[..., object] | None, *args: object
    ) -> None:
        """Call *hook*, where there is one."""
        if hook is None:
            return
        given = await ask(hook, *args)
        if given.error is not None:
            self.failed(name, given.error)

    def failed(self, name: str, error: BaseException) -> None:
        """Take note that the hook *name* raised *error*."""
        # A stray cancellation is no Exception, and is kept as one.
        if not isinstance(error, Exception):
            stray = error
            error = RuntimeError(f"{name} was cancelled from inside")
            error.__cause__ = stray
        self.errors.append(error)
        self._reporter.hook_failed(name, error)
