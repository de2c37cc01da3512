"""Hours of the day in which a run may work.

A window is ``22:00-06:00 Europe/Berlin``, with days before it where it is not open
every day: ``Mon-Fri 22:00-06:00 Europe/Berlin``. Days are those on which it opens, so
that Friday's of these closes on Saturday morning. Without a zone it is in UTC. Hours
are those that a clock on the wall shows: it is open exactly while that shows a time
inside. So a night in which the clock is changed is an hour longer or shorter, a time
that is left out is never shown, and one that comes twice is in it twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
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
_DAYS_AHEAD = 16
"""A window of one day a week may be left out by a change of the clock, once."""


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
    now = now.astimezone(UTC)
    if any(_is_open(window, now) for window in windows):
        return None
    openings = (
        (at, at.astimezone(window.zone))
        for window in windows
        for at in _turns(window, now.replace(microsecond=0))
        if at > now and _is_open(window, at)
    )
    return min(openings)[1]


def windows_text(windows: Sequence[Window], until: datetime) -> str:
    """Return why a run waits that may go on at *until*."""
    which = ", ".join(window.text for window in windows)
    plural = "s" if len(windows) > 1 else ""
    return f"outside of the window{plural} {which}: until {until:%Y-%m-%d %H:%M %Z}"


def _is_open(window: Window, at: datetime) -> bool:
    wall = at.astimezone(window.zone)
    since = wall.replace(tzinfo=None) - datetime.combine(wall, time())
    today = wall.weekday()
    return (today in window.days and window.opens <= since < window.closes) or (
        (today - 1) % 7 in window.days and since + _MIDNIGHT < window.closes
    )


def _turns(window: Window, now: datetime) -> Iterator[datetime]:
    """Yield every instant, in UTC, at which *window* may open from *now* on.

    It does when the clock reaches its hour, which it may do twice in a day, and may
    when the clock is changed.
    """
    today = now.astimezone(window.zone).date()
    for number in range(_DAYS_AHEAD):
        opens = datetime.combine(today + number * _A_DAY, time()) + window.opens
        for fold in (0, 1):
            yield opens.replace(tzinfo=window.zone, fold=fold).astimezone(UTC)
        yield from _changed(window.zone, now + number * _A_DAY)


def _changed(zone: tzinfo, begin: datetime) -> Iterator[datetime]:
    """Yield when the clock of *zone* is changed within a day from *begin*, if it is."""

    def offset(at: datetime) -> timedelta | None:
        return at.astimezone(zone).utcoffset()

    end, before = begin + _A_DAY, offset(begin)
    if offset(end) == before:
        return
    while end - begin > timedelta.resolution:
        middle = begin + (end - begin) / 2
        if offset(middle) == before:
            begin = middle
        else:
            end = middle
    yield end


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
