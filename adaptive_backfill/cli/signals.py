"""Ctrl-C, SIGTERM and SIGHUP, as a run is to hear them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Signals"]

_STOP = ("SIGINT", "SIGTERM", "SIGHUP")


class Signals:
    """What the process has been told by signals.

    The first of any kind asks to stop. A Ctrl-C after that asks to cancel, and gives
    Python back its own handling: one more interrupts even code that blocks the event
    loop, and so hears of nothing else.

    Attributes:
        stop: The name of the signal that asked to stop; `None` before.
        cancel: Whether to cancel.
        news: Set with each of these, for whoever waits; whoever waits clears it.
    """

    def __init__(self) -> None:
        self.stop: str | None = None
        self.cancel = False
        self.news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear signals for the length of the block; call it in the main thread.

        What the process was told to ignore, as `nohup` does, stays ignored.
        """
        before = {}
        for name in _STOP:
            number = signal.Signals[name]
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # Between any two instructions of whatever runs: nothing is done here but to
        # tell the loop.
        if self.stop is None:
            self.stop = signal.Signals(number).name
        elif number == signal.SIGINT:
            self.cancel = True
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._loop.call_soon_threadsafe(self.news.set)
