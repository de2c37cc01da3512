"""The simulation of the control laws: it runs, and they are no worse than others."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("pacing_sim")


def rows(lines: list[str]) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {row[1]: row[2:-1] for row in cells if len(row) > 3}


def test_a_batch_of_ours_is_no_longer_than_by_other_rules(sim: Any) -> None:
    table = rows(sim.size_table(batches=1_000, seeds=3))
    ours, knee = table["ours, to the target"], table["Adaptive()"]

    assert len(table) == 10
    for rule in ("GitLab", "pt-osc", "Sequin", "LogCostSizer"):
        other = table[rule]
        assert float(ours[0]) <= float(other[0]) + 0.05, "flat"
        assert float(ours[1]) <= float(other[1]) + 0.05, "x4 step"
        assert float(ours[2]) <= float(other[2]) + 0.5, "sparse"
        assert float(ours[4]) <= float(other[4]) + 0.05, "jitter"
    assert float(ours[2]) < 6
    assert float(ours[6]) <= 4
    # By default batches are shorter still, and that costs little speed.
    others = table.keys() - {"rule", "--", "Adaptive()"}
    assert float(knee[0]) < 0.5 * min(float(table[rule][0]) for rule in others)
    assert float(knee[-1]) > 0.7


def test_the_pace_of_ours_does_more_work_for_less_overload(sim: Any) -> None:
    table = rows(sim.level_table(hours=1.0, seeds=3))

    def near(rule: str, column: int) -> float:
        return float(table[rule][column].split(" / ")[0].rstrip("%"))

    hold, doubling = "hold 600 s (GitLab)", "sleep x2, /2"
    assert near("ours", 0) > 5 * near(hold, 0)
    assert near("ours", 1) < 0.7 * near(doubling, 1)
    assert near("ours", 1) < near("back off 30 s", 1)
    assert near("ours", 1) > near("no backfill", 1) > 0


def test_the_simulation_prints_the_same_each_time(sim: Any) -> None:
    once = sim.size_table(batches=200, seeds=2) + sim.level_table(hours=0.2, seeds=2)
    again = sim.size_table(batches=200, seeds=2) + sim.level_table(hours=0.2, seeds=2)

    assert once == again
