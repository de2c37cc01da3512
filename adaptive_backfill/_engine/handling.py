"""A handler that is handed states by value."""

from __future__ import annotations

from adaptive_backfill._core.answers import Next
from adaptive_backfill._core.snapshot import by_value, is_immutable
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.saving import uncopied
from adaptive_backfill._ports import Handle

__all__ = ["by_copies"]


def by_copies(handle: Handle, key: str, *, kept: bool) -> Handle:
    """Return *handle* so that it is handed, and answers, copies of states.

    What a failed attempt did to its copy is neither tried again nor saved.

    Args:
        handle: The handler.
        key: The name of the checkpoint.
        kept: Whether states are kept in a store, so that one has to be copied.
    """

    async def handle_a_copy(state: object) -> object:
        answer = await handle(by_value(state))
        # The handler may hold on to what it answered, and change it later.
        if isinstance(answer, Next) and not is_immutable(answer.state):
            copied = await ask(by_value, answer.state)
            if copied.error is not None and kept:
                raise uncopied(answer.state, key, copied.error)
            if copied.error is not None:
                raise copied.error
            return Next(copied.value, answer.rows)
        return answer

    return handle_a_copy
