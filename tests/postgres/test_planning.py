"""What a table's backfill would do, told before it does it."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest

from adaptive_backfill import Fail, Halt, RunStatus
from adaptive_backfill.errors import ConfigurationError, InvalidAnswer
from adaptive_backfill.postgres import Cursor, TableBackfill
from adaptive_backfill.postgres._statement import set_columns
from tests.postgres.walking import Double, Pool, people, snapshot_of

RANGE = r"Index Cond: \(\(id > '?\d+'?(::bigint)?\) AND \(id <= '?\d+'?(::bigint)?\)\)"


class Handled(TableBackfill):
    """Doubles in Python."""

    table = "people"
    where = "doubled IS NULL"
    columns = ("id",)
    calls: list[int]

    async def handle_rows(self, rows: list[Any], connection: Any) -> None:
        self.calls.append(len(rows))
        await self.connection.executemany(
            "UPDATE people SET doubled = 2 * id WHERE id = $1",
            [(row["id"],) for row in rows],
        )


@pytest.mark.asyncio
async def test_both_queries_of_a_batch_go_by_ranges_of_the_key(pool: Pool) -> None:
    await people(pool)

    plan = await Double.plan(pool=pool, batch_size=100, measure=False)

    assert (plan.ok, plan.reasons, plan.indexes) == (True, (), ("people_pkey",))
    for text in (plan.bound, plan.batch):
        assert "Seq Scan" not in text
        assert re.search(RANGE, text), text
    assert "Index Only Scan using people_pkey" in plan.bound
    assert "Sort" not in plan.bound


@pytest.mark.asyncio
async def test_what_reads_rows_for_python_goes_by_ranges_too(pool: Pool) -> None:
    await people(pool)

    plan = await Handled.plan(pool=pool, batch_size=100, measure=False, calls=[])

    assert plan.ok
    assert "Index Scan using people_pkey" in plan.batch
    assert re.search(RANGE, plan.batch)
    assert "ROW SHARE on people" in plan.locks


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", "n"),
        ('text COLLATE "C"', "lpad(n::text, 6, '0')"),
        ("uuid", "md5(n::text)::uuid"),
        ("timestamptz", "timestamptz '2020-01-01' + n * interval '1 minute'"),
        ("date", "date '1990-01-01' + n"),
        ("numeric", "n / 3.0"),
    ],
)
async def test_every_type_of_key_is_walked_by_its_index(
    pool: Pool, kind: str, value: str
) -> None:
    await pool.execute(
        f"CREATE TABLE keyed (k {kind} PRIMARY KEY, n int);"
        f"INSERT INTO keyed SELECT {value}, 0 FROM generate_series(1, 5000) AS n;"
        "ANALYZE keyed"
    )

    for order in ("asc", "desc"):
        plan = await Double.plan(
            pool=pool,
            table="keyed",
            where=None,
            statement="UPDATE keyed SET n = 1 WHERE {batch}",
            order=order,
            batch_size=100,
            measure=False,
        )

        assert plan.ok, plan.reasons
        assert "Seq Scan" not in plan.bound + plan.batch
        assert plan.indexes == ("keyed_pkey",)


@pytest.mark.asyncio
async def test_keys_of_several_columns_are_compared_as_rows_by_the_index(
    pool: Pool,
) -> None:
    await pool.execute(
        "CREATE TABLE events (tenant int, id int, n int, PRIMARY KEY (tenant, id));"
        "INSERT INTO events SELECT i % 7, i, 0 FROM generate_series(1, 10000) AS i;"
        "ANALYZE events"
    )

    plan = await Double.plan(
        pool=pool,
        table="events",
        where=None,
        statement="UPDATE events SET n = 1 WHERE {batch}",
        batch_size=100,
    )

    assert plan.ok, plan.reasons
    assert plan.key == ("tenant", "id")
    assert "Index Cond: ((ROW(tenant, id) > ROW(" in plan.bound
    assert "Seq Scan" not in plan.bound + plan.batch
    assert "Sort" not in plan.bound


@pytest.mark.asyncio
async def test_partitions_are_walked_by_their_indexes(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);"
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (5000);"
        "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (5000) TO (20000);"
        "INSERT INTO parts SELECT i, 0 FROM generate_series(1, 10000) AS i;"
        "ANALYZE parts"
    )

    plan = await Double.plan(
        pool=pool,
        table="parts",
        where="n = 0",
        statement="UPDATE parts SET n = 1 WHERE {batch}",
        batch_size=100,
    )

    assert plan.ok, plan.reasons
    assert "Seq Scan" not in plan.bound + plan.batch
    assert plan.sample is not None
    assert plan.sample.updated == 300


async def _by_month(pool: Pool, parts: int, rows: int) -> None:
    """Make *parts* partitions of *rows* each by a key that does not tell them apart.

    And one of a single page, which holds the last ids, as that of a new month does.
    """
    made = [
        f"CREATE TABLE months_{month} PARTITION OF months "
        f"FOR VALUES FROM ({month}) TO ({month + 1})"
        for month in range(parts + 1)
    ]
    await pool.execute(
        "CREATE TABLE months (id int, month int, n int, PRIMARY KEY (id, month)) "
        "PARTITION BY RANGE (month);"
        f"{';'.join(made)};"
        f"INSERT INTO months SELECT i, (i - 1) % {parts}, 0 "
        f"FROM generate_series(1, {parts * rows}) AS i;"
        f"INSERT INTO months SELECT i, {parts}, 0 "
        f"FROM generate_series({parts * rows + 1}, {parts * rows + 100}) AS i;"
        "ANALYZE months"
    )


@pytest.mark.asyncio
async def test_a_small_partition_of_a_large_table_may_be_read_whole(
    pool: Pool,
) -> None:
    await _by_month(pool, parts=2, rows=20_000)

    plan = await Double.plan(
        pool=pool,
        table="months",
        where=None,
        statement="UPDATE months SET n = 1 WHERE {batch}",
        batch_size=1000,
    )

    assert "Seq Scan on months_2" in plan.batch
    assert (plan.ok, plan.reasons) == (True, ())
    assert "Seq Scan on months_0" not in plan.batch


@pytest.mark.asyncio
async def test_many_small_partitions_may_not_all_be_read_whole(pool: Pool) -> None:
    await _by_month(pool, parts=40, rows=100)

    plan = await Double.plan(
        pool=pool,
        table="months",
        where=None,
        statement="UPDATE months SET n = 1 WHERE {batch}",
        batch_size=10,
    )

    assert not plan.ok
    assert "Seq Scan on public.months_" in plan.reasons[0]


@pytest.mark.asyncio
async def test_a_small_table_may_be_read_whole(pool: Pool) -> None:
    await people(pool, 50)

    plan = await Double.plan(pool=pool)

    assert plan.ok, plan.reasons
    assert plan.batches == 1


@pytest.mark.asyncio
async def test_an_empty_table_has_a_plan(pool: Pool) -> None:
    await people(pool, 0)

    plan = await Double.plan(pool=pool)

    assert (plan.ok, plan.reasons) == (True, ())
    assert "no batch was tried" in str(plan)


@pytest.mark.asyncio
async def test_a_key_without_a_unique_index_is_refused_with_the_reason(
    pool: Pool,
) -> None:
    await people(pool)

    plan = await Double.plan(pool=pool, key="email")

    assert not plan.ok
    assert plan.reasons == (
        'key email of "people" is not unique, and a batch could end in the middle of '
        "equal keys; its unique indexes are: people_pkey (id)",
    )
    assert str(plan).splitlines()[0] == "double: must not be run"


@pytest.mark.asyncio
async def test_an_index_in_another_order_of_columns_is_refused(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE pairs (a int NOT NULL, b int NOT NULL, n int, UNIQUE (b, a));"
        "INSERT INTO pairs SELECT i, i % 10, 0 FROM generate_series(1, 30000) AS i;"
        "ANALYZE pairs"
    )
    statement = "UPDATE pairs SET n = 1 WHERE {batch}"

    plan = await Double.plan(
        pool=pool, table="pairs", key=("a", "b"), where=None, statement=statement
    )

    assert not plan.ok
    assert plan.sample is None
    assert "the end of a batch finds no index to go by: " in plan.reasons[0]
    assert plan.reasons[0].endswith("create an index on (a, b)")


@pytest.mark.asyncio
async def test_a_statement_that_the_server_does_not_take_is_refused(
    pool: Pool,
) -> None:
    await people(pool)

    plan = await Double.plan(
        pool=pool, statement="UPDATE people SET nope = 1 WHERE {batch}"
    )

    assert not plan.ok
    assert plan.reasons == (
        'the server refuses it: column "nope" of relation "people" does not exist',
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("alias", ["P", '"P"'])
async def test_the_server_takes_an_alias_in_capitals(pool: Pool, alias: str) -> None:
    await people(pool, 100)
    statement = f"UPDATE people {alias} SET doubled = 1 WHERE {{batch:{alias}}}"

    plan = await Double.plan(pool=pool, statement=statement, measure=False)

    assert (plan.ok, plan.reasons) == (True, ())


@pytest.mark.asyncio
async def test_a_where_may_end_with_a_comment(pool: Pool) -> None:
    await people(pool, 100, also="UPDATE people SET doubled = 0 WHERE id > 50")

    plan = await Double.plan(pool=pool, where="doubled IS NULL -- old")
    tried = await Handled.dry_run(pool=pool, where="doubled IS NULL -- old", calls=[])

    assert (plan.ok, plan.reasons) == (True, ())
    assert tried.rows == 50


@pytest.mark.asyncio
async def test_a_batch_that_does_not_look_for_its_range_is_refused(pool: Pool) -> None:
    await people(pool, 30_000)

    # An expression hides the key from its index.
    plan = await Double.plan(
        pool=pool,
        batch_size=100,
        statement="UPDATE people SET doubled = 1 FROM (SELECT id + 0 AS id, doubled "
        "FROM people OFFSET 0) p WHERE people.id = p.id AND {batch:p}",
        where=None,
    )

    assert not plan.ok
    assert "Seq Scan on public.people" in plan.reasons[0]


@pytest.mark.asyncio
async def test_a_batch_as_dear_as_the_whole_table_is_refused(pool: Pool) -> None:
    await people(
        pool,
        also="CREATE TABLE log AS SELECT n, repeat('x', 200) "
        "FROM generate_series(1, 100000) AS n; ANALYZE log",
    )

    plan = await Double.plan(
        pool=pool,
        batch_size=100,
        statement="UPDATE people SET doubled = log.n FROM log "
        "WHERE log.n = people.id AND {batch}",
    )

    assert not plan.ok
    assert plan.reasons[0].startswith(
        "each batch costs too much: to read all of public.log costs "
    )
    assert plan.warnings == ("each batch reads all of public.log",)


@pytest.mark.asyncio
async def test_time_and_wal_are_reckoned_from_three_batches(pool: Pool) -> None:
    await people(pool)
    before = await snapshot_of(pool)

    plan = await Double.plan(pool=pool, batch_size=500, delay_between_batches=2)

    assert plan.sample is not None
    assert (plan.sample.batches, plan.sample.rows) == (3, 1500)
    assert (plan.rows, plan.batches) == (10_000, 20)
    assert plan.seconds is not None
    assert plan.seconds == pytest.approx(20 * (plan.sample.seconds / 3 + 2))
    assert plan.wal_bytes is not None
    assert plan.wal_bytes > 10_000 * 50
    assert await snapshot_of(pool) == before


@pytest.mark.asyncio
async def test_without_measuring_nothing_is_done(pool: Pool) -> None:
    await people(pool)
    calls: list[int] = []

    plan = await Handled.plan(pool=pool, measure=False, calls=calls)

    assert (plan.sample, plan.seconds, plan.wal_bytes) == (None, None, None)
    assert calls == []


@pytest.mark.asyncio
async def test_a_sample_that_fails_is_a_warning(pool: Pool) -> None:
    await people(pool)

    plan = await Double.plan(
        pool=pool, statement="UPDATE people SET doubled = 1 / (id - 1) WHERE {batch}"
    )

    assert plan.ok
    assert plan.warnings == (
        "the sample failed: DivisionByZeroError: division by zero",
    )


@pytest.mark.asyncio
async def test_the_triggers_that_fire_are_named(pool: Pool) -> None:
    await people(
        pool,
        also="""
        CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER fires BEFORE UPDATE ON people
        FOR EACH ROW EXECUTE FUNCTION nothing();
        CREATE TRIGGER fires_too AFTER UPDATE OF doubled ON people
        FOR EACH ROW EXECUTE FUNCTION nothing();
        CREATE TRIGGER waits_for_email AFTER UPDATE OF email ON people
        FOR EACH ROW EXECUTE FUNCTION nothing();
        CREATE TRIGGER waits_for_delete AFTER DELETE ON people
        FOR EACH ROW EXECUTE FUNCTION nothing();
        CREATE TRIGGER sleeps BEFORE UPDATE ON people
        FOR EACH ROW EXECUTE FUNCTION nothing();
        ALTER TABLE people DISABLE TRIGGER sleeps
        """,
    )

    plan = await Double.plan(pool=pool)

    assert [text.split()[2] for text in plan.triggers] == ["fires", "fires_too"]


@pytest.mark.asyncio
async def test_updates_can_be_hot_where_no_index_has_the_columns(pool: Pool) -> None:
    await people(pool)

    plan = await Double.plan(pool=pool, batch_size=100)

    assert plan.hot is True
    assert plan.sample is not None
    assert (plan.sample.updated, plan.sample.hot) == (300, 300)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "index",
    ["(doubled)", "(abs(doubled))", "(email) WHERE doubled IS NULL"],
)
async def test_updates_cannot_be_hot_where_an_index_hangs_on_a_column(
    pool: Pool, index: str
) -> None:
    await people(pool, also=f"CREATE INDEX ON people {index}")

    plan = await Double.plan(pool=pool, batch_size=100)

    assert plan.hot is False
    assert plan.sample is not None
    assert (plan.sample.updated, plan.sample.hot) == (300, 0)


@pytest.mark.asyncio
async def test_deletes_are_warned_of_foreign_keys_without_an_index(pool: Pool) -> None:
    await people(
        pool,
        also="CREATE TABLE orders (id int, person bigint REFERENCES people);"
        "CREATE TABLE notes (person bigint PRIMARY KEY REFERENCES people)",
    )

    plan = await Double.plan(
        pool=pool, where=None, statement="DELETE FROM people WHERE {batch}"
    )

    assert plan.ok
    assert plan.warnings == (
        "each deleted row is looked for by foreign key orders_person_fkey of orders, "
        "which has no index",
    )
    assert plan.hot is None


@pytest.mark.asyncio
async def test_a_copy_locks_and_fires_at_the_table_it_writes_to(pool: Pool) -> None:
    await people(
        pool,
        also="""
        CREATE TABLE copies (id bigint PRIMARY KEY);
        CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER at_copies BEFORE INSERT ON copies
        FOR EACH ROW EXECUTE FUNCTION nothing()
        """,
    )

    plan = await Double.plan(
        pool=pool,
        where=None,
        statement="INSERT INTO copies SELECT id FROM people WHERE {batch}",
    )

    assert plan.ok
    assert [text.split()[2] for text in plan.triggers] == ["at_copies"]
    assert plan.locks[0] == "ROW EXCLUSIVE on copies"


@pytest.mark.asyncio
async def test_a_plan_reads_as_a_text(pool: Pool) -> None:
    await people(pool)

    lines = str(await Double.plan(pool=pool, batch_size=500)).splitlines()

    assert lines[:4] == [
        "double: may be run",
        '  table: "people" by id',
        "  index: people_pkey",
        "  extent: about 10,000 rows, 20 batches",
    ]
    assert re.fullmatch(
        r"  sample: 3 batches of 1,500 rows, [\d.]+ ms each, [\d,]+ rows/s, "
        r"[\d.]+ kB of WAL, 100% HOT; all rolled back",
        lines[4],
    )
    assert re.fullmatch(
        r"  time: about [\d.]+ (s|min), one batch after the other", lines[5]
    )
    assert "  locks: ROW EXCLUSIVE on people" in lines


@pytest.mark.asyncio
async def test_what_is_wrong_with_the_class_is_raised(pool: Pool) -> None:
    with pytest.raises(ConfigurationError, match="batch_sise is not an option"):
        await Double.plan(pool=pool, batch_sise=3)


@pytest.mark.asyncio
async def test_a_dry_run_leaves_nothing_changed(pool: Pool) -> None:
    await people(pool)
    stopped = await Double.run(pool=pool, batch_size=100, max_batches=2)
    before = await snapshot_of(pool)

    tried = await Double.dry_run(4, pool=pool, batch_size=100)

    assert stopped.status is RunStatus.STOPPED
    assert await snapshot_of(pool) == before
    assert (tried.batches, tried.rows) == (4, 400)
    assert tried.seconds > 0
    assert tried.wal_bytes is not None
    assert tried.wal_bytes > 0
    assert tried.seconds_a_batch == pytest.approx(tried.seconds / 4)


@pytest.mark.asyncio
async def test_a_dry_run_makes_no_tables_for_a_store(pool: Pool) -> None:
    await people(pool)

    await Double.dry_run(1, pool=pool)
    await Double.plan(pool=pool)

    assert await pool.fetchval("SELECT to_regnamespace('adaptive_backfill')") is None


@pytest.mark.asyncio
async def test_a_dry_run_ends_with_the_table(pool: Pool) -> None:
    await people(pool, 250)

    tried = await Double.dry_run(10, pool=pool, batch_size=100)

    assert (tried.batches, tried.rows) == (3, 250)


@pytest.mark.asyncio
async def test_a_dry_run_begins_where_it_is_told(pool: Pool) -> None:
    await people(pool, 250)
    begin = Cursor((200,), (240,))

    tried = await Double.dry_run(10, pool=pool, batch_size=15, initial_state=begin)

    assert (tried.batches, tried.rows) == (3, 40)


@pytest.mark.asyncio
async def test_a_dry_run_hands_rows_to_python_with_the_connection(pool: Pool) -> None:
    await people(pool, 250)
    before = await snapshot_of(pool)
    calls: list[int] = []

    tried = await Handled.dry_run(2, pool=pool, batch_size=100, calls=calls)

    assert calls == [100, 100]
    assert (tried.rows, tried.updated) == (200, 200)
    assert await snapshot_of(pool) == before


@pytest.mark.asyncio
async def test_a_dry_run_that_fails_raises_and_leaves_no_transaction(
    pool: Pool,
) -> None:
    await people(pool)
    statement = "UPDATE people SET doubled = 1 / (id - 1) WHERE {batch}"

    with pytest.raises(asyncpg.DivisionByZeroError):
        await Double.dry_run(pool=pool, statement=statement)

    assert await Double.dry_run(1, pool=pool) is not None
    assert (
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND state LIKE 'idle in transaction%'"
        )
        == 0
    )


class Answering(Handled):
    """Answers what it is told to."""

    answer: Any

    async def handle_rows(self, rows: list[Any], connection: Any) -> Any:
        return self.answer


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [Fail("no such tenant"), Halt("no such tenant")])
async def test_a_batch_that_is_not_done_is_told_and_not_counted(
    pool: Pool, answer: object
) -> None:
    await people(pool)

    with pytest.raises(Exception, match=r"handle_rows answered .*no such tenant"):
        await Answering.dry_run(pool=pool, answer=answer, calls=[])
    plan = await Answering.plan(pool=pool, answer=answer, calls=[])

    assert plan.ok
    assert plan.sample is None
    assert "no such tenant" in plan.warnings[-1]


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", ["done", -1, True, 1.5], ids=repr)
async def test_an_answer_that_is_none_fails_a_dry_run_as_it_would_a_run(
    pool: Pool, answer: object
) -> None:
    await people(pool)

    with pytest.raises(InvalidAnswer, match=r"Answering\.handle_rows"):
        await Answering.dry_run(pool=pool, answer=answer, calls=[])


@pytest.mark.asyncio
async def test_a_dry_run_counts_the_rows_that_python_says_it_did(pool: Pool) -> None:
    await people(pool)

    tried = await Answering.dry_run(2, pool=pool, batch_size=100, answer=7, calls=[])

    assert tried.rows == 14


@pytest.mark.asyncio
@pytest.mark.parametrize("batches", [0, -1, True, 1.5, "3", None], ids=repr)
async def test_a_dry_run_of_no_sensible_number_is_refused(
    batches: Any, pool: Pool
) -> None:
    with pytest.raises(ConfigurationError, match="an int of at least 1"):
        await Double.dry_run(batches, pool=pool)


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        ("UPDATE t SET a = 1", {"a"}),
        ("UPDATE t SET a = 1, B = f(b, c) WHERE d = 2", {"a", "b"}),
        (
            'UPDATE t AS x SET "Odd ""one" = 1, b = x.a FROM y WHERE c',
            {'Odd "one', "b"},
        ),
        (
            "update t set (a, b) = (SELECT c, d FROM e), f = 1 returning g",
            {"a", "b", "f"},
        ),
        ("UPDATE t SET a = b IS DISTINCT FROM c, d = 1 WHERE e", {"a", "d"}),
        ("UPDATE t SET a = 'x, b = 1 WHERE', c = $$ , d = 1 $$ WHERE e", {"a", "c"}),
        ("UPDATE t SET a = '\\', b = 2", {"a", "b"}),
        ("UPDATE t SET a = extract(year FROM b), c = 1", {"a", "c"}),
        ("UPDATE t /* SET x = 1 */ SET a = 1 -- , b = 2\n, c = 3", {"a", "c"}),
        ("WITH s AS (UPDATE u SET z = 1) UPDATE t SET a = 1", {"a"}),
        ("DELETE FROM t WHERE a = 1", None),
    ],
)
def test_the_columns_that_a_statement_sets(
    statement: str, columns: set[str] | None
) -> None:
    assert set_columns(statement) == columns
