"""Errors say what, where and what to do next, and survive being copied."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from adaptive_backfill import errors

ALL: list[errors.BackfillError] = [
    errors.AlreadyRunning("users", "run-1"),
    errors.BackfillError("something"),
    errors.BatchTimeout("Users.handle_batch", 1.5),
    errors.CheckpointError("cannot load"),
    errors.ConfigurationError(["one", "two"], subject="Users"),
    errors.HealthCheckTimeout("db", 5.0),
    errors.InvalidAnswer("Users.handle_batch", None, ["Next(state)", "Done()"]),
    errors.InvalidHealthResult("db", 0),
    errors.LeaseLost("users"),
    errors.NotFinished("users", "it was never run"),
    errors.NotRunning("users", "stop"),
    errors.RunEnded("ended", {"batches": 1}),
    errors.RunFailed("failed", {"batches": 1}),
    errors.RunHalted("halted", {"batches": 1}),
    errors.TooManyQuarantined("Users", 100, "ValueError: no"),
]


def test_every_error_is_public_and_a_backfill_error() -> None:
    found = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, BaseException)
    }

    assert found == set(errors.__all__) == {type(error).__name__ for error in ALL}
    assert all(isinstance(error, errors.BackfillError) for error in ALL)


def test_every_error_is_drawn_in_the_tree_of_the_module() -> None:
    drawn = re.findall(r"^ *[*x+] (\w+)", errors.__doc__ or "", re.MULTILINE)

    assert sorted(drawn) == errors.__all__


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_can_be_copied_and_sent_to_another_process(
    error: errors.BackfillError,
) -> None:
    for twin in (copy.copy(error), copy.deepcopy(error), _sent(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def _sent(error: errors.BackfillError) -> errors.BackfillError:
    arrived = pickle.loads(pickle.dumps(error))
    assert isinstance(arrived, errors.BackfillError)
    return arrived


@pytest.mark.parametrize(
    "kind", [errors.BatchTimeout, errors.HealthCheckTimeout], ids=lambda k: k.__name__
)
def test_whatever_ran_out_of_time_is_a_timeout_error(kind: type) -> None:
    assert issubclass(kind, TimeoutError)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            errors.ConfigurationError(["a is wrong", "b is wrong"], subject="Users"),
            "Users cannot be used:\n  - a is wrong\n  - b is wrong",
        ),
        (
            errors.AlreadyRunning("users", "7f"),
            "'users' is already being run by run 7f. Wait for it, stop it with "
            "Runs(store).stop('users'), or pass if_running='skip' or 'wait'. After a "
            "crash its lease runs out by itself.",
        ),
        (
            errors.AlreadyRunning("users"),
            "'users' is already being run by another run. Wait for it, stop it with "
            "Runs(store).stop('users'), or pass if_running='skip' or 'wait'. After a "
            "crash its lease runs out by itself.",
        ),
        (
            errors.NotRunning("users", "stop"),
            "'users' is not running, so there is nothing to stop. "
            "Runs(store).list() shows the names that the store knows.",
        ),
        (
            errors.BatchTimeout("Users.handle_batch", 90.0),
            "Users.handle_batch took longer than its timeout of 90 s, and was "
            "cancelled. Give it less to do at once, such as fewer rows a batch, or "
            "raise `timeout`.",
        ),
        (
            errors.InvalidAnswer(
                "Users.handle", None, ["Done(result)", "Fail(reason)"]
            ),
            "Users.handle returned None (NoneType), which is not an answer. Return "
            "one of Done(result), Fail(reason), or raise; a `return` may be missing.",
        ),
        (
            errors.InvalidHealthResult("db", 0),
            "health check 'db' returned 0 (int); return OK, Slow(reason), "
            "Pause(reason) or Halt(reason)",
        ),
        (
            errors.InvalidHealthResult("evaluate", ValueError("x"), raised=True),
            "health check 'evaluate' raised ValueError('x') (ValueError); return OK, "
            "Slow(reason), Pause(reason) or Halt(reason)",
        ),
        (
            errors.HealthCheckTimeout("db", 0.5),
            "health check 'db' gave no answer in 0.5 s",
        ),
        (
            errors.LeaseLost("users"),
            "The lease of 'users' was lost: another run took over after this one was "
            "silent for longer than the lease. What was saved stays; nothing of the "
            "batch under way was saved.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_says_what_where_and_what_to_do(
    error: errors.BackfillError, sentence: str
) -> None:
    assert str(error) == sentence
