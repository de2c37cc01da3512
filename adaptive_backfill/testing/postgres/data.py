"""Makes data directories."""

from __future__ import annotations

from pathlib import Path

from adaptive_backfill.testing.postgres.binaries import Installation, ServerUnavailable
from adaptive_backfill.testing.postgres.home import Home


def initialise(
    data: Path, programs: Installation, home: Home, *, superuser: str
) -> None:
    """Make *data* a data directory of UTF-8 databases, in which everybody is trusted.

    Raises:
        ServerUnavailable: *data* has other things in it, which are left alone, or
            the server's user cannot go there.
    """
    data.mkdir(parents=True, exist_ok=True)
    if not any(data.iterdir()):
        home.account.own(data)
    if not home.account.can_enter(data):
        problem = (
            f"The data directory {data} cannot be entered by {home.account.name}, whom "
            "the server has to run as. Choose one below a folder that every user may "
            "enter, or run this as another user than root."
        )
        raise ServerUnavailable(problem)
    options = ["-U", superuser, "-A", "trust", "--no-sync"]
    options += ["--locale=C", "--encoding=UTF8"]
    with home.start([programs.bin / "initdb", "-D", data, *options]) as initdb:
        failed = initdb.wait() != 0
        home.ended()
    if failed:
        raise ServerUnavailable(home.problem(f"{data} could not be initialised."))
