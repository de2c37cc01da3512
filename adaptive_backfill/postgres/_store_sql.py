"""What a `PostgresStore` says to the server: the one file that knows its tables.

Rules. Each is one statement, and so one transaction: no lock is held while a process
that may be frozen has the turn. Each may be done twice with the same end, so that it
is repeated where nobody knows whether it was done. Whoever writes for a run proves by
the token that it still holds the name. Times are the server's, by
`clock_timestamp()`. There is nothing of a session: no prepared name, no setting, no
advisory lock, because behind PgBouncer the next statement may have another one.
"""

from __future__ import annotations

from typing_extensions import override

__all__ = [
    "BEAT",
    "DELETE",
    "DISCARD",
    "ENDING",
    "FAILURES",
    "FAILURES_COUNTED",
    "FAILURES_DROPPED",
    "FAILURES_THERE",
    "FAILURE_AGAIN",
    "FAILURE_DONE",
    "FAILURE_PUT",
    "FAILURE_TAKEN",
    "FINISH",
    "FINISHED",
    "HISTORY_OF",
    "LEAVE",
    "LOAD",
    "LOOK",
    "MINE",
    "PUT",
    "RELEASE",
    "RELEASE_DONE",
    "SAVE",
    "SAVE_ON",
    "SETTLED",
    "TAKE",
    "THERE",
    "UNTOLD",
    "VERSION",
    "WISHED",
    "Tables",
]


class Tables:
    """The tables in one schema."""

    def __init__(self, schema: str) -> None:
        self.schema = '"' + schema.replace('"', '""') + '"'
        self._texts: dict[str, str] = {}

    @override
    def __repr__(self) -> str:
        return f"Tables({self.schema})"

    def sql(self, template: str) -> str:
        """Return *template* as it is said in this schema: always the same object."""
        text = self._texts.get(template)
        if text is None:
            names = f"{self.schema}.backfill_names"
            failures = f"{self.schema}.backfill_failures"
            text = self._texts[template] = template.format(
                names=names,
                names_text=_quoted(names),
                endings=f"{self.schema}.backfill_endings",
                failures=failures,
                failures_text=_quoted(failures),
                versions=f"{self.schema}.backfill_versions",
            )
        return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_HELD = "name = $1 AND token = $2 AND holder IS NOT NULL"
_CLEARED = "state = NULL, form = NULL, batches = 0, rows = 0, batch_size = NULL"

VERSION = "SELECT max(version) FROM {versions}"

LOAD = """
SELECT state, form, batches, rows, batch_size FROM {names}
WHERE name = $1 AND form IS NOT NULL
"""

# Whoever holds the name.
PUT = """
INSERT INTO {names} (name, state, form, batches, rows, batch_size)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO UPDATE SET
    state = excluded.state, form = excluded.form, batches = excluded.batches,
    rows = excluded.rows, batch_size = excluded.batch_size
"""

DELETE = f"UPDATE {{names}} SET {_CLEARED} WHERE name = $1"

# Not ON CONFLICT DO UPDATE, which locks the row before it looks whether it is free:
# it would wait for the holder's batch, and leave a dead lock in the row at each look.
# The run's own id counts as free, for where the first answer was lost on the way.
TAKE = """
WITH known AS (
    SELECT holder, holder IS NOT NULL AND holder <> $2
           AND expires_at > clock_timestamp() AS running, batches, rows, progress
    FROM {names} WHERE name = $1
), free AS (
    SELECT name FROM {names}
    WHERE name = $1
      AND (holder IS NULL OR holder = $2 OR expires_at <= clock_timestamp())
    FOR NO KEY UPDATE SKIP LOCKED
), taken AS (
    UPDATE {names} AS n SET
        token = n.token + 1, holder = $2,
        expires_at = clock_timestamp() + make_interval(secs => $3),
        wishes = n.lasting_wishes
    FROM free WHERE n.name = free.name
    RETURNING n.token
), made AS (
    INSERT INTO {names} (name, token, holder, expires_at)
    SELECT $1, 1, $2, clock_timestamp() + make_interval(secs => $3)
    WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (name) DO NOTHING
    RETURNING token
)
SELECT (SELECT token FROM taken UNION ALL SELECT token FROM made),
       running, holder, batches, rows, progress
FROM (VALUES (1)) AS always LEFT JOIN known ON true
"""

THERE = "SELECT to_regclass({names_text}) IS NOT NULL"

MINE = f"SELECT name FROM {{names}} WHERE {_HELD}"

# Waits for whoever has the row, which may be a COMMIT that was sent and not heard of.
SETTLED = f"""
SELECT batches, finished IS NOT NULL FROM {{names}} WHERE {_HELD} FOR SHARE
"""

