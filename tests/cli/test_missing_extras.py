"""The command line without the packages that it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from adaptive_backfill.cli import main
sys.exit(main(["status"]))
"""


@pytest.mark.parametrize("missing", ["click", "rich", "rich.console"])
def test_a_missing_package_is_one_sentence_with_the_remedy(missing: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr == (
        "The command line needs two more packages: "
        'pip install "adaptive-backfill[cli]"\n'
    )


def test_the_door_loads_neither() -> None:
    code = (
        "import sys, adaptive_backfill.cli;"
        "sys.exit(any(name in sys.modules for name in ('click', 'asyncpg')))"
    )

    ended = subprocess.run([sys.executable, "-c", code], check=False)

    assert ended.returncode == 0
