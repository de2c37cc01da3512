"""The table and the plot."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from _foreground.measuring import Window
from _foreground.modes import FULL, NONE

from _reactions.incidents import DOUBLED, GONE, INCIDENTS, LOCKED, MOST_LAG, REPLICA
from _reactions.measuring import Round
from _reactions.results import Back, Results, back, medians, over
from _reactions.watching import Second

__all__ = ["FIXED", "report", "write"]

FIXED = ("1 worker, 5,000 rows", "2 workers, 3 ms", FULL)
"""Settings to compare with when users have gone: of those in `foreground.py`, the
fastest near the goal for users' latency, one that is beyond it, and the fastest."""

_TIMES, _SOON, _AGAIN, _SHARE = 3.0, 10, 60, 0.9
"""Goals: within so many times the p99 without a backfill, or the limit of a check,
within 10 s; and at 90 % of the speed of a fixed setting within 60 s."""

_AS_BEFORE = 1.5
"""No goal: what is taken for back to where it was."""

_PAGE = """# How soon a run reacts

`benchmarks/reactions.py`, which ends with this page. Beside pgbench, as in
[what users notice](foreground.md), a `TableBackfill` with `pace = Adaptive()`, a
`latency_probe`, and the check that is named, fills a column of a table of {rows:,}
rows. Its checks look once a second; the default is each 5 s, and what counts samples
takes five times as long then. When it has run for 12 s, something happens.

Measured on {cpus} CPUs ({machine}), Python {python}, server, users and backfill on the
same machine, which others shared; each round on a fresh table. Seconds are judged by
fives, by their median, because one of them may be a stall of the disk, with or without
a backfill. "Back" is the middle of the first five inside the limit; "then" the share of
all fives from there on that are.

![Speed and latency, second by second](reactions.svg)

{table}

- *Users double*: 2,750 transactions a second become 5,500.
- *A lock queue*: a report reads the table for 5 s, an ALTER TABLE waits for it, and all
  others wait for that. Seconds count from its end. Beside 800 transactions a second a
  run is not within three times before it, either. Who waits for a batch of ours is
  another case: that batch is cancelled after a second, which the tests show.
- *Users come and go*: beside 800 transactions a second there are 4,700 more for 15 s.
  Seconds count from their end, and stop where the table is done. The fixed settings
  are loops by hand beside the 800, by their mean over the whole table: {fixed}.
  More WAL is written beside 5,500 than beside 800, and towards the end of the table
  commits stalled for some 50 ms in each round; whether new files of WAL were made
  then, as the server keeps 6 GB, was not looked into.
- *A slow replica* replays for a tenth of the time, on the same processors. A lag in
  seconds goes on growing while a run waits, until what was written before is replayed.
"""


def report(results: Results) -> list[str]:
    """Return the table, as lines."""
    return [
        "| | what counts | each round | goal | |",
        "| --- | --- | --- | --- | --- |",
        *(
            line
            for name in INCIDENTS
            if name in results.run
            for line in _ROWS[name](results)
        ),
    ]


def _doubled(results: Results) -> Iterator[str]:
    usual = results.usual(DOUBLED, during=True)
    limit = _TIMES * usual
    during = [
        [second for second in each.seconds if 0 <= second.at < int(each.lasted)]
        for each in results.run[DOUBLED]
    ]
    what = f"users' p99, at most {limit:.1f} ms: {_TIMES:g} times that without us"
    backs = [back(seconds, _p99, lambda p99: p99 <= limit) for seconds in during]
    yield _row(DOUBLED, what, backs, _SOON)
    settled = (statistics.median(map(_p99, seconds[10:])) for seconds in during)
    each = ", ".join(f"{p99 / usual:.1f}" for p99 in settled)
    yield f"| {DOUBLED} | users' p99 from the 10th second on, in times | {each} | | |"


def _locked(results: Results) -> Iterator[str]:
    ours, idle = results.run[LOCKED], results.idle[LOCKED]
    limit = _TIMES * results.usual(LOCKED, during=False)
    what = f"users' p99, at most {limit:.1f} ms: {_TIMES:g} times that without us"
    yield _row(LOCKED, what, [_quiet(each, limit) for each in ours], _SOON)
    what = f"{what}, when we are not there"
    yield _row(LOCKED, what, [_quiet(each, limit) for each in idle], None)
    what = f"users' p99, at most {_AS_BEFORE:g} times that beside the same run before"
    backs = [_quiet(each, _AS_BEFORE * _before(each)) for each in ours]
    yield _row(LOCKED, what, backs, None)


