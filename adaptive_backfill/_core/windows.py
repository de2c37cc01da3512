"""Hours of the day in which a run may work.

A window is ``22:00-06:00 Europe/Berlin``, with days before it where it is not open
every day: ``Mon-Fri 22:00-06:00 Europe/Berlin``. Days are those on which it opens, so
that Friday's of these closes on Saturday morning. Without a zone it is in UTC. Hours
are those that a clock on the wall shows: a night in which the clock is changed is an
hour longer or shorter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["EXAMPLE", "Window", "next_opening", "window_of", "windows_text"]

EXAMPLE = '"22:00-06:00 Europe/Berlin", "Mon-Fri 22:00-06:00 Europe/Berlin"'
"""What a window looks like, for those who wrote it otherwise."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT = re.compile(
    r"(?:(?P<days>[A-Za-z][A-Za-z,-]*)\s+)?"
    r"(?P<opens>\d{1,2}:\d{2})\s*-\s*(?P<closes>\d{1,2}:\d{2})"
    r"(?:\s+(?P<zone>\S+))?"
)
_A_DAY = timedelta(days=1)
_MIDNIGHT = timedelta(hours=24)


class Window(NamedTuple):
    """One window.

    Attributes:
        text: As it was written.
        days: Days on which it opens; Monday is 0.
        opens: Since midnight of that day.
        closes: Since midnight of that day; more than 24 hours where on the next.
        zone: Whose hours these are.
    """

    text: str
    days: frozenset[int]
    opens: timedelta
    closes: timedelta
    zone: tzinfo


@lru_cache(maxsize=64)
def window_of(text: str) -> Window:
    """Return the window that *text* writes.

    Raises:
        ValueError: It writes none; the message is what is wrong with it.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        msg = f"{text!r} is not hours, such as 22:00-06:00, and a time zone"
        raise ValueError(msg)
    opens, closes = _since_midnight(found["opens"]), _since_midnight(found["closes"])
    if opens == _MIDNIGHT:
        opens = timedelta()
    if opens == closes:
        msg = f"{text!r} closes as it opens; all day is 00:00-24:00"
        raise ValueError(msg)
    if closes < opens:
        closes += _MIDNIGHT
    return Window(
        text.strip(), _days(found["days"]), opens, closes, _zone(found["zone"])
    )


def next_opening(windows: Sequence[Window], now: datetime) -> datetime | None:
    """Return when one of *windows* opens next, in its zone; `None` if one is open.

    Args:
        windows: At least one.
        now: With a time zone.
    """
    times = sorted(
        (opens.astimezone(UTC), closes.astimezone(UTC), opens)
        for window in windows
        for opens, closes in _times(window, now)
    )
    now = now.astimezone(UTC)
    if any(opens <= now < closes for opens, closes, _ in times):
        return None
    return next(local for opens, _, local in times if opens > now)


def windows_text(windows: Sequence[Window], until: datetime) -> str:
    """Return why a run waits that may go on at *until*."""
    which = ", ".join(window.text for window in windows)
    plural = "s" if len(windows) > 1 else ""
    return f"outside of the window{plural} {which}: until {until:%Y-%m-%d %H:%M %Z}"


def _times(window: Window, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield when *window* opens and closes, from yesterday until a week from *now*."""
    today = now.astimezone(window.zone).date()
    for number in range(-1, 9):
        day = today + number * _A_DAY
        if day.weekday() in window.days:
            yield _at(window, day, window.opens), _at(window, day, window.closes)


def _at(window: Window, day: date, since_midnight: timedelta) -> datetime:
    # Added without a zone, so that it is what a clock on the wall shows.
    return (datetime.combine(day, time()) + since_midnight).replace(tzinfo=window.zone)


def _since_midnight(text: str) -> timedelta:
    hours, minutes = map(int, text.split(":"))
    since = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or since > _MIDNIGHT:
        msg = f"{text} is no time of a day"
        raise ValueError(msg)
    return since


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first), _day(last or first)
        # Sat-Mon goes round the end of the week.
        days |= {each % 7 for each in range(begin, begin + (end - begin) % 7 + 1)}
    return frozenset(days)


def _day(text: str) -> int:
    if text.lower() in _DAYS:
        return _DAYS.index(text.lower())
    msg = f"{text!r} is no day; there are Mon, Tue, Wed, Thu, Fri, Sat and Sun"
    raise ValueError(msg)


def _zone(name: str | None) -> tzinfo:
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        msg = (
            f"there is no time zone {name!r} here; where a system knows none at all, "
            "`pip install tzdata` brings them"
        )
        raise ValueError(msg) from error
