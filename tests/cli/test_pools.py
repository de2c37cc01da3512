"""A parameter that is a pool: opened from a DSN, on a real server."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptive_backfill.testing.postgres import Server
from tests.cli.conftest import Answer, execute

Command = Callable[..., Answer]

SOURCE = '''
from __future__ import annotations

import asyncpg

from adaptive_backfill import DONE, Backfill, Checkpoint, Next, SqliteStore
from adaptive_backfill.postgres import pg_health_checks


class Fill(Backfill[int]):
    name = "fill"
    initial_state = 0
    health_checks = pg_health_checks()
    checkpoint = Checkpoint(SqliteStore("kept.db"))
    pool: asyncpg.Pool[asyncpg.Record]

    async def handle_batch(self, state):
        if state == 3:
            return DONE
        await self.pool.execute("UPDATE users SET done = true WHERE id = $1", state)
        return Next(state + 1, rows=1)


class Named(Fill):
    name = "named"

    async def handle_batch(self, state):
        raise RuntimeError(await self.pool.fetchval("SHOW application_name"))


class Holding(Fill):
    """Keeps a connection to itself."""

    name = "holding"

    async def handle_batch(self, state):
        self.connection = await self.pool.acquire()
        return DONE
'''


@pytest.fixture
def dsn(project: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with a table, which `DATABASE_URL` leads to."""
    (project / "fill.py").write_text(SOURCE)
    execute(database, "CREATE TABLE users (id int, done bool)")
    execute(database, "INSERT INTO users SELECT n, false FROM generate_series(0, 2) n")
    monkeypatch.setenv("DATABASE_URL", database)
    return database


def test_a_pool_is_opened_from_the_environment(command: Command, dsn: str) -> None:
    answer = command("run", "fill:Fill")

    assert answer.code == 0
    assert execute(dsn, "SELECT count(*) FROM users WHERE done")[0]["count"] == 3


def test_a_pool_is_opened_from_what_is_set(
    command: Command, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")

    answer = command("run", "fill:Fill", "--set", f"pool={dsn}")

    assert answer.code == 0


def test_the_server_is_told_who_is_there(command: Command, dsn: str) -> None:
    answer = command("run", "fill:Named")

    assert "RuntimeError: adaptive_backfill:named" in answer.out


def test_a_connection_that_a_handler_kept_does_not_hold_up_the_end(
    command: Command, dsn: str
) -> None:
    assert command("run", "fill:Holding").code == 0


def test_without_a_dsn_it_is_said_how_to_give_one(
    command: Command, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")

    answer = command("run", "fill:Fill")

    assert answer.code == 2
    assert "pool is missing: set the environment variable DATABASE_URL" in answer.err


@pytest.mark.parametrize(
    ("dsn_given", "code", "said"),
    [
        ("localhost/users", 2, "pool is no DSN"),
        ("postgresql://u:secret@localhost:port/d", 2, "The DSN of pool is wrong: "),
        ("postgresql://u:secret@127.0.0.1:1/d", 1, "is the server up?"),
        ("postgresql://u:secret@nowhere.invalid/d", 1, "the DSN's host"),
    ],
)
def test_a_wrong_dsn_is_a_sentence_that_keeps_its_password(
    command: Command, dsn: str, dsn_given: str, code: int, said: str
) -> None:
    answer = command("run", "fill:Fill", "--set", f"pool={dsn_given}")

    assert answer.code == code
    assert said in answer.err
    assert "secret" not in answer.err + answer.out
    assert "Traceback" not in answer.err


def test_a_refused_certificate_is_no_wrong_dsn(
    command: Command, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: object, **__: object) -> None:
        raise ssl.SSLCertVerificationError(1, "certificate has expired")

    monkeypatch.setattr("asyncpg.create_pool", refuses)

    answer = command("run", "fill:Fill")

    assert answer.code == 1
    assert "There is no connection for pool. " in answer.err
    assert "certificate has expired" in answer.err


def test_a_database_that_is_not_there_is_a_sentence(
    command: Command, dsn: str, server: Server
) -> None:
    answer = command("run", "fill:Fill", "--set", f"pool={server.dsn('nowhere')}")

    assert answer.code == 1
    assert 'database "nowhere" does not exist' in answer.err
    assert "Check the database's name" in answer.err


def test_a_missing_privilege_fails_with_its_remedy_and_keeps_the_checkpoint(
    command: Command, dsn: str, server: Server
) -> None:
    command("run", "fill:Fill", "--set", "max_batches=1")
    role = dsn.rsplit("/", 1)[1] + "_reader"
    execute(dsn, f"CREATE ROLE {role} LOGIN")
    execute(dsn, f"GRANT pg_monitor TO {role}")

    try:
        answer = command(
            "run",
            "fill:Fill",
            "--set",
            f"pool={server.dsn(dsn.rsplit('/', 1)[1], role)}",
        )
    finally:
        execute(dsn, f"DROP ROLE {role}")

    assert answer.code == 1
    assert "permission denied for table users" in answer.out
    assert "GRANT SELECT, UPDATE ON" in answer.out
    assert "It stands at 1, after batch 1" in answer.out


def test_a_missing_table_fails_with_its_remedy(command: Command, dsn: str) -> None:
    execute(dsn, "DROP TABLE users")

    answer = command("run", "fill:Fill")

    assert answer.code == 1
    assert 'relation "users" does not exist' in answer.out
    assert "search_path" in answer.out
