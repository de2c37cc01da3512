"""A table's run needs a connection for its batch, and one for all that watches it."""

from __future__ import annotations

import ssl
import traceback

import pytest

from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._run_pool import told_of_no_connection
from adaptive_backfill.postgres.table import TableBackfill

from . import tables
from .asking import pool_of
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet


class Fill(TableBackfill):
    table = "items"
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


@pytest.mark.asyncio
async def test_a_pool_of_one_which_could_hear_of_no_stop_is_refused(
    pool: Pool, database: str
) -> None:
    await numbered(pool, 10)

    async with pool_of(database, 1) as small:
        with pytest.raises(ConfigurationError) as refused:
            await Fill.run(pool=small)
        late = await Fill.run(pool=lambda: small)

    said = (
        "the pool has one connection, and a run needs 2: one for the batch, and one "
        "for the lease, wishes such as stop, and the health checks; give a pool with "
        "max_size=2 or more"
    )
    assert refused.value.problems == (said,)
    assert isinstance(late.error, ConfigurationError)
    assert late.error.problems == (said,)
    assert await times_done(pool) == {0: 10}


@pytest.mark.asyncio
async def test_a_pool_of_two_suffices(pool: Pool, database: str) -> None:
    await numbered(pool, 10)

    async with pool_of(database, 2) as small:
        done(await Fill.run(pool=small))

    assert await times_done(pool) == {1: 10}


@pytest.mark.asyncio
async def test_no_number_of_workers_is_advised_for_a_pool_of_one(
    pool: Pool, database: str
) -> None:
    await numbered(pool, 10)

    async with pool_of(database, 1) as small:
        with pytest.raises(ConfigurationError, match=r"max_size=4 or more$"):
            await Fill.run(pool=small, workers=3)


NO_FILE = (
    "[Errno 2] No such file or directory. Where the DSN names a socket's folder, see "
    "that the server is up; and that what it, or the environment, names, such as "
    "sslrootcert, is there and may be read. Nothing was done"
)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("dsn", "kind", "said"),
    [
        (
            "postgresql://me:secret@127.0.0.1:1/app",
            ConnectionError,
            "Connect call failed ('127.0.0.1', 1). See that the server is up, and its "
            "DSN has the right host and port. Nothing was done",
        ),
        (
            "postgresql://me:secret@127.0.0.1:1/app?sslmode=verify-ca&sslrootcert=/no",
            ConnectionError,
            NO_FILE,
        ),
        ("postgresql://me:secret@/app?host=/no", ConnectionError, NO_FILE),
        (
            "postgresql://me:sec/ret@127.0.0.1/app",
            ConfigurationError,
            "its port is no number, or user or password have a sign that must be "
            "written as its code, such as %2F for a slash",
        ),
        ("postgresql://me:secret@.local/app", ConfigurationError, "host is no name"),
        (
            "mysql://me:secret@127.0.0.1/app",
            ConfigurationError,
            "its DSN, or what goes with it in the environment, is wrong: invalid DSN",
        ),
    ],
    ids=["nobody", "no certificate", "no socket", "slash", "no host", "scheme"],
)
async def test_a_run_that_finds_no_database_says_what_to_do_and_no_password(
    dsn: str, kind: type[Exception], said: str
) -> None:
    result = await Fill.run(dsn=dsn)

    assert result.status == "failed"
    assert type(result.error) is kind
    assert said in str(result.error)
    shown = "".join(traceback.format_exception(result.error))
    assert "secret" not in shown
    assert "sec/ret" not in shown
    assert "'sec'" not in shown


@pytest.mark.asyncio
async def test_a_certificate_that_is_refused_is_no_wrong_dsn() -> None:
    with (
        pytest.raises(ConnectionError, match=r"expired.*\. Check sslmode, sslrootcert"),
        told_of_no_connection("it"),
    ):
        raise ssl.SSLCertVerificationError(1, "certificate has expired")
