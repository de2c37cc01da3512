"""The commands that ask a database: before, while and after a table is walked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import click

from adaptive_backfill import postgres
from adaptive_backfill.cli.asking import answer_of
from adaptive_backfill.cli.codes import ExitCode
from adaptive_backfill.cli.declared import Declared, declared_by
from adaptive_backfill.cli.loading import load, users_code
from adaptive_backfill.cli.options import with_traceback
from adaptive_backfill.cli.pools import opened, with_pools
from adaptive_backfill.cli.stream import tell
from adaptive_backfill.cli.trouble import Trouble
from adaptive_backfill.cli.values import overrides_from
from adaptive_backfill.cli.words import columns, plural
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres import PostgresStore, TableBackfill
from adaptive_backfill.postgres._store_schema import DEFAULT_SCHEMA

__all__ = ["doctor", "ensure_finished", "failures", "plan", "store_script", "verify"]

_C = TypeVar("_C", bound=Callable[..., object])
_T = TypeVar("_T")
_Ready = Mapping[str, object]


def _of_a_class(command: _C) -> _C:
    """Give *command* what all those take that ask about a class."""
    command = click.option(
        "--set",
        "pairs",
        metavar="OPTION=VALUE",
        multiple=True,
        help="Override an option, as in run: pool=postgresql://..., or else the "
        "environment variable DATABASE_URL leads to the database.",
    )(command)
    return click.argument("target")(with_traceback(command))


@click.command()
@_of_a_class
@click.option("--no-measure", is_flag=True, help="Try no batches.")
@click.pass_context
def plan(
    context: click.Context, /, *, target: str, pairs: tuple[str, ...], no_measure: bool
) -> None:
    """Show what a run over a table would do and cost, and whether it should.

    Up to three batches are done and rolled back. Exit code 1 where it must not be run.
    """
    declared, table = _table(target)
    found = _asked(
        declared, pairs, lambda ready: table.plan(measure=not no_measure, **ready)
    )
    tell(str(found))
    context.exit(ExitCode.OK if found.ok else ExitCode.FAILED)


@click.command()
@_of_a_class
@click.pass_context
def verify(context: click.Context, /, *, target: str, pairs: tuple[str, ...]) -> None:
    """Count the rows of a table that are still to do.

    Exit code 1 where there are some, or where counting cannot tell.
    """
    declared, table = _table(target)
    found = _asked(declared, pairs, lambda ready: table.verify(**ready))
    tell(str(found))
    context.exit(ExitCode.OK if found.ok else ExitCode.FAILED)


@click.command("ensure-finished")
@_of_a_class
@click.option("--no-verify", is_flag=True, help="Count no rows.")
def ensure_finished(*, target: str, pairs: tuple[str, ...], no_verify: bool) -> None:
    """Fail unless a backfill is finished: a gate for deploys.

    Exit code 1, with the reason, where it is not.
    """
    declared = declared_by(load(target))
    result = _asked(
        declared,
        pairs,
        lambda ready: postgres.ensure_finished(
            declared.cls, verify=not no_verify, **ready
        ),
    )
    tell(f"{result.name} is finished: {plural(result.rows, 'row')}.")


@click.command()
@_of_a_class
@click.option("--retry", is_flag=True, help="Try them again first.")
@click.pass_context
def failures(
    context: click.Context, /, *, target: str, pairs: tuple[str, ...], retry: bool
) -> None:
    """List the rows of a table that could not be done, and were set aside.

    With --retry, exit code 1 where some are left.
    """
    declared, table = _table(target)
    if retry:
        done = _asked(declared, pairs, lambda ready: table.retry_failures(**ready))
        tell(f"{plural(done, 'row')} done now.")
    left = _asked(declared, pairs, lambda ready: table.failures(**ready))
    rows = [
        (str(row.key), str(row.attempts), f"{row.at:%F %T}", row.error) for row in left
    ]
    head = ("KEY", "TRIED", "LAST", "WHY")
    tell(*(columns([head, *rows]) if rows else ["No row is set aside."]))
    context.exit(ExitCode.FAILED if retry and left else ExitCode.OK)


@click.command()
@click.option("--dsn", metavar="DSN", help="Where; by default DATABASE_URL.")
@click.option("--table", metavar="NAME", help="The table that is to be worked on.")
@with_traceback
def doctor(dsn: str | None, table: str | None) -> None:
    """Show what the health checks see on a server, and what they lack there."""

    async def examined() -> postgres.Diagnosis:
        async with opened("doctor", "--dsn", dsn, size=2) as pool:
            return await postgres.doctor(pool, table=table)

    tell(str(answer_of(examined())))


@click.command("store-script")
@click.option("--schema", metavar="NAME", default=DEFAULT_SCHEMA, show_default=True)
def store_script(schema: str) -> None:
    """Print the SQL that makes the tables of a PostgresStore, for psql."""
    try:
        script = PostgresStore.script(schema)
    except ConfigurationError as error:
        raise Trouble(str(error)) from error
    tell(script)


def _table(target: str) -> tuple[Declared, type[TableBackfill]]:
    declared = declared_by(load(target))
    if issubclass(declared.cls, TableBackfill):
        return declared, declared.cls
    msg = f"{target} walks no table: this is for subclasses of TableBackfill."
    raise Trouble(msg)


def _asked(
    declared: Declared,
    pairs: tuple[str, ...],
    ask: Callable[[_Ready], Awaitable[_T]],
) -> _T:
    overrides = overrides_from(declared, pairs)

    async def answered() -> _T:
        async with with_pools(declared, overrides) as ready:
            with users_code():
                return await ask(ready)

    return answer_of(answered())
