"""Handlers hear what they asked for, and cannot hurt the runs that they watch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import Answer, Backfill, Done, Fail, Next, Retry, telemetry
from adaptive_backfill._core import events
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.telemetry import EVENTS, Emitter, Event
from adaptive_backfill.testing import capture


@pytest.fixture(autouse=True)
def _nobody_listens() -> Iterator[None]:
    assert telemetry.attached() == ()
    yield
    for handler_id in telemetry.attached():
        telemetry.detach(handler_id)


def emitter(prefix: str = "app.users", **metadata: object) -> Emitter:
    return Emitter(prefix, {"backfill": "users", "mode": "async", **metadata})


def nothing(event: Event) -> None:
    return None


def _note(heard: list[str], word: str, event: Event) -> None:
    heard.append(word)


def _give(answer: object, event: Event) -> object:
    return answer


class Users(Backfill[int]):
    initial_state = 0
    telemetry_prefix = "app.users"

    async def handle_batch(self, state: int) -> Answer[int]:
        return Next(state + 1, rows=5) if state < 2 else Done("all")


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("app.users.start", ["app.users.start"]),
        ("app.users.batch.done", ["app.users.batch.done"]),
        ("app.users.batch", []),
        (
            "app.users.batch.**",
            ["app.users.batch.start", "app.users.batch.done"],
        ),
        (
            "app.users.**",
            [
                "app.users.start",
                "app.users.batch.start",
                "app.users.batch.done",
                "app.users.stop",
            ],
        ),
        ("app.users.start.**", ["app.users.start"]),
        (
            "app.**",
            [
                "app.users.start",
                "app.users.batch.start",
                "app.users.batch.done",
                "app.users.stop",
            ],
        ),
        (
            "**",
            [
                "app.users.start",
                "app.users.batch.start",
                "app.users.batch.done",
                "app.users.stop",
            ],
        ),
        ("ap.**", []),
        ("app.user.**", []),
        ("app.users.bat.**", []),
        ("APP.**", []),
    ],
)
@pytest.mark.asyncio
async def test_a_pattern_matches_a_name_or_a_name_and_everything_below(
    pattern: str, heard: list[str]
) -> None:
    with capture(pattern) as events:
        await Users.run(initial_state=2)

    assert [event.name for event in events] == heard


@pytest.mark.parametrize(
    "pattern",
    ["", " ", "a.*", "*", "***", "a.***", "a**", "a.b**", ".**", "a..b", ".a", "a.",
     "a.*.b", "a.**.b", "**.a", None, 7, ("a", "b")],
)  # fmt: skip
def test_a_pattern_that_could_never_match_is_refused(pattern: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        telemetry.attach("one", cast("str", pattern), nothing)

    said = (
        f"the pattern must be 'a.name', 'a.name.**' or '**', not {pattern!r}"
        if isinstance(pattern, str) and pattern.strip()
        else f"the pattern must be a dotted str, not {pattern!r}"
    )
    assert str(refused.value) == f"telemetry.attach cannot be used:\n  - {said}"
    assert telemetry.attached() == ()


def test_everything_wrong_with_an_attachment_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        telemetry.attach("", "", cast("Any", "print"))

    assert str(refused.value) == (
        "telemetry.attach cannot be used:\n"
        "  - the id must be a non-empty str, not ''\n"
        "  - the pattern must be a dotted str, not ''\n"
        "  - the handler must be callable, not 'print'"
    )


def test_a_handler_that_nobody_would_await_is_refused() -> None:
    async def handler(event: Event) -> None:
        raise NotImplementedError

    with pytest.raises(ConfigurationError) as refused:
        telemetry.attach("one", "**", handler)

    assert refused.value.problems == (
        "the handler must be a plain `def`: nobody would await it",
    )


def test_an_id_that_is_taken_is_refused_until_it_is_detached() -> None:
    telemetry.attach("one", "a.**", nothing)

    with pytest.raises(ConfigurationError) as refused:
        telemetry.attach("one", "b.**", nothing)

    assert refused.value.problems == ("the id 'one' is taken; detach('one') first",)
    assert telemetry.detach("one")
    telemetry.attach("one", "b.**", nothing)
    assert telemetry.attached() == ("one",)


def test_detaching_says_whether_there_was_anything_to_detach() -> None:
    telemetry.attach("one", "**", nothing)
    telemetry.attach("two", "**", nothing)

    assert telemetry.detach("one") is True
    assert telemetry.detach("one") is False
    assert telemetry.attached() == ("two",)


def test_handlers_hear_an_event_in_the_order_of_their_attachment() -> None:
    heard: list[str] = []
    for handler_id in ("b", "a", "c"):
        telemetry.attach(handler_id, "**", partial(_note, heard, handler_id))

    emitter().emit("start", {}, {})

    assert heard == ["b", "a", "c"]


def test_an_event_carries_prefix_measurements_and_all_metadata() -> None:
    with capture() as heard:
        emitter("a.b", run_id="r1").emit(
            "batch.success", {"rows": 5}, {"state": 7, "mode": "sync"}
        )

    assert heard == [
        Event(
            "a.b.batch.success",
            {"rows": 5},
            {"backfill": "users", "mode": "sync", "run_id": "r1", "state": 7},
        )
    ]


def test_metadata_given_to_an_emitter_is_its_own() -> None:
    metadata: dict[str, object] = {"backfill": "users"}
    own = Emitter("app", metadata)
    metadata["backfill"] = "changed"

    with capture() as heard:
        own.emit("start", {}, {})

    assert heard[0].metadata == {"backfill": "users"}


def test_an_emitter_hears_of_handlers_that_come_and_go() -> None:
    own = emitter()

    assert not own.hears("start")
    with capture("app.users.start"):
        assert own.hears("start")
        assert not own.hears("stop")
        with capture("app.**"):
            assert len(own.hears("start")) == 2
            assert own.hears("stop")
    assert not own.hears("start")


def test_a_handler_that_raises_is_logged_once_and_detached() -> None:
    heard: list[str] = []

    def breaks(event: Event) -> None:
        heard.append("breaks")
        raise ValueError("broken dashboard")

    telemetry.attach("before", "**", lambda event: heard.append("before"))
    telemetry.attach("breaks", "**", breaks)
    telemetry.attach("after", "**", lambda event: heard.append("after"))
    own = emitter()

    with capture_logs() as logs:
        own.emit("start", {}, {})
        own.emit("stop", {}, {})

    assert heard == ["before", "breaks", "after", "before", "after"]
    assert telemetry.attached() == ("before", "after")
    assert [(line["log_level"], line["handler"]) for line in logs] == [
        ("error", "breaks")
    ]
    assert logs[0]["event"] == "telemetry handler failed and is detached"
    assert logs[0]["exc_info"]


@pytest.mark.asyncio
async def test_a_handler_that_raises_changes_nothing_about_the_run() -> None:
    def breaks(event: Event) -> None:
        raise ValueError("broken dashboard")

    telemetry.attach("breaks", "app.users.batch.start", breaks)

    result = await Users.run()

    assert (result.status, result.batches, result.rows) == ("done", 2, 10)
    assert result.hook_errors == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes_through(error: type[BaseException]) -> None:
    def leaves(event: Event) -> None:
        raise error

    telemetry.attach("leaves", "**", leaves)

    with pytest.raises(error):
        emitter().emit("start", {}, {})


def test_attaching_during_a_dispatch_is_safe_and_counts_from_the_next_event() -> None:
    heard: list[str] = []
    own = emitter()

    def attaches(event: Event) -> None:
        heard.append("first")
        if telemetry.attached() == ("first",):
            telemetry.attach("second", "**", lambda event: heard.append("second"))

    telemetry.attach("first", "**", attaches)
    own.emit("start", {}, {})
    own.emit("stop", {}, {})

    assert heard == ["first", "first", "second"]


def test_detaching_during_a_dispatch_is_safe_too() -> None:
    heard: list[str] = []
    own = emitter()

    def once(event: Event) -> None:
        heard.append("once")
        telemetry.detach("once")

    telemetry.attach("once", "**", once)
    telemetry.attach("other", "**", lambda event: heard.append("other"))
    own.emit("start", {}, {})
    own.emit("stop", {}, {})

    assert heard == ["once", "other", "other"]


def test_a_handler_may_emit_what_it_hears_no_more_than_it_asks_for() -> None:
    own = emitter()
    heard: list[str] = []

    def echoes(event: Event) -> None:
        heard.append(event.name)
        own.emit("stop", {}, {})

    telemetry.attach("echoes", "app.users.start", echoes)
    own.emit("start", {}, {})

    assert heard == ["app.users.start"]


class Span(AbstractContextManager[None]):
    """Tells when it is entered and left, and of what."""

    def __init__(self, told: list[object], name: str) -> None:
        self.told = told
        self.name = name

    def __enter__(self) -> None:
        self.told.append(f"enter {self.name}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.told.append(f"exit {self.name}" if error is None else error)


@pytest.mark.asyncio
async def test_a_context_manager_stays_open_until_what_began_has_ended() -> None:
    told: list[object] = []

    def opens(event: Event) -> object:
        name = event.name.removeprefix("app.users.")
        told.append(name)
        opened = {"start": "run", "batch.start": f"batch {event.metadata['state']}"}
        return Span(told, opened[name]) if name in opened else None

    telemetry.attach("spans", "app.users.**", opens)
    await Users.run(initial_state=1)

    assert told == [
        "start", "enter run",
        "batch.start", "enter batch 1", "batch.success", "exit batch 1",
        "batch.start", "enter batch 2", "batch.done", "exit batch 2",
        "stop", "exit run",
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_each_attempt_has_a_span_of_its_own() -> None:
    told: list[object] = []

    async def fails(state: int) -> Answer[int]:
        raise OSError("gone")

    telemetry.attach(
        "spans",
        "app.users.batch.start",
        lambda event: Span(told, str(event.metadata["attempt"])),
    )
    result = await Users.run(handle_batch=fails, retry=Retry(3, base=0, cap=0))

    assert result.status == "failed"
    assert told == [
        *("enter 1", "exit 1"),
        *("enter 2", "exit 2"),
        *("enter 3", "exit 3"),
    ]


@pytest.mark.asyncio
async def test_spans_are_closed_in_every_ending() -> None:
    told: list[object] = []

    async def fails(state: int) -> Answer[int]:
        return Fail("no")

    telemetry.attach("one", "app.users.start", lambda event: Span(told, "one"))
    telemetry.attach("two", "app.users.start", lambda event: Span(told, "two"))
    await Users.run(handle_batch=fails)

    # Left in the order opposite to that of entering, as nested blocks are.
    assert told == ["enter one", "enter two", "exit two", "exit one"]


def test_a_generators_context_manager_will_do() -> None:
    told: list[str] = []

    @contextmanager
    def span(event: Event) -> Iterator[None]:
        told.append("enter")
        yield
        told.append("exit")

    telemetry.attach("span", "app.users.start", span)
    own = emitter()
    own.open("start", {}, {})
    own.emit("stop", {}, {})
    own.close("start")
    own.close("start")

    assert told == ["enter", "exit"]


def test_a_span_is_told_of_the_exception_that_is_being_handled() -> None:
    told: list[object] = []
    telemetry.attach("span", "**", lambda event: Span(told, "run"))
    own = emitter()
    error = ValueError("under way")

    own.open("start", {}, {})
    try:
        raise error
    except ValueError:
        own.close("start")

    assert told == ["enter run", error]


def test_a_span_that_fails_to_open_detaches_its_handler_and_is_not_closed() -> None:
    told: list[object] = []

    class Broken(Span):
        def __enter__(self) -> None:
            raise ValueError("no exporter")

    telemetry.attach("broken", "**", lambda event: Broken(told, "run"))
    own = emitter()

    with capture_logs() as logs:
        own.open("start", {}, {})
        own.close("start")

    assert told == []
    assert telemetry.attached() == ()
    assert [line["handler"] for line in logs] == ["broken"]


def test_a_span_that_fails_to_close_detaches_its_handler_and_no_other() -> None:
    told: list[object] = []

    class Broken(Span):
        def __exit__(self, *_: object) -> None:
            raise ValueError("no exporter")

    telemetry.attach("good", "**", lambda event: Span(told, "good"))
    telemetry.attach("broken", "**", lambda event: Broken(told, "broken"))
    own = emitter()

    with capture_logs() as logs:
        own.open("start", {}, {})
        own.close("start")

    assert told == ["enter good", "enter broken", "exit good"]
    assert telemetry.attached() == ("good",)
    assert [line["handler"] for line in logs] == ["broken"]


def test_a_span_cannot_swallow_an_exception() -> None:
    class Greedy(Span):
        def __exit__(self, *_: object) -> bool:  # type: ignore[override]
            return True

    telemetry.attach("greedy", "**", lambda event: Greedy([], "run"))
    own = emitter()

    def breaks_off() -> None:
        own.open("start", {}, {})
        try:
            raise ValueError("under way")
        finally:
            own.close("start")

    with pytest.raises(ValueError, match="under way"):
        breaks_off()


def test_a_span_is_closed_though_its_handler_was_detached_meanwhile() -> None:
    told: list[object] = []
    telemetry.attach("span", "**", lambda event: Span(told, "run"))
    own = emitter()

    own.open("start", {}, {})
    telemetry.detach("span")
    own.close("start")

    assert told == ["enter run", "exit run"]


def test_what_handlers_return_otherwise_is_nobodys_business() -> None:
    answers: list[object] = [None, 5, "text", object(), [1]]
    for number, answer in enumerate(answers):
        telemetry.attach(str(number), "**", partial(_give, answer))
    own = emitter()

    own.open("start", {}, {})
    own.emit("batch.success", {}, {})
    own.close("start")

    assert len(telemetry.attached()) == len(answers)


def test_every_event_is_listed_and_described() -> None:
    described = events.__doc__ or ""
    assert [name for name in EVENTS if f"`{name}`" not in described] == []
    assert len(set(EVENTS)) == len(EVENTS)


@pytest.mark.asyncio
async def test_events_of_a_run_are_listed_and_carry_numbers_and_metadata() -> None:
    async def flaky(state: int) -> Answer[int]:
        if state == 1:
            raise OSError("gone")
        return Next(state + 1, rows=1)

    with capture() as heard:
        await Users.run(handle_batch=flaky, retry=Retry(2, base=0, cap=0), mode="sync")

    names = [event.name.removeprefix("app.users.") for event in heard]
    assert names == [
        "start",
        "batch.start",
        "batch.success",
        "batch.start",
        "batch.exception",
        "batch.retry",
        "batch.start",
        "batch.exception",
        "stop",
    ]
    assert set(names) <= set(EVENTS)
    for event in heard:
        assert {type(value) for value in event.measurements.values()} <= {int, float}
        assert event.metadata["backfill"] == f"{__name__}.Users"
        assert event.metadata["mode"] == "sync"
    assert len({event.metadata["run_id"] for event in heard}) == 1


@pytest.mark.asyncio
async def test_runs_with_prefixes_of_their_own_are_told_apart() -> None:
    with capture("app.users.stop") as users, capture("app.orders.**") as orders:
        await Users.run()
        await Users.run(telemetry_prefix=("app", "orders"))

    assert len(users) == 1
    assert {event.name.split(".")[1] for event in orders} == {"orders"}
