"""What to do about errors that people meet most."""

from __future__ import annotations

import errno
import socket

import asyncpg
import pytest

from adaptive_backfill.cli.hints import hint_for
from adaptive_backfill.errors import CheckpointError


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ConnectionRefusedError(111, "refused"), "is the server up?"),
        (OSError("Multiple exceptions: Connect call failed"), "is the server up?"),
        (socket.gaierror(-2, "Name or service not known"), "the DSN's host"),
        (asyncpg.InvalidPasswordError("x"), "user and password in the DSN"),
        (asyncpg.InvalidCatalogNameError("x"), "the last part of the DSN"),
        (asyncpg.InsufficientPrivilegeError("x"), "GRANT SELECT, UPDATE ON"),
        (asyncpg.UndefinedTableError("x"), "search_path"),
        (asyncpg.ReadOnlySQLTransactionError("x"), "connect to the primary"),
        (asyncpg.DeadlockDetectedError("x"), "Retry(attempts=5)"),
        (asyncpg.ConnectionDoesNotExistError("x"), "The server went away"),
        (ConnectionResetError(104, "reset"), "The server went away"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (PermissionError(errno.EACCES, "denied"), "permissions"),
    ],
)
def test_a_common_error_has_a_hint(error: Exception, hint: str) -> None:
    found = hint_for(error)

    assert found is not None
    assert hint in found


def test_the_cause_and_the_members_of_a_group_are_looked_at() -> None:
    caused = CheckpointError("it could not be saved")
    caused.__cause__ = ConnectionRefusedError(111, "refused")
    group = ExceptionGroup("two", [ValueError("x"), asyncpg.UndefinedTableError("y")])

    assert "is the server up?" in str(hint_for(caused))
    assert "search_path" in str(hint_for(group))


def test_other_errors_have_none() -> None:
    assert hint_for(ValueError("row 5 has no e-mail")) is None
    assert hint_for(OSError("something")) is None
