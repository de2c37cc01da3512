"""Who hears what, and that listening cannot hurt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    MemoryStore,
    Pause,
    Retry,
    errors,
    telemetry,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import Count, HealthAsked, names


@contextmanager
def _attached(pattern: str, handler: Any, handler_id: str = "test") -> Iterator[None]:
    telemetry.attach(handler_id, pattern, handler)
    try:
        yield
    finally:
        telemetry.detach(handler_id)


async def _heard(pattern: str, prefix: str = "my_app.users") -> list[str]:
    with capture(pattern) as events:
        await Count.run(telemetry_prefix=prefix, max_batches=1)
    return [event.name for event in events]


ALL = [
    "my_app.users.start",
    "my_app.users.batch.start",
    "my_app.users.batch.success",
    "my_app.users.stop",
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("**", ALL),
        ("my_app.**", ALL),
        ("my_app.users.**", ALL),
        ("my_app.users.batch.**", ALL[1:3]),
        ("my_app.users.stop", ALL[3:]),
        # `x.**` matches `x` itself, too.
        ("my_app.users.stop.**", ALL[3:]),
        ("my_app.users", []),
        ("my_app.user.**", []),
        ("my_app.users.batch", []),
        ("my_app.users.sto", []),
        ("users.**", []),
    ],
)
async def test_patterns(pattern: str, heard: list[str]) -> None:
    assert await _heard(pattern) == heard


@pytest.mark.asyncio
async def test_a_prefix_may_be_a_sequence() -> None:
    with capture("my_app.users.**") as events:
        await Count.run(telemetry_prefix=("my_app", "users"), max_batches=1)

    assert [event.name for event in events] == ALL


@pytest.mark.parametrize(
    ("handler_id", "pattern", "handler"),
    [
        ("", "**", print),
        (5, "**", print),
        ("x", "", print),
        ("x", None, print),
        ("x", "*", print),
        ("x", "my_*.start", print),
        ("x", "**.start", print),
        ("x", "my_app.", print),
        ("x", "**", None),
    ],
)
def test_what_cannot_be_attached_is_said(
    handler_id: Any, pattern: Any, handler: Any
) -> None:
    with pytest.raises(errors.ConfigurationError):
        telemetry.attach(handler_id, pattern, handler)


def test_an_id_that_is_taken_is_said() -> None:
    with (
        _attached("**", print, "mine"),
        pytest.raises(errors.ConfigurationError, match="mine"),
    ):
        telemetry.attach("mine", "other", print)

    assert telemetry.detach("mine") is False


@pytest.mark.asyncio
async def test_a_handler_that_raises_is_logged_once_and_detached() -> None:
    asked: list[str] = []

    def broken(event: telemetry.Event) -> None:
        asked.append(event.name)
        raise ValueError("dashboard is down")

    telemetry.attach("broken", "backfill.**", broken)
    with capture() as events, capture_logs() as lines:
        result = await Count.run()

    assert result.status == "done"
    assert asked == ["backfill.start"]
    said = [line for line in lines if "telemetry" in line["event"]]
    assert [line["handler"] for line in said] == ["broken"]
    assert telemetry.detach("broken") is False
    # Others go on hearing, the event at hand included.
    assert names(events)[0] == "start"
    assert names(events)[-1] == "stop"


@pytest.mark.asyncio
async def test_attaching_and_detaching_while_an_event_is_told_is_safe() -> None:
    heard: list[str] = []

    def late(event: telemetry.Event) -> None:
        heard.append(f"late {event.name}")

    def busy(event: telemetry.Event) -> None:
        heard.append(f"busy {event.name}")
        telemetry.detach("busy")
        telemetry.detach("other")
        telemetry.attach("late", "backfill.**", late)

    def other(event: telemetry.Event) -> None:
        heard.append(f"other {event.name}")

    telemetry.attach("busy", "backfill.start", busy)
    telemetry.attach("other", "backfill.**", other)
    await Count.run(max_batches=1)
    telemetry.detach("late")

    assert heard == [
        "busy backfill.start",
        "other backfill.start",
        "late backfill.batch.start",
        "late backfill.batch.success",
        "late backfill.stop",
    ]


class Spans:
    """A handler whose spans write down when they open and close."""

    def __init__(self) -> None:
        self.diary: list[str] = []

    def __call__(self, event: telemetry.Event) -> Any:
        name = event.name.removeprefix("backfill.")
        self.diary.append(name)
        if name in ("start", "batch.start", "pause"):
            return self.span(name)
        return None

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        self.diary.append(f"<{name}>")
        try:
            yield
        finally:
            self.diary.append(f"</{name}>")


@pytest.mark.asyncio
async def test_a_context_manager_stays_open_until_the_matching_stop() -> None:
    spans = Spans()
    check = ScriptedCheck([OK, Pause("busy"), OK])

    with _attached("backfill.**", spans):
        await testing.run(
            Count, FakeClock(), mode="sync", health_checks=[check], max_batches=2
        )

    assert spans.diary == [
        *["start", "<start>"],
        *["batch.start", "<batch.start>", "batch.success", "</batch.start>"],
        *["pause", "<pause>", "resume", "</pause>"],
        *["batch.start", "<batch.start>", "batch.success", "</batch.start>"],
        *["stop", "</start>"],
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["failed", "raised", "retried", "paused", "quit"])
async def test_every_span_is_closed_in_every_ending(ending: str) -> None:
    spans = Spans()

    async def fails(state: int) -> Answer[int]:
        if ending == "failed":
            return Fail("f")
        if ending == "quit":
            raise GeneratorExit
        raise ValueError

    overrides: dict[str, Any] = {"handle_batch": fails}
    if ending == "retried":
        overrides["retry"] = Retry(3)
    if ending == "paused":
        check = ScriptedCheck([Pause("busy")] * 99)
        overrides = {"health_checks": [check], "max_pause": 60}
    with _attached("backfill.**", spans), contextlib.suppress(GeneratorExit):
        await testing.run(Count, FakeClock(), **overrides)

    opened = [entry[1:-1] for entry in spans.diary if entry.startswith("<")]
    opened = [entry for entry in opened if not entry.startswith("/")]
    closed = [entry[2:-1] for entry in spans.diary if entry.startswith("</")]
    assert sorted(opened) == sorted(closed)
    assert spans.diary[-2:] == ["stop", "</start>"]


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["enter", "exit"])
async def test_a_span_that_raises_hurts_nobody(where: str) -> None:
    class Broken:
        def __enter__(self) -> None:
            if where == "enter":
                raise ValueError

        def __exit__(self, *args: object) -> None:
            raise ValueError

    telemetry.attach("broken", "backfill.**", lambda event: Broken())
    result = await Count.run()
    telemetry.detach("broken")

    assert result.status == "done"


@pytest.mark.asyncio
async def test_a_single_operation_has_a_span_of_its_run() -> None:
    spans = Spans()

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            spans.diary.append("handle")
            return Done()

    with _attached("backfill.**", spans):
        await Once.run()

    assert spans.diary == ["start", "<start>", "handle", "success", "stop", "</start>"]


def test_the_events_are_listed() -> None:
    for name in (
        *["start", "stop", "pause", "resume", "pace.change", "checkpoint.save"],
        *["batch.start", "batch.success", "batch.done", "batch.error"],
        *["batch.exception", "batch.timeout", "batch.halt", "batch.retry"],
        *["health_check.halt", "health_check.slow", "hook.exception"],
        *["success", "error", "halt", "exception", "timeout"],
    ):
        assert name in telemetry.EVENTS


@pytest.mark.asyncio
async def test_listening_changes_nothing() -> None:
    checkpoint = Checkpoint(MemoryStore(), "x")
    alone = await Count.run(checkpoint=checkpoint)
    with capture():
        heard = await Count.run(checkpoint=checkpoint)

    for field in ("status", "state", "batches", "rows", "result", "reasons"):
        assert getattr(alone, field) == getattr(heard, field)
