"""A health check that reads its answers from a script."""

from __future__ import annotations

from collections.abc import Iterable

from adaptive_backfill._core.answers import OK, Verdict

__all__ = ["ScriptedCheck"]


class ScriptedCheck:
    """Answers with *script* in turn, then with `OK`; raises what is an exception.

    Attributes:
        asked: How often it was asked.
    """

    def __init__(self, script: Iterable[Verdict | Exception]) -> None:
        self.asked = 0
        self._script = iter(script)

    async def __call__(self) -> Verdict:
        """Return the next scripted answer."""
        self.asked += 1
        answer = next(self._script, OK)
        if isinstance(answer, Exception):
            raise answer
        return answer
