"""The users: pgbench at a fixed rate, whatever the server makes of it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from adaptive_backfill.testing.postgres import find_binaries

__all__ = ["SECONDS_TO_WARM_UP", "Load", "Spike", "Users"]

SECONDS_TO_WARM_UP = 3.0

_CLIENTS = 16
_READ = """
\\set id random(1, :rows)
SELECT id, email, payload FROM users WHERE id = :id;
"""
_CHANGE = """
\\set id random(1, :rows)
BEGIN;
SELECT id, email, version FROM users WHERE id = :id;
UPDATE users SET email = email WHERE id = :id;
END;
"""


class Spike(NamedTuple):
    """More users for a while."""

    after: float
    rate: int
    seconds: float


class Load(NamedTuple):
    """Transactions a second: 70 % reads, 30 % a read and an update of one row."""

    rate: int
    spike: Spike | None = None

    def __str__(self) -> str:
        if self.spike is None:
            return f"{self.rate:,} tps"
        return f"{self.rate:,} tps, {self.spike.rate:,} for {self.spike.seconds:g} s"


class Waited(NamedTuple):
    """One transaction.

    Attributes:
        due: When it was to begin, by the clock of the machine.
        seconds: From then to its end: who waited for a connection waited, too.
    """

    due: float
    seconds: float


class Users:
    """pgbench under way. Latencies are known when it is stopped."""

    def __init__(self, dsn: str, rows: int, rate: int, seconds: float) -> None:
        self._folder = Path(tempfile.mkdtemp())
        read, change = self._folder / "read.sql", self._folder / "change.sql"
        read.write_text(_READ)
        change.write_text(_CHANGE)
        self._process = subprocess.Popen(
            [
                *(_pgbench(), "-n", "-M", "prepared", "-c", str(_CLIENTS), "-j", "1"),
                *("-R", str(rate), "-T", str(max(1, round(seconds)))),
                *("-f", f"{read}@7", "-f", f"{change}@3", "-D", f"rows={rows}"),
                *("-l", "--log-prefix", str(self._folder / "log"), dsn),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> list[Waited]:
        """End it; return what each of its transactions waited."""
        self.end()
        _, said = self._process.communicate()
        found = list(self._logged())
        shutil.rmtree(self._folder)
        if not found:
            raise AssertionError(f"pgbench did nothing: {said}")
        return found

    def _logged(self) -> Iterator[Waited]:
        for path in self._folder.glob("log*"):
            for line in path.read_text().splitlines():
                # client, number, latency in us, script, seconds, us, lag
                fields = line.split()
                if len(fields) < 6 or not fields[2].isdigit():
                    continue
                ended = int(fields[4]) + int(fields[5]) / 1e6
                seconds = int(fields[2]) / 1e6
                yield Waited(ended - seconds, seconds)


@cache
def _pgbench() -> str:
    for folder in find_binaries():
        if (folder / "pgbench").exists():
            return str(folder / "pgbench")
    raise AssertionError("there is no pgbench beside any PostgreSQL server found")