# Never back: the last save of a run must not undo a batch whose COMMIT was given up,
# and was done all the same. And never over a gap: the server may have lost what it had
# committed, as in a failover to a standby that was behind.
_SAVE = f"""
UPDATE {{names}} SET
    state = $3, form = $4, batches = $5, rows = $6, batch_size = $7,
    expires_at = clock_timestamp() + make_interval(secs => $8)
WHERE {_HELD} AND batches <= $5
"""

SAVE_ON = f"{_SAVE} AND batches = coalesce($9::bigint, batches)"

# Perhaps it was saved already, and the answer lost.
SAVE = f"{_SAVE} AND batches IN (coalesce($9::bigint, batches), $5)"

# Committed with the last batch, before anybody was told.
FINISH = f"""
UPDATE {{names}} SET
    {_CLEARED}, finished = $3, told = false,
    expires_at = clock_timestamp() + make_interval(secs => $4)
WHERE {_HELD} AND batches = coalesce($5::bigint, batches)
"""

# A row that is locked is left alone: mostly it is the run's own batch that is about
# to commit, and with that renews the lease. Nobody can take a locked row.
BEAT = f"""
WITH mine AS (
    SELECT name FROM {{names}} WHERE {_HELD} FOR NO KEY UPDATE SKIP LOCKED
), renewed AS (
    UPDATE {{names}} AS n SET
        progress = $3, expires_at = clock_timestamp() + make_interval(secs => $4)
    FROM mine WHERE n.name = mine.name
)
SELECT wishes FROM {{names}} WHERE {_HELD}
"""

FINISHED = "SELECT finished FROM {names} WHERE name = $1 AND finished IS NOT NULL"

UNTOLD = FINISHED + " AND NOT told"

DISCARD = f"UPDATE {{names}} SET {_CLEARED}, finished = NULL, told = true WHERE {_HELD}"


def _release(also: str, only: str = "") -> str:
    # The DELETE sees the endings as they were, and so leaves one less.
    return f"""
WITH freed AS (
    UPDATE {{names}} SET holder = NULL, progress = coalesce($3, progress){also}
    WHERE {_HELD} {only}
    RETURNING name
), remembered AS (
    INSERT INTO {{endings}} (name, run_id, result, handed_over)
    SELECT name, $4, $5, $6 FROM freed WHERE $5::text IS NOT NULL
    RETURNING name
)
DELETE FROM {{endings}} AS old USING remembered
WHERE old.name = remembered.name AND old.id <= (
    SELECT id FROM {{endings}} WHERE name = $1 ORDER BY id DESC LIMIT 1 OFFSET $7 - 1
)
"""


RELEASE = _release("")

# Where it was finished with its last batch, only if that was not lost since.
RELEASE_DONE = _release(
    f", {_CLEARED}, finished = $5, told = true", "AND (NOT $8 OR finished IS NOT NULL)"
)

ENDING = """
SELECT result FROM {endings}
WHERE name = $1 AND run_id = $2 AND NOT handed_over ORDER BY id DESC LIMIT 1
"""

HISTORY_OF = "SELECT result FROM {endings} WHERE name = $1 ORDER BY id DESC LIMIT $2"

LOOK = """
SELECT progress, CASE WHEN expires_at > clock_timestamp() THEN holder END
FROM {names}
WHERE progress IS NOT NULL AND ($1::text IS NULL OR name = $1)
ORDER BY name
"""

WISHED = """
SELECT wishes, holder IS NOT NULL AND expires_at > clock_timestamp()
FROM {names} WHERE name = $1
"""

# Only where nobody has wished since it was read, and, if it needs a run, there is one.
LEAVE = """
INSERT INTO {names} AS n (name, wishes, lasting_wishes) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET
    wishes = excluded.wishes, lasting_wishes = excluded.lasting_wishes
WHERE n.wishes IS NOT DISTINCT FROM $4 AND (n.holder IS NOT NULL OR NOT $5)
"""


FAILURES_THERE = "SELECT to_regclass({failures_text}) IS NOT NULL"

FAILURE_PUT = """
INSERT INTO {failures} AS f (name, key, form, error, attempts)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name, md5(key)) DO UPDATE SET
    error = excluded.error, attempts = f.attempts + excluded.attempts,
    at = excluded.at
"""

FAILURES = """
SELECT key, form, error, attempts, at FROM {failures} WHERE name = $1 ORDER BY id
"""

FAILURES_COUNTED = "SELECT count(*) FROM {failures} WHERE name = $1"

FAILURES_DROPPED = "DELETE FROM {failures} WHERE name = $1"

# Whoever else retries it meanwhile has it.
FAILURE_TAKEN = """
SELECT id FROM {failures} WHERE name = $1 AND md5(key) = md5($2)
FOR UPDATE SKIP LOCKED
"""

FAILURE_DONE = "DELETE FROM {failures} WHERE id = $1"

FAILURE_AGAIN = """
UPDATE {failures} SET error = $3, attempts = attempts + 1, at = clock_timestamp()
WHERE name = $1 AND md5(key) = md5($2)
"""
