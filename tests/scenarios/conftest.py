"""What the scenarios share with the tests of the engine: nothing is printed."""

from __future__ import annotations

from tests.engine.conftest import nobody_left_listening, quiet

__all__ = ["nobody_left_listening", "quiet"]
