"""The schema of a `PostgresStore`: its migrations, and the script that does them.

Whether the store makes its tables or an owner does, it is by the same statement. It
does nothing that is done already, and waits for whoever is at it.
"""

from __future__ import annotations

from adaptive_backfill._core.rules import is_name
from adaptive_backfill.postgres._store_sql import Tables

__all__ = ["DEFAULT_SCHEMA", "KNOWN", "making", "schema_problems", "script"]

DEFAULT_SCHEMA = "adaptive_backfill"

_LONGEST = 63
"""Bytes of a name; PostgreSQL cuts off what is longer, and would mean another."""

_LOCK = 0x6261636B66696C6C
"""Of those who migrate, held to the end of their transaction: "backfill"."""

MIGRATIONS = (
    # A page has room for new versions of its rows, and no index is on what changes:
    # so that saves and beats are HOT, and leave nothing for vacuum.
    """
CREATE TABLE {names} (
    name text PRIMARY KEY,
    -- The snapshot; without a form there is none.
    state text,
    form text,
    batches bigint NOT NULL DEFAULT 0,
    rows bigint NOT NULL DEFAULT 0,
    batch_size bigint,
    -- What people see, and what they wish: of this run, and of the next one, too.
    progress text,
    wishes text,
    lasting_wishes text,
    -- How it was finished, and whether on_complete was told.
    finished text,
    told boolean NOT NULL DEFAULT true,
    -- The lease; the token grows with each run.
    token bigint NOT NULL DEFAULT 0,
    holder text,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

CREATE TABLE {endings} (
    name text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    run_id text NOT NULL,
    handed_over boolean NOT NULL,
    result text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, id)
);
""",
    # A key's JSON may be longer than an index takes.
    """
CREATE TABLE {failures} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    key text NOT NULL,
    form text NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX ON {failures} (name, md5(key));
""",
)
"""Number *n* leads from version *n* to *n* + 1. Never change one that was released."""

KNOWN = len(MIGRATIONS)
"""The version that this code reads and writes."""

_QUOTE = "$adaptive_backfill$"


def schema_problems(schema: object) -> list[str]:
    """Return what is wrong with *schema* as a schema's name."""
    if not is_name(schema) or not isinstance(schema, str):
        return [f"schema must be a schema's name, not {schema!r}"]
    if "$" in schema or "\0" in schema:
        return [f"schema must be a name without '$', not {schema!r}"]
    if len(schema.encode()) > _LONGEST:
        return [f"schema must be a name of {_LONGEST} bytes at most, not {schema!r}"]
    return []


def making(tables: Tables) -> str:
    """Return the one statement that makes or migrates *tables*."""
    literal = tables.schema.replace("'", "''")
    lines = [
        f"DO {_QUOTE}",
        "BEGIN",
        "-- One at a time; whoever comes second finds it done.",
        f"PERFORM pg_advisory_xact_lock({_LOCK});",
        # Not IF NOT EXISTS, which wants the privilege even where it is there.
        f"IF to_regnamespace('{literal}') IS NULL THEN",
        f"    CREATE SCHEMA {tables.schema};",
        "END IF;",
        tables.sql(
            "CREATE TABLE IF NOT EXISTS {versions} (\n"
            "    version integer PRIMARY KEY,\n"
            "    since timestamptz NOT NULL DEFAULT clock_timestamp()\n"
            ");"
        ),
    ]
    for version, migration in enumerate(MIGRATIONS, start=1):
        lines += [
            tables.sql(
                "IF NOT EXISTS (SELECT FROM {versions} WHERE "
                f"version = {version}) THEN"
            ),
            tables.sql(migration).strip("\n"),
            tables.sql(f"INSERT INTO {{versions}} (version) VALUES ({version});"),
            "END IF;",
        ]
    return "\n".join([*lines, "END", f"{_QUOTE};"])


def script(tables: Tables) -> str:
    """Return *making* for people, with what to grant."""
    return f"""\
-- The tables of adaptive_backfill's PostgresStore, in version {KNOWN}.
-- Run it as a role that may create them. To run it again changes nothing.

{making(tables)}

-- Then let those who run backfills in, by their own name instead of backfill_runner:
--
-- GRANT USAGE ON SCHEMA {tables.schema} TO backfill_runner;
-- GRANT SELECT ON {tables.sql("{versions}")} TO backfill_runner;
-- GRANT SELECT, INSERT, UPDATE ON {tables.sql("{names}")} TO backfill_runner;
-- GRANT SELECT, INSERT, DELETE ON {tables.sql("{endings}")} TO backfill_runner;
-- GRANT SELECT, INSERT, UPDATE, DELETE ON {tables.sql("{failures}")}
--     TO backfill_runner;
"""
