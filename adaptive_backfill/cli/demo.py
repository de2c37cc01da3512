"""The newcomer's first minute: a real table, a real backfill, a real `kill -9`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from rich.console import Console

from adaptive_backfill.cli.asking import answer_of
from adaptive_backfill.cli.codes import ExitCode
from adaptive_backfill.cli.demo_showing import Demo, Showing
from adaptive_backfill.cli.trouble import Failure, explained
from adaptive_backfill.testing.postgres import ServerUnavailable, temporary_server

__all__ = ["LEAST_ROWS", "Demo", "show"]

LEAST_ROWS = 1_000
"""Fewer make no hundred batches, and there would be nothing to see."""


def show(console: Console, demo: Demo) -> ExitCode:
    """Show it, and leave nothing behind, however it ends.

    Raises:
        Failure: There is no PostgreSQL, or the backfill did not do what it should.
    """
    with _terminated_like_interrupted():
        try:
            console.print("Starting a PostgreSQL server of our own ...")
            with temporary_server() as server:
                return answer_of(Showing(console, server, demo).show())
        except ServerUnavailable as error:
            msg = f"The demo needs a PostgreSQL server.\n{error}"
            raise Failure(msg) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            msg = f"The demo did not get to its end. {explained(error)}"
            raise Failure(msg) from error
        except KeyboardInterrupt:
            console.print("\nInterrupted; the server and its folder are removed.")
            raise


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    before = signal.signal(
        signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT)
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
