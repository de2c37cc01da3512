"""A recorded walk says of its batches what the pace learned from."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.testing import Trace, record
from tests.engine.conftest import nobody_left_listening, quiet

from .asking import Pool
from .tables import done, numbered

__all__ = ["nobody_left_listening", "quiet"]

pytestmark = pytest.mark.postgres

ROWS, SLOW = 20, 0.002

AT_COMMIT = f"""
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep({SLOW}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON items
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slowly();
"""


class Fill(TableBackfill):
    table = "items"
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"
    batch_size = ROWS


@pytest.mark.asyncio
async def test_the_time_of_a_commit_is_in_the_trace(pool: Pool, tmp_path: Path) -> None:
    await numbered(pool, 3 * ROWS)
    await pool.execute(AT_COMMIT)
    try:
        with record(tmp_path / "trace.jsonl"):
            done(await Fill.run(pool=pool))
    finally:
        await pool.execute("DROP FUNCTION slowly CASCADE")
    batches = [batch for _, batch in Trace.read(tmp_path / "trace.jsonl").batches]

    worked = [batch for batch in batches if batch.rows]
    assert [batch.rows for batch in worked] == [ROWS] * 3
    assert min(batch.seconds for batch in worked) >= SLOW * ROWS
