"""A single operation that pages through a table by itself, and asks between pages.

Run it: `uv run python examples/single_pagination.py`.

Nothing is kept between two runs but the rows themselves: a run that was halted is begun
anew, and `slug IS NULL` leads it past what is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from scaffold import Pool, Row, expect, run_example

from adaptive_backfill import (
    OK,
    Answer,
    Backfill,
    Done,
    Halt,
    Pause,
    RunStatus,
    Verdict,
)
from adaptive_backfill.postgres import long_waiting_queries

ARTICLES = """
CREATE TABLE articles (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    slug text
);
INSERT INTO articles (title)
SELECT 'Article Number ' || n FROM generate_series(1, 1000) AS n;
"""

PAGE = 150


async def calm(health_check: Callable[[], Awaitable[Verdict]]) -> Verdict:
    """Wait out what only needs time; return what to do then."""
    while True:
        verdict = await health_check()
        if not isinstance(verdict, Pause):
            return verdict
        await asyncio.sleep(1.0)


class SlugArticles(Backfill):
    """Give every article its slug."""

    pool: Pool
    mode = "sync"
    health_checks = [long_waiting_queries(limit=30)]

    async def handle(self, health_check: Callable[[], Awaitable[Verdict]]) -> Answer:
        last_id, slugged = 0, 0
        while page := await self._page_after(last_id):
            if isinstance(verdict := await calm(health_check), Halt):
                print(f"halted after {slugged} articles: {verdict.reason}")
                return verdict
            await self._slug(page)
            last_id, slugged = page[-1]["id"], slugged + len(page)
        return Done(slugged)

    async def _page_after(self, last_id: int) -> list[Row]:
        return await self.pool.fetch(
            "SELECT id, title FROM articles"
            " WHERE id > $1 AND slug IS NULL ORDER BY id LIMIT $2",
            last_id,
            PAGE,
        )

    async def _slug(self, page: list[Row]) -> None:
        slugs = [(row["id"], row["title"].lower().replace(" ", "-")) for row in page]
        await self.pool.executemany(
            "UPDATE articles SET slug = $2 WHERE id = $1", slugs
        )


async def main(pool: Pool) -> str:
    await pool.execute(ARTICLES)

    # The disk fills up when the run has asked four times: once before it began, and
    # before each of three pages.
    answers = iter([OK, OK, OK, OK, Halt("disk at 95 %")])
    halted = await SlugArticles.run(pool=pool, health_checks=[lambda: next(answers)])
    expect("status of the first run", halted.status, RunStatus.HALTED)
    left = await pool.fetchval("SELECT count(*) FROM articles WHERE slug IS NULL")
    expect("articles left by the first run", left, 1000 - 3 * PAGE)

    finished = (await SlugArticles.run(pool=pool)).raise_for_status()
    expect("articles of the second run", finished.result, 1000 - 3 * PAGE)
    right = await pool.fetchval(
        "SELECT count(*) FROM articles WHERE slug = 'article-number-' || id"
    )
    expect("articles with the right slug", right, 1000)
    return "1000 articles slugged in two runs"


if __name__ == "__main__":
    run_example("single_pagination", main)
