"""A folder with a project's module in it, and the commands run in that folder."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from adaptive_backfill.cli import main
from adaptive_backfill.testing.postgres import Server
from tests.cli.project import MODULE, SOURCE, TABLES


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the module `jobs`; what is imported is forgotten."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and Path(path).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def command(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command in the project's folder."""

    def run(*argv: str) -> Answer:
        code = main(argv)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture
def tables(project: Path) -> Path:
    """The module `tables`, of backfills that walk one."""
    module = project / "tables.py"
    module.write_text(TABLES)
    return module


@pytest.fixture
def users(tables: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with ten users, which `DATABASE_URL` leads to."""
    execute(database, "CREATE TABLE users (id int PRIMARY KEY, version int NOT NULL)")
    execute(database, "INSERT INTO users SELECT n, 1 FROM generate_series(1, 10) n")
    execute(database, "CREATE TABLE keyless (id int, version int)")
    monkeypatch.setenv("DATABASE_URL", database)
    return database


@pytest.fixture
def stranger(users: str, server: Server) -> Iterator[str]:
    """The DSN of a role without any privilege."""
    database = users.rsplit("/", 1)[1]
    role = f"{database}_stranger"
    execute(users, f"CREATE ROLE {role} LOGIN")
    yield server.dsn(database, role)
    execute(users, f"DROP ROLE {role}")


def execute(dsn: str, statement: str) -> list[asyncpg.Record]:
    """Return the rows that *statement* gives."""

    async def connect_and_execute() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(connect_and_execute())


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_as_on_a_terminal() -> Iterator[None]:
    """Let processes hear Ctrl-C: what a shell starts in the background ignores it."""
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGHUP, hangup)
