"""The application's own query, timed on a real server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import anyio
import asyncpg
import pytest

from adaptive_backfill import OK, HealthCheck, HealthContext, Slow
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres import checks
from tests.postgres.asking import Connection, Pool, ask, new_run

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
    query, run = Query(0.001), new_run()
    check = checks.latency_probe(query, pool=pool, budget=2.0)
    assert await ask(check, run) is OK

    query.seconds = 0.02
    for _ in range(2):
        verdict = await ask(check, run)

        assert isinstance(verdict, Slow)
        assert str(verdict.reason).startswith("latency_probe ")
        assert " > 2 (" in str(verdict.reason)
        assert "ms before the run)" in str(verdict.reason)
        assert (load_of(check, run) or 0.0) > 1.0

    query.seconds = 0.001
    # The last three looks count together.
    assert [await ask(check, run) is OK for _ in range(3)][-1]
    assert (load_of(check, run) or 9.0) < 1.0


@pytest.mark.asyncio
async def test_a_first_look_that_is_slow_in_part_is_believed_with_the_second(
    pool: Pool,
) -> None:
    query, run = Uneven(0.001), new_run()
    check = checks.latency_probe(query, pool=pool, budget=2.0)
    assert await ask(check, run) is OK

    query.slow = 0.02
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


@pytest.mark.asyncio
async def test_a_query_too_slow_to_be_timed_often_pauses_the_run(pool: Pool) -> None:
    check = checks.latency_probe(Query(0.1), pool=pool)

    with anyio.fail_after(1.0):
        verdict = await ask(check, new_run())

    assert str(verdict).startswith("Pause(")
    assert "latency_probe: too slow to be timed more than" in str(verdict)


@pytest.mark.asyncio
async def test_a_first_look_in_which_nothing_has_changed_is_as_usual(
    pool: Pool,
) -> None:
    query, run = Uneven(0.001, slow=0.01), new_run()
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


@pytest.mark.asyncio
async def test_a_query_that_fails_says_so(pool: Pool) -> None:
    check = checks.latency_probe("SELECT nonsense", pool=pool)

    with pytest.raises(asyncpg.UndefinedColumnError):
        await ask(check, new_run())
    assert check.on_error == "pause"


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
