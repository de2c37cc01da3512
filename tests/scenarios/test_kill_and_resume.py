"""kill -9 at any moment: nothing is lost, and little is done twice."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.scenarios.killed_process import SIZE

KILLS = 20
LAST = 30_000


def _begin(folder: Path) -> subprocess.Popen[str]:
    module = "tests.scenarios.killed_process"
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(folder), str(LAST)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def _kill_at_random(process: subprocess.Popen[str], chance: random.Random) -> None:
    """Kill it some time after it began: what the moment is, is left to chance."""
    try:
        process.wait(timeout=chance.uniform(0.1, 0.6))
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()


@pytest.mark.timeout(180)
def test_no_id_is_missing_and_a_kill_repeats_one_batch_at_most(tmp_path: Path) -> None:
    chance = random.Random(20)
    journal = tmp_path / "journal"
    journal.touch()

    reached = []
    for _ in range(KILLS):
        _kill_at_random(_begin(tmp_path), chance)
        reached.append(len(journal.read_text().splitlines()))
    last = _begin(tmp_path)
    said, _ = last.communicate()

    written = Counter(map(int, journal.read_text().split()))
    assert last.returncode == 0
    assert sorted(written) == list(range(1, LAST + 1))
    assert said.split() == ["done", str(-(-LAST // SIZE)), str(LAST)]
    assert sum(written.values()) - LAST <= KILLS * SIZE
    assert max(written.values()) <= KILLS + 1
    # It was killed in the middle, not before its first batch or after its last.
    assert sum(0 < each < LAST for each in reached) >= KILLS // 2
