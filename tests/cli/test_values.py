"""`--set option=value`: what becomes of the text."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import pytest

from adaptive_backfill import DONE, Adaptive, Backfill, Done
from adaptive_backfill.cli.declared import Declared, declared_by
from adaptive_backfill.cli.values import literal, overrides_from
from tests.cli.conftest import Answer

Command = Callable[..., Answer]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30", 30),
        ("1_000", 1000),
        ("0.5", 0.5),
        ("none", None),
        ("null", None),
        ("True", True),
        ("false", False),
        ("sync", "sync"),
        ('"30"', "30"),
        ("[1, 2]", [1, 2]),
        ("(1, 'a')", (1, "a")),
        ('{"a": null}', {"a": None}),
        ("2024-05-01", "2024-05-01"),
        ("", ""),
    ],
)
def test_a_value_is_json_or_a_literal_or_else_its_text(
    text: str, value: object
) -> None:
    assert literal(text) == value
    assert type(literal(text)) is type(value)


def test_options_and_parameters_become_what_the_class_declares(
    command: Command,
) -> None:
    answer = command(
        *("run", "jobs:Kind", "--set", "timeout=30", "--set", "mode=sync"),
        *("--set", "since=2025-06-01", "--set", "initial_state=7"),
    )

    assert answer.code == 0
    assert "(7, datetime.date(2025, 6, 1), 30.0, 'sync')" in answer.out


@pytest.mark.parametrize(
    ("text", "pace"),
    [
        ("adaptive", Adaptive()),
        ("Adaptive()", Adaptive()),
        ("Adaptive(target=0.05, max_workers=2)", Adaptive(target=0.05, max_workers=2)),
        ("none", None),
    ],
)
def test_a_pace_is_written_as_in_python(text: str, pace: object) -> None:
    declared = Declared(Backfill, "users", None, frozenset(), ())

    assert overrides_from(declared, [f"pace={text}"]) == {"pace": pace}


@pytest.mark.parametrize(
    ("pace", "problem"),
    [
        ("fast", "pace must be an Adaptive(...), or None, not 'fast'"),
        ("adaptive(tarket=1)", "unexpected keyword argument 'tarket'"),
        ("adaptive(target=-1)", "target must be seconds above 0"),
        ("adaptive(5)", "'5' is not option=value"),
    ],
)
def test_a_pace_that_means_nothing_is_a_sentence_and_exit_code_2(
    command: Command, pace: str, problem: str
) -> None:
    answer = command("run", "jobs:Count", "--set", f"pace={pace}")

    assert answer.code == 2
    assert problem in answer.err
    assert "Traceback" not in answer.err


class Client:
    """A type of the user's own."""


def test_a_parameter_of_a_type_that_no_text_makes_keeps_its_text() -> None:
    class Users(Backfill[int]):
        pool: asyncpg.Pool
        client: Client | None

        async def handle_batch(self, state: int) -> Done:
            return DONE

    declared = declared_by(Users)
    set_ = ["pool=postgresql://host/db", "client=main"]

    assert overrides_from(declared, set_) == {
        "pool": "postgresql://host/db",
        "client": "main",
    }


def test_the_last_value_of_an_option_counts(command: Command) -> None:
    answer = command(
        "run", "jobs:Kind", "--set", "timeout=1", "--set", "timeout = none"
    )

    assert "(0, datetime.date(2024, 1, 1), None, 'async')" in answer.out


def test_an_initial_state_becomes_the_declared_type(command: Command) -> None:
    answer = command(
        "run", "jobs:Typed", "--set", 'initial_state={"tenant": "acme", "row": 41}'
    )

    assert answer.code == 0
    assert "Result: 42" in answer.out


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("timeout", "'timeout' is not option=value; write it like timeout=30."),
        ("=3", "'=3' is not option=value; write it like timeout=30."),
        ("since=soon", "--set since=soon: it is declared as date."),
        ("initial_state=x", "--set initial_state=x: it is declared as int."),
        ("timeout=-1", "timeout must be seconds above 0, or a timedelta, not -1"),
        ("mode=quick", "mode must be 'sync' or 'async', not 'quick'"),
        ("name=5", None),
        ("batch_sise=5", "batch_sise is not an option; did you mean batch_size?"),
        ("checkpoint=x.db", "checkpoint must be a Checkpoint(store, name), or None"),
        ("grace=5", "grace cannot be set here"),
    ],
)
def test_a_wrong_value_is_a_sentence_and_exit_code_2(
    command: Command, pair: str, said: str | None
) -> None:
    answer = command("run", "jobs:Kind", "--set", pair)

    assert answer.code == (0 if said is None else 2)
    assert said is None or said in answer.err
    assert "Traceback" not in answer.err
