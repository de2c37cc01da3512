"""What a class body may not say, and how it is told so."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

import pytest

from adaptive_backfill import DONE, Adaptive, Backfill, Done, HealthCheck, Retry
from adaptive_backfill.errors import ConfigurationError
from tests.dsl.bodies import batch, defined, message, refusal, single


def check() -> None:
    return None


def asks_two(first: object, second: object) -> None:
    return None


def asks_by_keyword(*, context: object) -> None:
    return None


def no_argument(self: object) -> Any:
    return None


async def async_nothing(self: object) -> Any:
    return None


def sync_batch(self: object, state: object) -> Done:
    return DONE


async def batch_of_none(self: object) -> Done:
    return DONE


async def batch_of_two(self: object, state: object, size: object) -> Done:
    return DONE


async def batch_that_yields(self: object, state: object) -> Any:
    yield DONE


def hook_that_yields(self: object, state: object) -> Any:
    yield None


def takes_two(self: object, error: object, state: object) -> None:
    return None


def takes_one(self: object, result: object) -> None:
    return None


NAN = float("nan")
NO_HANDLER = (
    "it has no handler: define `async def handle_batch(self, state)` for batches, or "
    "`async def handle(self, health_check)` for a single operation"
)

BATCH = {"handle_batch": batch}
SINGLE = {"handle": single}

VALUES: list[tuple[dict[str, Any], str]] = [
    ({"timeout": 0}, "timeout must be seconds above 0, or a timedelta, not 0"),
    ({"timeout": NAN}, "timeout must be seconds above 0, or a timedelta, not nan"),
    ({"timeout": True}, "timeout must be seconds above 0, or a timedelta, not True"),
    (
        {"timeout": timedelta(seconds=-1)},
        "timeout must be seconds above 0, or a timedelta, not "
        "datetime.timedelta(days=-1, seconds=86399)",
    ),
    (
        {"delay_between_batches": -1},
        "delay_between_batches must be seconds of 0 or more, or a timedelta, not -1",
    ),
    (
        {"health_interval": None},
        "health_interval must be seconds above 0, or a timedelta, not None",
    ),
    (
        {"health_timeout": float("inf")},
        "health_timeout must be seconds above 0, or a timedelta, not inf",
    ),
    (
        {"max_pause": "1h"},
        "max_pause must be seconds of 0 or more, or a timedelta, not '1h'",
    ),
    ({"batch_size": 0}, "batch_size must be an int of at least 1, not 0"),
    ({"batch_size": 10.0}, "batch_size must be an int of at least 1, not 10.0"),
    ({"max_batches": True}, "max_batches must be an int of at least 1, not True"),
    ({"mode": "Async"}, "mode must be 'sync' or 'async', not 'Async'"),
    ({"mode": None}, "mode must be 'sync' or 'async', not None"),
    ({"once": 1}, "once must be True or False, not 1"),
    (
        {"if_running": "queue"},
        "if_running must be 'raise' or 'skip' or 'wait', not 'queue'",
    ),
    ({"name": ""}, "name must be a non-empty str, not ''"),
    ({"retry": 3}, "retry must be a Retry(...), or None, not 3"),
    ({"retry": Retry}, f"retry must be a Retry(...), or None, not {Retry!r}"),
    (
        {"checkpoint": "users.db"},
        "checkpoint must be a Checkpoint(store, name), or None, not 'users.db'",
    ),
    (
        {"telemetry_prefix": "a..b"},
        "telemetry_prefix must be a dotted str or a non-empty sequence of non-empty "
        "str, not 'a..b'",
    ),
    (
        {"total": -1},
        "total must be an int of 0 or more, or a method that returns one, not -1",
    ),
    (
        {"evaluate": "worst_of"},
        "evaluate must be worst_of, quorum(share), weighted(limit), or a callable of "
        "the results, not 'worst_of'",
    ),
    (
        {"health_checks": check},
        "health_checks must be a sequence of callables or HealthChecks; put it in a "
        f"list, not {check!r}",
    ),
    (
        {"health_checks": [None]},
        "health_checks must be a sequence of callables or HealthChecks (None is not a "
        "callable), not [None]",
    ),
]


@pytest.mark.parametrize(("body", "problem"), VALUES, ids=lambda value: str(value)[:50])
def test_a_value_that_breaks_its_rule_is_refused_with_rule_and_value(
    body: dict[str, Any], problem: str
) -> None:
    assert refusal(lambda: defined(BATCH | body)) == message(problem)
    # An abstract base is checked no less.
    assert refusal(lambda: defined(body)) == message(problem)


METHODS = [
    "mode", "health_checks", "health_interval", "health_timeout", "batch_size",
    "timeout", "delay_between_batches", "max_pause", "retry", "max_batches",
    "telemetry_prefix", "checkpoint", "once", "if_running", "name", "pace", "duty",
    "max_rows_per_second", "max_wal_per_second", "windows", "canary",
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "method",
    [no_argument, async_nothing, staticmethod(check), classmethod(no_argument)],
    ids=["def", "async def", "static", "class"],
)
def test_an_option_is_no_method(name: str, method: object) -> None:
    assert refusal(lambda: defined(BATCH | {name: method})) == message(
        f"{name} must be a value, not a method"
    )


@pytest.mark.parametrize("kind", [property, cached_property])
def test_an_option_is_no_property(kind: Any) -> None:
    body = {"timeout": kind(no_argument), "initial_state": kind(no_argument)}

    assert refusal(lambda: defined(BATCH | body)) == message(
        "initial_state must be a value or a method, not a property",
        "timeout must be a value, not a property",
    )


FUNCTIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"handle_batch": sync_batch},
        "handle_batch must be a coroutine function: write `async def handle_batch`",
    ),
    (
        {"handle": sync_batch},
        "handle must be a coroutine function: write `async def handle`",
    ),
    ({"handle_batch": batch_of_none}, "handle_batch must take one argument: (state)"),
    ({"handle_batch": batch_of_two}, "handle_batch must take one argument: (state)"),
    ({"handle": batch_of_none}, "handle must take one argument: (health_check)"),
    (
        {"handle_batch": batch_that_yields},
        "handle_batch must return one answer; it has a `yield` in it",
    ),
    (
        {"handle": hook_that_yields},
        "handle must return one answer; it has a `yield` in it",
    ),
    ({"handle_batch": 5}, "handle_batch must be an async function, not 5"),
    ({"handle_batch": None}, "handle_batch must be an async function, not None"),
    (BATCH | {"on_success": no_argument}, "on_success must take (state)"),
    (BATCH | {"on_success": takes_two}, "on_success must take (state)"),
    (BATCH | {"on_error": takes_one}, "on_error must take (error, state)"),
    (BATCH | {"on_complete": takes_two}, "on_complete must take (result)"),
    (SINGLE | {"on_success": no_argument}, "on_success must take (result)"),
    (SINGLE | {"on_error": takes_two}, "on_error must take (error)"),
    (SINGLE | {"on_complete": no_argument}, "on_complete must take (result)"),
    ({"on_complete": no_argument}, "on_complete must take (result)"),
    (
        BATCH | {"on_success": hook_that_yields},
        "on_success must not have a `yield` in it: it would never run",
    ),
    (BATCH | {"on_error": "log"}, "on_error must be a function, not 'log'"),
    (
        BATCH | {"health_checks": [HealthCheck(asks_two, name="two")]},
        "health check 'two' must take no argument, or one (a HealthContext)",
    ),
    (
        BATCH | {"health_checks": [asks_by_keyword]},
        "health check 'asks_by_keyword' must take no argument, or one "
        "(a HealthContext)",
    ),
    (BATCH | {"evaluate": check}, "evaluate must take (results)"),
    (BATCH | {"evaluate": no_argument}, "evaluate must take (results)"),
    (BATCH | {"evaluate": staticmethod(asks_two)}, "evaluate must take (results)"),
    (BATCH | {"initial_state": takes_one}, "initial_state must take no argument"),
    (BATCH | {"total": takes_one}, "total must take no argument"),
    (BATCH | {"total": asks_two}, "total must take no argument"),
]


@pytest.mark.parametrize(
    ("body", "problem"), FUNCTIONS, ids=lambda value: str(value)[:60]
)
def test_a_function_that_could_not_be_called_is_refused(
    body: dict[str, Any], problem: str
) -> None:
    assert refusal(lambda: defined(body)) == message(problem)


async def class_batch(cls: object, state: object) -> Done:
    return DONE


async def free_batch(state: object) -> Done:
    return DONE


async def generous_batch(self: object, state: object, *more: object) -> Done:
    return DONE


class Handler:
    async def __call__(self, state: object) -> Done:
        return DONE


@pytest.mark.parametrize(
    "handler",
    [
        batch,
        generous_batch,
        classmethod(class_batch),
        staticmethod(free_batch),
        Handler(),
    ],
    ids=["method", "generous", "class method", "static method", "object"],
)
@pytest.mark.asyncio
async def test_whatever_takes_the_state_and_can_be_awaited_is_a_handler(
    handler: object,
) -> None:
    result = await defined({"handle_batch": handler}).run()

    assert result.raise_for_status().status == "done"


@pytest.mark.parametrize(
    "hook",
    [
        takes_one,
        partial(takes_one, None),
        staticmethod(partial(takes_one, None)),
        lambda self, *anything: None,
        lambda *anything, **more: None,
    ],
)
def test_whatever_takes_the_arguments_is_a_hook(hook: object) -> None:
    if isinstance(hook, partial):
        # Python means to bind partials in classes some day, and warns of it.
        hook = staticmethod(hook)

    assert defined(BATCH | {"on_complete": hook})


def test_both_handlers_in_one_class_are_refused() -> None:
    assert refusal(lambda: defined(BATCH | SINGLE)) == message(
        "it has both handle_batch (batches) and handle (a single operation); keep one"
    )


def test_both_handlers_over_two_classes_are_refused() -> None:
    assert refusal(lambda: defined(SINGLE, defined(BATCH))) == message(
        "it has both handle_batch (batches) and handle (a single operation); keep one"
    )


def test_options_of_batches_are_refused_for_a_single_operation() -> None:
    body = {
        "initial_state": 0,
        "batch_size": 10,
        "pace": Adaptive(),
        "duty": 0.5,
        "max_rows_per_second": 500,
        "max_wal_per_second": 500,
        "windows": "22:00-06:00",
        "canary": 1_000,
        "delay_between_batches": 1,
        "max_batches": 5,
        "total": 100,
        "timeout": 5,
        "once": False,
    }

    assert refusal(lambda: defined(SINGLE | body)) == message(
        *(
            f"{name} is for batches; a single operation (handle) has no use for it"
            for name in [
                "initial_state",
                "batch_size",
                "pace",
                "duty",
                "max_rows_per_second",
                "max_wal_per_second",
                "windows",
                "canary",
                "delay_between_batches",
                "total",
                "max_batches",
            ]
        )
    )


def test_a_single_operation_has_no_canary() -> None:
    assert refusal(lambda: defined(SINGLE | {"on_canary": takes_one})) == message(
        "on_canary is for batches; a single operation (handle) has none"
    )


def test_a_canary_is_looked_at_by_a_hook_of_one_argument() -> None:
    assert refusal(lambda: defined(BATCH | {"on_canary": no_argument})) == message(
        "on_canary must take (result)"
    )


def test_options_of_batches_are_refused_for_a_single_operation_from_a_base() -> None:
    base = defined({"batch_size": 10})

    assert refusal(lambda: defined(SINGLE, base)) == message(
        "batch_size is for batches; a single operation (handle) has no use for it"
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("on_sucess", "on_sucess is not a hook; did you mean on_success?"),
        ("on_errors", "on_errors is not a hook; did you mean on_error?"),
        ("on_completed", "on_completed is not a hook; did you mean on_complete?"),
        (
            "on_tick",
            "on_tick is not a hook; hooks: on_success, on_canary, on_error, "
            "on_complete",
        ),
        (
            "handle_batches",
            "handle_batches is not a handler; did you mean handle_batch?",
        ),
        ("handle_bach", "handle_bach is not a handler; did you mean handle_batch?"),
        ("handler", "handler is not a handler; did you mean handle?"),
    ],
)
@pytest.mark.parametrize("value", [takes_one, staticmethod(check), Handler()])
def test_a_misspelt_hook_or_handler_is_refused_with_the_name_it_is_near_to(
    name: str, problem: str, value: object
) -> None:
    assert refusal(lambda: defined(BATCH | {name: value})) == message(problem)


def test_names_that_only_look_a_little_like_ours_pass() -> None:
    assert defined(
        BATCH
        | {
            "handle_user": no_argument,
            "handle_row": classmethod(no_argument),
            "handles": "an attribute",
            "on_call_rota": "an attribute",
            "_on_sucess": no_argument,
            "onward": no_argument,
        }
    )


@pytest.mark.parametrize("name", ["run", "start"])
@pytest.mark.parametrize("value", [no_argument, classmethod(no_argument), 5])
def test_run_and_start_are_the_librarys_own(name: str, value: object) -> None:
    assert refusal(lambda: defined(BATCH | {name: value})) == message(
        f"{name} is the library's own; call yours something else"
    )


def test_run_and_start_are_the_librarys_own_in_a_mixin_too() -> None:
    class Daemon:
        def start(self) -> None:
            raise NotImplementedError

    assert refusal(lambda: defined(BATCH, Daemon, Backfill)) == message(
        "start is the library's own; call yours something else"
    )


def test_names_of_the_calls_own_arguments_cannot_be_parameters() -> None:
    annotations = {"run": "Path", "start": "date", "restart": "bool", "grace": "float"}

    assert refusal(
        lambda: defined(BATCH | {"__annotations__": annotations})
    ) == message(
        "run is the library's own; call yours something else",
        "start is the library's own; call yours something else",
        "restart is for one call, not for a class: run(restart=True)",
        "grace is for one call, not for a class: start(grace=...)",
    )


def test_restart_is_for_one_run_and_no_option() -> None:
    assert refusal(lambda: defined(BATCH | {"restart": True})) == message(
        "restart is for one call, not for a class: run(restart=True)"
    )
    assert defined(BATCH | {"restart": no_argument})


def test_every_problem_of_a_class_is_in_one_error() -> None:
    def everything() -> type[Backfill[Any]]:
        class Users(Backfill[int]):
            mode = "fast"  # type: ignore[assignment]
            timeout = -1
            batch_size = 0
            evaluate = check
            health_checks = [asks_two, 7]

            def handle_batch(self, state: int) -> Done:
                return DONE

            async def on_success(self) -> None:
                raise NotImplementedError

            def on_sucess(self, state: int) -> None:
                raise NotImplementedError

            def run(self) -> None:  # type: ignore[override]
                raise NotImplementedError

        return Users

    given = [asks_two, 7]
    assert refusal(everything) == message(
        "mode must be 'sync' or 'async', not 'fast'",
        "health_checks must be a sequence of callables or HealthChecks (7 is not a "
        f"callable), not {given!r}",
        "batch_size must be an int of at least 1, not 0",
        "timeout must be seconds above 0, or a timedelta, not -1",
        "evaluate must take (results)",
        "handle_batch must be a coroutine function: write `async def handle_batch`",
        "on_success must take (state)",
        "run is the library's own; call yours something else",
        "on_sucess is not a hook; did you mean on_success?",
        subject="test_every_problem_of_a_class_is_in_one_error.<locals>.everything."
        "<locals>.Users",
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("batch_sise", "batch_size"),
        ("timeouts", "timeout"),
        ("timout", "timeout"),
        ("max_batch", "max_batches"),
        ("health_check", "health_checks"),
        ("checkpoints", "checkpoint"),
        ("delay_between_batch", "delay_between_batches"),
    ],
)
def test_an_attribute_that_is_nearly_an_option_warns_where_the_class_is_written(
    name: str, meant: str
) -> None:
    with pytest.warns(UserWarning, match="is not an option") as warned:
        # Not by `defined`: the warning is to point at the class statement.
        type("Users", (Backfill,), BATCH | {name: 5})

    assert [str(each.message) for each in warned] == [
        f"Users.{name} is not an option; did you mean {meant}?"
    ]
    assert warned[0].filename == __file__


@pytest.mark.parametrize(
    "body",
    [
        {"model": "users", "modes": ["a"], "names": ["b"], "pages": 3, "onces": 1},
        {"_batch_sise": 5, "__timeouts": 5},
        {"timeouts": no_argument, "totals": classmethod(no_argument)},
        {"users": 5, "client": object(), "size": 10, "delay": 1},
    ],
)
def test_everyday_words_private_names_and_methods_do_not_warn(
    body: dict[str, Any],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert defined(BATCH | body)


def test_a_class_that_is_refused_does_not_warn_as_well() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert refusal(lambda: defined({"batch_sise": 5, "mode": "x"})) == message(
            "mode must be 'sync' or 'async', not 'x'"
        )


@pytest.mark.asyncio
async def test_a_class_without_a_handler_may_be_defined_and_not_run() -> None:
    base = defined({"batch_size": 10, "on_success": takes_two})

    with pytest.raises(ConfigurationError) as refused:
        await base.run()

    assert str(refused.value) == message(NO_HANDLER)


@pytest.mark.asyncio
async def test_backfill_itself_cannot_be_run() -> None:
    with pytest.raises(ConfigurationError) as refused:
        await Backfill.run()

    assert str(refused.value) == message(NO_HANDLER, subject="Backfill")


@pytest.mark.asyncio
async def test_an_abstract_base_names_everything_that_is_missing() -> None:
    class Users(Backfill[int], ABC):
        client: object

        @abstractmethod
        async def handle_batch(self, state: int) -> Done: ...

        @abstractmethod
        async def fetch(self) -> list[int]: ...

        @abstractmethod
        async def store(self, users: list[int]) -> None: ...

    with pytest.raises(ConfigurationError) as refused:
        await Users.run(batch_sise=5)

    assert str(refused.value).splitlines()[1:] == [
        f"  - {NO_HANDLER}",
        "  - fetch is abstract; define it in a subclass",
        "  - store is abstract; define it in a subclass",
        "  - batch_sise is not an option; did you mean batch_size?",
        "  - client is missing: it has no default, so pass run(client=...)",
    ]
