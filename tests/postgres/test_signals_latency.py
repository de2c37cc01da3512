"""The application's own query, timed on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import asyncpg
import pytest
from structlog.testing import capture_logs

from adaptive_backfill import OK, HealthCheck, HealthContext, Pause, Slow
from adaptive_backfill.errors import ConfigurationError, HealthCheckTimeout
from adaptive_backfill.postgres import checks
from adaptive_backfill.postgres.signals.latency import _told_by
from adaptive_backfill.testing.postgres import Server
from tests.postgres.asking import Connection, Pool, a_role, ask, connected, new_run

pytestmark = pytest.mark.postgres


@dataclass
class Query:
    """A query that takes as long as it is told to."""

    seconds: float
    asked: int = 0

    async def __call__(self, connection: Connection) -> None:
        self.asked += 1
        await connection.execute(f"SELECT pg_sleep({self.seconds})")


@dataclass
class Uneven(Query):
    """One of which three in five take longer, where that is said."""

    slow: float = 0.0

    async def __call__(self, connection: Connection) -> None:
        self.asked += 1
        seconds = self.slow if self.slow and self.asked % 5 < 3 else self.seconds
        await connection.execute(f"SELECT pg_sleep({seconds})")


def load_of(check: HealthCheck, run: HealthContext) -> float | None:
    asked: Any = check.fn
    load: float | None = asked.load(run)
    return load


@pytest.mark.asyncio
async def test_the_first_look_is_the_measure_of_all_that_follow(pool: Pool) -> None:
    query, run = Query(0.002), new_run()
    check = checks.latency_probe(query, pool=pool)

    assert load_of(check, run) is None
    assert await ask(check, run) is OK
    assert load_of(check, run) == pytest.approx(1 / 3)


@pytest.mark.asyncio
async def test_a_query_that_takes_longer_than_before_the_run_slows(pool: Pool) -> None:
    query, run = Query(0.005), new_run()
    check = checks.latency_probe(query, pool=pool, budget=2.0)
    assert await ask(check, run) is OK

    query.seconds = 0.03
    for _ in range(2):
        verdict = await ask(check, run)

        assert isinstance(verdict, Slow)
        assert str(verdict.reason).startswith("latency_probe ")
        assert " > 2 (" in str(verdict.reason)
        assert "ms before the run)" in str(verdict.reason)
        assert (load_of(check, run) or 0.0) > 1.0

    query.seconds = 0.005
    # The last three looks count together.
    assert [await ask(check, run) is OK for _ in range(3)][-1]
    assert (load_of(check, run) or 9.0) < 1.0


@pytest.mark.asyncio
async def test_a_first_look_that_is_slow_in_part_is_believed_with_the_second(
    pool: Pool,
) -> None:
    query, run = Uneven(0.005), new_run()
    check = checks.latency_probe(query, pool=pool, budget=2.0)
    assert await ask(check, run) is OK

    query.slow = 0.03
    assert await ask(check, run) is OK
    assert (load_of(check, run) or 9.0) < 1.0
    assert isinstance(await ask(check, run), Slow)


@pytest.mark.asyncio
async def test_each_run_is_measured_against_its_own_beginning(pool: Pool) -> None:
    query = Query(0.001)
    check = checks.latency_probe(query, pool=pool, budget=2.0)
    assert await ask(check, new_run()) is OK

    query.seconds = 0.02
    assert await ask(check, new_run()) is OK


@pytest.mark.asyncio
async def test_a_query_may_be_given_as_sql(pool: Pool) -> None:
    check, run = checks.latency_probe("SELECT 1", pool=pool, name="lookup"), new_run()

    assert await ask(check, run) is OK
    assert check.name == "lookup"


@pytest.mark.asyncio
async def test_the_probes_are_told_from_the_statements_of_users(pool: Pool) -> None:
    await pool.execute("CREATE TABLE said (query text)")
    check = checks.latency_probe("INSERT INTO said VALUES (current_query())", pool=pool)

    await ask(check, new_run())

    said = [row["query"] for row in await pool.fetch("SELECT query FROM said")]
    assert len(said) > 40
    assert all("adaptive_backfill" in query for query in said)


async def looks(
    check: HealthCheck, run: HealthContext, *, number: int, seconds: float = 1.0
) -> list[Any]:
    """What *check* says at so many looks, each in *seconds*."""
    verdicts: list[Any] = []
    for _ in range(number):
        with anyio.fail_after(seconds):
            verdicts.append(await ask(check, run))
    return verdicts


def warned(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    assert all(line["event"] == "health check is disabled" for line in logs)
    return [line["reason"] for line in logs]


@pytest.mark.asyncio
@pytest.mark.parametrize(("seconds", "allowed"), [(0.1, 1.0), (5.0, 3.0)])
async def test_a_query_that_was_always_too_slow_to_be_timed_is_left_out(
    pool: Pool, seconds: float, allowed: float
) -> None:
    check = checks.latency_probe(Query(seconds), pool=pool, action="halt")

    with capture_logs() as logs:
        verdicts = await looks(check, new_run(), number=2, seconds=allowed)

    assert verdicts == [OK, OK]
    (reason,) = warned(logs)
    assert reason.startswith("too slow to be timed more than ")
    assert "take a quicker query, or raise health_timeout" in reason


@pytest.mark.asyncio
async def test_a_query_that_becomes_too_slow_to_be_timed_often_slows(
    pool: Pool,
) -> None:
    query, run = Query(0.002), new_run()
    check = checks.latency_probe(query, pool=pool)
    assert [await ask(check, run) for _ in range(3)] == [OK, OK, OK]

    query.seconds = 0.2
    (slow,) = await looks(check, run, number=1)

    assert isinstance(slow, Slow)
    assert " > 3 (" in str(slow.reason)


@pytest.mark.asyncio
async def test_few_probes_within_the_budget_are_no_reason_to_wait(pool: Pool) -> None:
    query, run = Query(0.015), new_run()
    check = checks.latency_probe(query, pool=pool, budget=9.0)
    assert await ask(check, run) is OK

    query.seconds = 0.06
    assert await looks(check, run, number=2) == [OK, OK]
    assert (load_of(check, run) or 9.0) < 1.0


@pytest.mark.asyncio
async def test_a_query_that_worked_and_never_ends_is_unknown(pool: Pool) -> None:
    query, run = Query(0.002), new_run()
    check = checks.latency_probe(query, pool=pool)
    assert await ask(check, run) is OK

    query.seconds = 60.0
    with pytest.raises(HealthCheckTimeout, match="latency_probe"):
        await looks(check, run, number=1, seconds=3.0)
    query.seconds = 0.002
    assert await ask(check, run) is OK


@pytest.mark.asyncio
async def test_a_first_look_in_which_nothing_has_changed_is_as_usual(
    pool: Pool,
) -> None:
    query, run = Uneven(0.005, slow=0.025), new_run()
    check = checks.latency_probe(query, pool=pool)
    assert await ask(check, run) is OK

    assert await ask(check, run) is OK
    # And not as its quick probes say, which would be room for more workers.
    assert load_of(check, run) == pytest.approx(1 / 3, rel=0.3)


@pytest.mark.asyncio
async def test_a_probe_cut_short_in_a_transaction_leaves_none_behind(
    pool: Pool,
) -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    within = anyio.Event()

    async def probe(connection: Connection) -> None:
        async with connection.transaction():
            within.set()
            await connection.execute("SELECT pg_sleep(60)")

    check = checks.latency_probe(probe, pool=pool)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, check, new_run())
        await within.wait()
        tasks.cancel_scope.cancel()

    assert told == []
    assert pool.get_idle_size() == pool.get_size()


async def forgets_its_argument() -> None:
    """No probe: it takes no connection."""


async def raises_of_its_own(connection: Connection) -> None:
    raise LookupError("no such user")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT nonsense", 'column "nonsense" does not exist'),
        ("SELECT FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELEC 1", "syntax error"),
        ("SELECT $1::int", "the server expects 1 argument"),
        ("SELECT 1 / 0", "division by zero"),
        (forgets_its_argument, "takes 0 positional arguments"),
        (raises_of_its_own, "no such user"),
    ],
)
async def test_a_query_that_never_worked_is_left_out_and_told_once(
    pool: Pool, query: Any, reason: str
) -> None:
    check, run = checks.latency_probe(query, pool=pool), new_run()

    with capture_logs() as logs:
        verdicts = [await ask(check, run) for _ in range(3)]

    assert verdicts == [OK, OK, OK]
    assert load_of(check, run) is None
    (told,) = warned(logs)
    assert reason in told
    assert "; correct the query, or grant what it needs" in told


@pytest.mark.asyncio
async def test_a_query_that_may_not_be_asked_is_left_out(database: str) -> None:
    async with connected(database) as owner:
        await owner.execute("CREATE TABLE secrets ()")
    async with a_role(database) as dsn:
        check = checks.latency_probe("SELECT FROM secrets", pool=dsn)
        with capture_logs() as logs:
            verdict = await ask(check)

    assert verdict is OK
    assert "permission denied for table secrets" in warned(logs)[0]


@pytest.mark.asyncio
async def test_a_query_that_begins_to_work_counts_from_then_on(pool: Pool) -> None:
    check, run = checks.latency_probe("SELECT * FROM later", pool=pool), new_run()
    with capture_logs():
        assert await ask(check, run) is OK

    await pool.execute("CREATE TABLE later (slept text)")
    assert await ask(check, run) is OK
    assert load_of(check, run) == pytest.approx(1 / 3)

    await pool.execute(
        "DROP TABLE later; CREATE VIEW later AS SELECT pg_sleep(0.02)::text AS slept"
    )
    slow = await ask(check, run)
    assert isinstance(slow, Slow)
    assert "ms when it began to work)" in str(slow.reason)


@pytest.mark.asyncio
async def test_a_query_that_worked_and_fails_is_not_healthy(pool: Pool) -> None:
    await pool.execute("CREATE TABLE there ()")
    check, run = checks.latency_probe("SELECT FROM there", pool=pool), new_run()
    assert await ask(check, run) is OK

    await pool.execute("DROP TABLE there")
    with pytest.raises(asyncpg.UndefinedTableError):
        await ask(check, run)
    assert check.on_error == "pause"


async def loses_its_connection(connection: Connection) -> None:
    await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def reaches_nothing(connection: Connection) -> None:
    raise ConnectionRefusedError("no other database")


async def finds_no_room(connection: Connection) -> None:
    await connection.execute(
        "DO $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$"
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("probe", "raised"),
    [
        (loses_its_connection, (asyncpg.PostgresError, asyncpg.InterfaceError)),
        (reaches_nothing, ConnectionRefusedError),
        (finds_no_room, asyncpg.DiskFullError),
    ],
)
async def test_a_server_that_fails_a_first_look_is_not_healthy(
    pool: Pool, probe: Any, raised: Any
) -> None:
    check = checks.latency_probe(probe, pool=pool)

    with pytest.raises(raised):
        await ask(check, new_run())


@pytest.mark.asyncio
async def test_a_first_look_without_a_connection_waits(server: Server) -> None:
    check = checks.latency_probe("SELECT 1", pool=server.dsn("nowhere"))

    reason = 'no connection: database "nowhere" does not exist'
    assert await ask(check) == Pause(reason)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"query": " "}, "query must be SQL, or an async callable, not ' '"),
        ({"query": 3}, "query must be SQL, or an async callable, not 3"),
        ({"budget": 1}, "budget must be a number above 1, not 1"),
        ({"budget": "x"}, "budget must be a number above 1, not 'x'"),
        ({"action": "stop"}, "action must be 'halt' or 'pause' or 'slow'"),
        ({"pool": 3}, "3"),
    ],
)
def test_what_is_no_argument_is_refused(
    arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checks.latency_probe(**{"query": "SELECT 1", **arguments})

    assert problem in str(refused.value)


def test_a_slow_look_counts_as_much_as_a_quick_one_though_it_has_fewer_probes() -> None:
    quick, slow = (0.002,) * 40, (0.2,) * 12

    assert _told_by((quick, quick, slow), 0.002) == 0.002
    assert _told_by((quick, slow, slow), 0.002) == 0.2
    assert _told_by((slow, slow, slow), 0.002) == 0.2
