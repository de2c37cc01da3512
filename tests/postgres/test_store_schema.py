from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from adaptive_backfill import RunResult, RunStatus, Snapshot
from adaptive_backfill._ports import Held, Wish
from adaptive_backfill.errors import CheckpointError, ConfigurationError
from adaptive_backfill.postgres import _store_database, _store_schema
from adaptive_backfill.postgres._store_schema import KNOWN
from adaptive_backfill.postgres.store import PostgresStore

from .asking import as_role, connected, pool_of
from .storing import NAME, Pool, running, taken

pytestmark = pytest.mark.postgres

ALL = list(range(1, KNOWN + 1))


@pytest_asyncio.fixture
async def role(database: str) -> AsyncIterator[str]:
    """A role that may connect, and nothing else."""
    async with connected(database) as owner:
        await owner.execute("CREATE ROLE backfill_runner LOGIN")
        yield "backfill_runner"
        await owner.execute("DROP OWNED BY backfill_runner; DROP ROLE backfill_runner")


async def uses_everything(store: PostgresStore) -> None:
    lease = await taken(store, "first")
    await lease.save(Snapshot(1))
    await store.wish(NAME, Wish("pause", "ann"))
    await lease.beat(running("first"))
    await lease.discard()
    await lease.release(RunResult(NAME, "first", RunStatus.DONE), handed_over=False)
    await store.save(NAME, Snapshot(2))
    await store.delete(NAME)
    assert [one.run_id for one in await store.look()] == ["first"]
    assert [past.run_id for past in await store.history(NAME)] == ["first"]
    assert await store.ending(NAME, "first") is not None


async def made(pool: Pool, schema: str = "adaptive_backfill") -> list[int]:
    versions = await pool.fetch(
        f"SELECT version FROM {schema}.backfill_versions ORDER BY version"
    )
    return [version for (version,) in versions]


@pytest.mark.asyncio
@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
async def test_many_that_come_first_at_once_make_the_tables_once(
    database: str, isolation: str
) -> None:
    settings = {"default_transaction_isolation": isolation}
    async with AsyncExitStack() as opened:
        pools = [
            await opened.enter_async_context(
                pool_of(database, 2, server_settings=settings)
            )
            for _ in range(6)
        ]

        taken_by = await asyncio.gather(
            *(
                PostgresStore(pool).acquire(NAME, f"run {number}")
                for number, pool in enumerate(pools)
            )
        )

        assert sum(not isinstance(one, Held) for one in taken_by) == 1
        assert await made(pools[0]) == ALL


@pytest.mark.asyncio
async def test_a_role_that_may_not_create_is_told_what_an_owner_has_to_do(
    database: str, role: str
) -> None:
    async with pool_of(as_role(database, role), 2) as pool:
        with pytest.raises(CheckpointError) as refused:
            await PostgresStore(pool, schema="jobs").acquire(NAME, "first")

    assert str(refused.value) == (
        "The checkpoints in the schema 'jobs' cannot be used: this role may not make "
        "them, or may not use them; let a role that may create them run the script "
        'that `python -c "from adaptive_backfill.postgres import PostgresStore; '
        "print(PostgresStore.script('jobs'))\"` prints, and grant what it names at its "
        "end. What was saved before is not touched. (PostgreSQL says: permission "
        f"denied for database {database.rpartition('/')[2]})"
    )


@pytest.mark.asyncio
async def test_the_script_and_its_grants_are_all_that_a_role_needs(
    database: str, role: str
) -> None:
    script = PostgresStore.script()
    grants = re.findall(r"GRANT [^;]+;", script.replace("\n-- ", "\n"))
    async with connected(database) as owner:
        await owner.execute(script)
        await owner.execute("\n".join(grants))
        await owner.execute(script)

    async with pool_of(as_role(database, role), 2) as pool:
        await uses_everything(PostgresStore(pool))

        assert await made(pool) == ALL


@pytest.mark.asyncio
async def test_a_role_that_was_granted_nothing_is_told_of_the_grants(
    database: str, role: str
) -> None:
    async with connected(database) as owner:
        await owner.execute(PostgresStore.script())

    async with pool_of(as_role(database, role), 2) as pool:
        with pytest.raises(CheckpointError, match="grant what it names at its end"):
            await PostgresStore(pool).load(NAME)