def _gone(results: Results) -> Iterator[str]:
    for mode in FIXED:
        fixed = statistics.median(window.speed for window in results.fixed[mode])
        limit = _SHARE * fixed
        what = f"{_SHARE:.0%} of the speed of {mode}: {limit:,.0f} rows/s"
        backs = [
            back(_after(each), _speed, lambda rows, limit=limit: rows >= limit)
            for each in results.run[GONE]
        ]
        yield _row(GONE, what, backs, _AGAIN)
        each = ", ".join(
            f"{best / fixed:.0%}" for best in map(_best, results.run[GONE])
        )
        yield f"| {GONE} | the fastest five seconds, of that of {mode} | {each} | | |"


def _replica(results: Results) -> Iterator[str]:
    seconds = [
        [second for second in each.seconds if second.at >= 0]
        for each in results.run[REPLICA]
    ]
    each = "; ".join(
        "{} s in a row, {} s of {} in all, {:.1f} s at most".format(
            *over(some, MOST_LAG), len(some), max(second.lag for second in some)
        )
        for some in seconds
    )
    met = sum(over(some, MOST_LAG)[0] <= _SOON for some in seconds)
    what = f"seconds in which its lag was above {MOST_LAG:g} s"
    goal = f"{_SOON} s in a row | {met} of {len(seconds)}"
    yield f"| {REPLICA} | {what} | {each} | {goal} |"


_ROWS: dict[str, Callable[[Results], Iterator[str]]] = {
    DOUBLED: _doubled,
    LOCKED: _locked,
    GONE: _gone,
    REPLICA: _replica,
}


def _row(name: str, what: str, backs: Sequence[Back], goal: int | None) -> str:
    each = ", ".join(
        "never"
        if one.after is None
        else f"back after {one.after} s, then {one.then:.0%}"
        for one in backs
    )
    if goal is None:
        return f"| {name} | {what} | {each} | | |"
    met = sum(one.after is not None and one.after <= goal for one in backs)
    return f"| {name} | {what} | {each} | {goal} s | {met} of {len(backs)} |"


def _quiet(each: Round, limit: float) -> Back:
    return back(_after(each), _p99, lambda p99: p99 <= limit)


def _before(each: Round) -> float:
    return statistics.median(second.p99 for second in each.seconds if second.at < 0)


def _best(each: Round) -> float:
    return max(medians(_after(each), _speed))


def _after(each: Round) -> list[Second]:
    return [second for second in each.seconds if second.at >= int(each.lasted)]


def _p99(second: Second) -> float:
    return second.p99


def _speed(second: Second) -> float:
    return second.rows


def write(results: Results, folder: Path) -> None:
    """Write ``reactions.md`` and ``reactions.svg`` into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    page = _PAGE.format(
        rows=results.rows,
        cpus=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        fixed=_fixed(results),
        table="\n".join(report(results)),
    )
    (folder / "reactions.md").write_text(page)
    _plot(results, folder / "reactions.svg")


def _fixed(results: Results) -> str:
    if GONE not in results.run:
        return "not measured"

    def median(mode: str, value: Callable[[Window], float]) -> float:
        return statistics.median(map(value, results.fixed[mode]))

    idle = median(NONE, lambda window: window.p99)
    return ", ".join(
        f"{mode} at {median(mode, lambda window: window.speed):,.0f} rows/s and "
        f"{median(mode, lambda window: window.p99) / idle:.1f} times the idle p99"
        for mode in FIXED
    )


def _plot(results: Results, path: Path) -> None:
    from matplotlib.figure import Figure

    names = [name for name in INCIDENTS if name in results.run]
    figure = Figure(figsize=(4 * len(names), 5), layout="constrained")
    for place, name in enumerate(names, 1):
        for row, (value, title) in enumerate(_LINES):
            axes = figure.add_subplot(len(_LINES), len(names), row * len(names) + place)
            for each in results.run[name]:
                axes.plot(
                    [second.at for second in each.seconds],
                    [value(second) for second in each.seconds],
                    color="#2a6fb0", linewidth=0.7,
                )  # fmt: skip
            lasted = statistics.median(each.lasted for each in results.run[name])
            axes.axvspan(0, lasted, color="#f0e0d0")
            axes.set_yscale("log" if row else "linear")
            axes.set_title(name if not row else "", fontsize=9)
            axes.set_ylabel(title if place == 1 else "", fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


_LINES: tuple[tuple[Callable[[Second], float], str], ...] = (
    (lambda second: second.rows / 1000, "thousand rows/s"),
    (_p99, "p99 of users, ms"),
)
