"""What all tests of the engine have: nothing printed, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.typing import EventDict, WrappedLogger

from adaptive_backfill import telemetry


def _drop(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    raise structlog.DropEvent


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No log line: unconfigured, structlog draws every traceback in colours."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def nobody_left_listening() -> Iterator[None]:
    """No test leaves a telemetry handler attached."""
    yield
    left = telemetry.attached()
    for handler_id in left:
        telemetry.detach(handler_id)
    assert left == ()
