"""Roles that cannot see the sessions of others: unknown is not healthy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias
from uuid import uuid4

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from adaptive_backfill import OK, Halt, Pause
from adaptive_backfill.postgres import long_waiting_queries
from tests.postgres.asking import as_role, ask, connected, new_run, query_running

NewRole: TypeAlias = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture
async def new_role(database: str) -> AsyncIterator[NewRole]:
    """Makes roles that may log in, and drops them after the test."""
    made: list[str] = []

    async def make(*grants: str) -> str:
        role = f"role_{uuid4().hex[:12]}"
        async with connected(database) as connection:
            await connection.execute(f"CREATE ROLE {role} LOGIN")
            made.append(role)
            for grant in grants:
                await connection.execute(f"GRANT {grant} TO {role}")
        return role

    yield make
    async with connected(database) as connection:
        for role in made:
            await connection.execute(f"DROP ROLE {role}")


@pytest.mark.asyncio
async def test_a_role_that_cannot_see_a_long_query_pauses_and_warns_once_a_run(
    database: str, new_role: NewRole
) -> None:
    role = await new_role()
    check = long_waiting_queries(as_role(database, role), limit=0)
    runs = [new_run("first"), new_run("second")]
    async with query_running(database):
        with capture_logs() as logs:
            verdicts = [await ask(check, run) for run in runs for _ in range(2)]

    unseen = (
        "cannot see the queries of other roles (1 hidden now); "
        f"grant pg_monitor to {role}, or say allow_blind=True"
    )
    assert verdicts == 4 * [Pause(unseen)]
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [(line["backfill"], line["reason"]) for line in warnings] == [
        ("first", unseen),
        ("second", unseen),
    ]


@pytest.mark.asyncio
async def test_a_role_that_could_not_see_is_blind_also_while_nothing_is_hidden(
    database: str, new_role: NewRole
) -> None:
    verdict = await ask(
        long_waiting_queries(as_role(database, await new_role()), action="slow")
    )

    assert isinstance(verdict, Pause)
    assert "(0 hidden now)" in str(verdict.reason)


@pytest.mark.asyncio
async def test_a_check_that_may_be_blind_goes_by_what_it_sees_and_still_warns(
    database: str, new_role: NewRole
) -> None:
    dsn = as_role(database, await new_role())
    check = long_waiting_queries(dsn, limit=0, allow_blind=True)
    async with query_running(database):
        with capture_logs() as logs:
            hidden = await ask(check)
    async with query_running(dsn):
        seen = await ask(check)

    assert hidden is OK
    assert isinstance(seen, Halt)
    assert [line["log_level"] for line in logs] == ["warning"]


@pytest.mark.asyncio
async def test_a_long_query_that_a_blind_role_does_see_halts(
    database: str, new_role: NewRole
) -> None:
    dsn = as_role(database, await new_role())
    async with query_running(dsn):
        verdict = await ask(long_waiting_queries(dsn, limit=0))

    assert isinstance(verdict, Halt)


@pytest.mark.asyncio
@pytest.mark.parametrize("grant", ["pg_monitor", "pg_read_all_stats"])
async def test_a_role_with_the_grant_sees_the_queries_of_others(
    database: str, new_role: NewRole, grant: str
) -> None:
    check = long_waiting_queries(as_role(database, await new_role(grant)), limit=0)
    with capture_logs() as logs:
        idle = await ask(check)
        async with query_running(database):
            busy = await ask(check)

    assert idle is OK
    assert isinstance(busy, Halt)
    assert logs == []