@pytest.mark.asyncio
async def test_a_role_that_may_only_read_looks_on(
    pool: Pool, database: str, role: str
) -> None:
    await uses_everything(PostgresStore(pool))
    await pool.execute(
        f"GRANT USAGE ON SCHEMA adaptive_backfill TO {role};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA adaptive_backfill TO {role}"
    )

    async with pool_of(as_role(database, role), 2) as readers:
        store = PostgresStore(readers)
        assert [one.run_id for one in await store.look()] == ["first"]
        assert len(await store.history(NAME)) == 1
        with pytest.raises(CheckpointError, match="may not use them"):
            await store.acquire(NAME, "second")


@pytest.mark.asyncio
async def test_a_role_makes_the_tables_in_a_schema_that_it_was_given(
    pool: Pool, database: str, role: str
) -> None:
    await pool.execute(
        f"CREATE SCHEMA jobs; GRANT USAGE, CREATE ON SCHEMA jobs TO {role}"
    )

    async with pool_of(as_role(database, role), 2) as theirs:
        await uses_everything(PostgresStore(theirs, schema="jobs"))


@pytest.mark.asyncio
async def test_tables_that_are_there_are_not_made_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await PostgresStore(pool).save(NAME, Snapshot(1))

    monkeypatch.setattr(_store_database, "making", lambda _: "SELECT 1 / 0")

    assert await PostgresStore(pool).load(NAME) == Snapshot(1)


@pytest.mark.asyncio
async def test_tables_of_an_older_version_are_migrated(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await PostgresStore(pool).save(NAME, Snapshot(1))
    added = "ALTER TABLE {names} ADD COLUMN note text;"
    monkeypatch.setattr(_store_schema, "MIGRATIONS", (*_store_schema.MIGRATIONS, added))
    monkeypatch.setattr(_store_database, "KNOWN", KNOWN + 1)

    store = PostgresStore(pool)
    looked = await store.load(NAME), await made(pool)
    lease = await taken(store, "first")

    assert looked == (Snapshot(1), ALL)
    assert await lease.load() == Snapshot(1)
    assert await made(pool) == [*ALL, KNOWN + 1]


@pytest.mark.asyncio
async def test_who_only_looks_makes_no_tables_and_finds_nothing(pool: Pool) -> None:
    store = PostgresStore(pool)

    found = (
        await store.load(NAME),
        await store.look(),
        await store.history(NAME),
        await store.ending(NAME, "first"),
    )

    assert found == (None, [], [], None)
    assert await pool.fetchval("SELECT to_regnamespace('adaptive_backfill')") is None
    await uses_everything(store)


@pytest.mark.asyncio
async def test_who_only_looks_sees_what_was_made_since(pool: Pool) -> None:
    looking = PostgresStore(pool)
    before = await looking.load(NAME)

    await PostgresStore(pool).save(NAME, Snapshot(1))

    assert (before, await looking.load(NAME)) == (None, Snapshot(1))


@pytest.mark.asyncio
async def test_tables_of_a_newer_version_are_refused(pool: Pool) -> None:
    await PostgresStore(pool).save(NAME, Snapshot(1))
    await pool.execute("INSERT INTO adaptive_backfill.backfill_versions VALUES (999)")

    with pytest.raises(CheckpointError) as refused:
        await PostgresStore(pool).load(NAME)

    assert str(refused.value) == (
        "The checkpoints in the schema 'adaptive_backfill' are in version 999 of "
        f"the tables, and this version of adaptive_backfill knows {KNOWN}. Upgrade it "
        "to the one that wrote them."
    )


@pytest.mark.asyncio
async def test_tables_of_another_program_are_left_alone(pool: Pool) -> None:
    await pool.execute("CREATE TABLE public.backfill_names (id int)")

    with pytest.raises(CheckpointError, match="another program's; give the store a"):
        await PostgresStore(pool, schema="public").save(NAME, Snapshot(1))

    assert await pool.fetchval("SELECT to_regclass('public.backfill_versions')") is None


@pytest.mark.asyncio
async def test_what_was_dropped_behind_a_run_ends_it_and_is_made_for_the_next(
    pool: Pool,
) -> None:
    store = PostgresStore(pool)
    lease = await taken(store, "first")
    await pool.execute("DROP SCHEMA adaptive_backfill CASCADE")

    with pytest.raises(CheckpointError, match="were dropped or changed behind it"):
        await lease.save(Snapshot(1))

    assert await (await taken(store, "second")).load() is None


def test_a_script_is_for_one_schema() -> None:
    script = PostgresStore.script(schema="jobs")

    assert 'CREATE SCHEMA "jobs"' in script
    assert "adaptive_backfill.backfill" not in script
    with pytest.raises(ConfigurationError, match="a schema's name"):
        PostgresStore.script(schema="")
