"""What `handle_rows` answered where no run is there to end by it."""

from __future__ import annotations

from typing import cast

from adaptive_backfill._core.answers import Fail, Halt
from adaptive_backfill._core.rules import is_count
from adaptive_backfill.errors import InvalidAnswer
from adaptive_backfill.postgres._aside import NotDone

__all__ = ["rows_done"]

_ANSWERS = ("None (all done)", "the number of rows done", "Halt", "Fail")


def rows_done(answer: object, rows: int, subject: str) -> int:
    """Return how many of *rows* were done, by the *answer* of *subject*'s handler.

    Raises:
        NotDone: It was `Halt` or `Fail`, by which a run would end.
        InvalidAnswer: It says nothing.
    """
    title = f"{subject}.handle_rows"
    if answer is None:
        return rows
    if isinstance(answer, Halt | Fail):
        msg = f"{title} answered {answer!r}, and a run would end there"
        raise NotDone(msg)
    if is_count(answer, least=0):
        return cast("int", answer)
    raise InvalidAnswer(title, answer, _ANSWERS)
