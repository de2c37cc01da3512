"""What a `handle_rows` may answer."""

from __future__ import annotations

from typing import cast

from adaptive_backfill._core.answers import Fail, Halt
from adaptive_backfill._core.rules import is_count
from adaptive_backfill.errors import InvalidAnswer
from adaptive_backfill.postgres._aside import NotDone

__all__ = ["rows_answer", "rows_done"]

_ANSWERS = ("None (all done)", "the number of rows done", "Halt", "Fail")


def rows_answer(answer: object, rows: int, subject: str) -> int | Halt | Fail:
    """Return what *subject*'s handler says of *rows*: how many it did, or why not.

    Raises:
        InvalidAnswer: It says nothing.
    """
    if answer is None:
        return rows
    if isinstance(answer, Halt | Fail) or is_count(answer, least=0):
        return cast("int | Halt | Fail", answer)
    title = f"{subject}.handle_rows"
    raise InvalidAnswer(title, answer, _ANSWERS)


def rows_done(answer: object, rows: int, subject: str) -> int:
    """Return how many of *rows* were done, where no run is there to end by *answer*.

    Raises:
        NotDone: It was `Halt` or `Fail`, by which a run would end.
        InvalidAnswer: It says nothing.
    """
    said = rows_answer(answer, rows, subject)
    if isinstance(said, Halt | Fail):
        msg = f"{subject}.handle_rows answered {said!r}, and a run would end there"
        raise NotDone(msg)
    return said
