"""Hours of the day in which a run may work."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill._core.windows import next_opening, window_of, windows_text
from tests.core.making import few

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = "22:00-06:00 Europe/Berlin"


def opening(now: str, *texts: str) -> str | None:
    """When one of *texts* opens next, seen from *now* in Berlin."""
    at = datetime.fromisoformat(now).replace(tzinfo=BERLIN)
    until = next_opening([window_of(text) for text in texts], at)
    return None if until is None else f"{until:%Y-%m-%d %H:%M %Z}"


@pytest.mark.parametrize("now", ["2026-11-25 22:00", "2026-11-26 00:00"])
def test_a_window_over_midnight_is_open_on_both_sides_of_it(now: str) -> None:
    assert opening(now, NIGHT) is None


@pytest.mark.parametrize("now", ["2026-11-25 06:00", "2026-11-25 21:59"])
def test_a_closed_window_says_when_it_opens_in_its_own_zone(now: str) -> None:
    assert opening(now, NIGHT) == "2026-11-25 22:00 CET"


def test_days_are_those_on_which_a_window_opens() -> None:
    text = "Mon-Fri 22:00-06:00 Europe/Berlin"

    # The 28th of November 2026 is a Saturday.
    assert opening("2026-11-28 05:59", text) is None
    assert opening("2026-11-28 06:00", text) == "2026-11-30 22:00 CET"
    assert opening("2026-11-30 05:00", text) == "2026-11-30 22:00 CET"


def test_days_may_be_listed_and_go_round_the_end_of_the_week() -> None:
    assert window_of("Sat-Mon 01:00-02:00").days == {5, 6, 0}
    assert window_of("mon,WED,Fri 01:00-02:00").days == {0, 2, 4}


def test_of_several_windows_any_open_one_will_do() -> None:
    texts = (NIGHT, "Sat,Sun 00:00-24:00 Europe/Berlin")

    assert opening("2026-11-28 12:00", *texts) is None
    assert opening("2026-11-29 23:59", *texts) is None
    assert opening("2026-11-30 12:00", *texts) == "2026-11-30 22:00 CET"


def test_the_next_opening_of_several_is_the_earliest() -> None:
    texts = ("20:00-21:00 UTC", "21:30-22:30 Europe/Berlin")

    # Half past nine in the evening in Berlin is half past eight in UTC.
    assert opening("2026-11-25 12:00", *texts) == "2026-11-25 20:00 UTC"
    assert opening("2026-11-25 21:45", *texts) is None


def test_hours_without_a_zone_are_in_utc() -> None:
    assert opening("2026-07-01 12:00", "12:00-13:00") == "2026-07-01 12:00 UTC"


@pytest.mark.parametrize(
    ("begins", "hours"),
    [("2026-03-28 22:00", 7), ("2026-10-24 22:00", 9), ("2026-11-25 22:00", 8)],
)
def test_a_night_in_which_the_clock_is_changed_is_an_hour_off(
    begins: str, hours: int
) -> None:
    window = window_of(NIGHT)
    began = datetime.fromisoformat(begins).replace(tzinfo=BERLIN).astimezone(UTC)

    last = began + timedelta(hours=hours) - timedelta(seconds=1)

    assert next_opening([window], last) is None
    assert next_opening([window], last + timedelta(seconds=1)) is not None


def test_why_a_run_waits_is_said_with_the_hours_and_until_when() -> None:
    windows = [window_of(NIGHT)]
    until = next_opening(windows, datetime(2026, 11, 25, 12, tzinfo=UTC))
    assert until is not None

    assert windows_text(windows, until) == (
        "outside of the window 22:00-06:00 Europe/Berlin: until 2026-11-25 22:00 CET"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("at night", "'at night' is not hours, such as 22:00-06:00, and a time zone"),
        ("22-6 UTC", "'22-6 UTC' is not hours, such as 22:00-06:00, and a time zone"),
        ("25:00-26:00", "25:00 is no time of a day"),
        ("22:61-23:00", "22:61 is no time of a day"),
        (
            "01:00-01:00",
            "'01:00-01:00' closes as it opens; all day is 00:00-24:00",
        ),
        (
            "Mo-Fr 01:00-02:00",
            "'Mo' is no day; there are Mon, Tue, Wed, Thu, Fri, Sat and Sun",
        ),
        (
            "01:00-02:00 Europe/Atlantis",
            "there is no time zone 'Europe/Atlantis' here; where a system knows none "
            "at all, `pip install tzdata` brings them",
        ),
        (
            "01:00-02:00 ../etc",
            "there is no time zone '../etc' here; where a system knows none "
            "at all, `pip install tzdata` brings them",
        ),
    ],
)
def test_what_is_no_window_is_refused_with_what_is_wrong(
    text: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        window_of(text)


@few
@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
    st.sampled_from(
        [NIGHT, "Sun 02:30-03:30 Europe/Berlin", "00:00-24:00", "Tue 3:00-4:00"]
    ),
)
def test_a_window_is_open_at_its_next_opening_and_that_is_within_eight_days(
    now: datetime, text: str
) -> None:
    windows = [window_of(text)]

    until = next_opening(windows, now)

    if until is not None:
        assert timedelta() < until.astimezone(UTC) - now <= timedelta(days=8)
        assert next_opening(windows, until) is None


CHANGES = [
    ("Europe/Berlin", "2026-03-29 01:00"),
    ("Europe/Berlin", "2026-10-25 01:00"),
    # At midnight: 0:00 to 1:00 of a Sunday is left out, or comes twice.
    ("America/Havana", "2026-03-08 05:00"),
    ("America/Havana", "2026-11-01 05:00"),
    # By half an hour.
    ("Australia/Lord_Howe", "2026-10-03 15:30"),
    ("Australia/Lord_Howe", "2026-04-04 15:00"),
]
MINUTE = timedelta(minutes=1)


def shows(wall: datetime, days: str, opens: str, closes: str) -> bool:
    """Whether a clock on the wall shows a time in the window."""
    now = f"{wall:%H:%M}"
    if opens < closes:
        return f"{wall:%a}" in days and opens <= now < closes
    began = wall if now >= opens else wall - timedelta(days=1)
    return f"{began:%a}" in days and (now >= opens or now < closes)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@pytest.mark.parametrize(
    ("days", "opens", "closes"),
    [
        ("Sun", "02:30", "03:30"),
        ("Sun", "02:00", "02:30"),
        ("Sun", "02:10", "02:20"),
        ("Sat", "23:30", "00:30"),
        ("Sat,Sun", "01:45", "02:15"),
        ("Mon,Tue,Wed,Thu,Fri,Sat,Sun", "02:30", "01:10"),
    ],
)
def test_a_window_is_open_while_the_clock_on_the_wall_shows_its_hours(
    zone: str, change: str, days: str, opens: str, closes: str
) -> None:
    window = window_of(f"{days} {opens}-{closes} {zone}")
    at = datetime.fromisoformat(change).replace(tzinfo=UTC)
    minutes = [at + number * MINUTE for number in range(-100, 100)]
    walls = [minute.astimezone(ZoneInfo(zone)) for minute in minutes]
    expected = [shows(wall, days, opens, closes) for wall in walls]

    said = [next_opening([window], minute) for minute in minutes]

    assert [until is None for until in said] == expected
    following: datetime | None = None
    for minute, wall, until, is_open in reversed(
        list(zip(minutes, walls, said, expected, strict=True))
    ):
        if is_open:
            following = wall
        elif following is not None:
            assert str(until) == str(following), f"at {wall}"
        else:
            assert until is not None
            assert until.astimezone(UTC) > minutes[-1], f"at {minute}"


@pytest.mark.parametrize(
    ("now", "text", "until"),
    [
        ("2026-03-29 01:50", "Sun 02:30-03:30", "2026-03-29 03:00 CEST"),
        ("2026-03-29 01:50", "02:30-06:00", "2026-03-29 03:00 CEST"),
        ("2026-10-25 02:45", "Sun 02:00-02:30", "2026-10-25 02:00 CET"),
        # All of it is left out on that Sunday.
        ("2026-03-22 12:00", "Sun 02:10-02:40", "2026-04-05 02:10 CEST"),
    ],
)
def test_an_opening_is_said_by_a_time_that_there_is(
    now: str, text: str, until: str
) -> None:
    assert opening(now, f"{text} Europe/Berlin") == until
