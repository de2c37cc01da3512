"""What is known of runs, as text for people in other processes to read.

Rule: a record can always be read, by a process that has never heard of the run's
classes. So exceptions become their text, and a state or a result that does not
describe itself becomes its `repr`. Checkpoints are not kept so: see `codec`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import TypeVar, cast

import msgspec

from adaptive_backfill._core.answers import OK, Halt, Health, Pause, Slow, Verdict
from adaptive_backfill._core.codec import encode, self_described
from adaptive_backfill._core.codec.names import loaded
from adaptive_backfill._core.codec.words import short
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.saying import said, said_of_error
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill.errors import BackfillError, CheckpointError

__all__ = [
    "progress_from",
    "progress_text",
    "result_from",
    "result_text",
    "wishes_from",
    "wishes_text",
]

LONGEST = 1_000
"""Characters that are kept of each part of a `repr`."""

_T = TypeVar("_T")

_PROGRESS = frozenset(field.name for field in fields(Progress))
_RESULT = frozenset(field.name for field in fields(RunResult))

_VERDICTS: dict[str, Callable[[object], Verdict]] = {
    "slow": Slow,
    "pause": Pause,
    "halt": Halt,
}

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(dict[str, object]).decode
_wishes_from_json = msgspec.json.Decoder(Wishes).decode


def progress_text(progress: Progress) -> str:
    """Return *progress* as text."""
    return _text(progress)


def progress_from(text: str) -> Progress:
    """Return the progress that *text* keeps."""
    return _made(Progress, _PROGRESS, text)


def result_text(result: RunResult) -> str:
    """Return *result* as text."""
    return _text(result)


def result_from(text: str) -> RunResult:
    """Return the result that *text* keeps."""
    return _made(RunResult, _RESULT, text)


def wishes_text(wishes: Wishes) -> str:
    """Return *wishes* as text."""
    return _to_json(wishes).decode()


def wishes_from(text: str | None) -> Wishes:
    """Return the wishes that *text* keeps; none where there is no text."""
    return Wishes() if text is None else _wishes_from_json(text)


def _text(record: Progress | RunResult) -> str:
    parts = {field.name: getattr(record, field.name) for field in fields(record)}
    return _to_json(
        {name: _KEEP.get(name, _itself)(part) for name, part in parts.items()}
    ).decode()


def _made(make: Callable[..., _T], known: frozenset[str], text: str) -> _T:
    # A newer version may have written more than is known here.
    kept = {name: part for name, part in _from_json(text).items() if name in known}
    return make(**{name: _READ.get(name, _itself)(part) for name, part in kept.items()})


def _itself(part: object) -> object:
    return part


def _keep_value(value: object) -> object:
    shown = _sayable(short(value, LONGEST))
    try:
        return {"text": encode(value).text, "shown": shown}
    except CheckpointError:
        return {"text": None, "shown": shown}


def _read_value(kept: Mapping[str, str]) -> object:
    if kept["text"] is None:
        return kept["shown"]
    try:
        return self_described(kept["text"], loaded)
    except CheckpointError:
        return kept["shown"]


def _kept_as_said(value: object) -> object:
    """Return *value* if people can read it as it is, else what it says."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, BaseException):
        return _sayable(said_of_error(value))
    return _sayable(said(value))


def _sayable(text: str) -> str:
    # A lone surrogate, such as a file's name may have, is no text in JSON.
    return text.encode("utf-8", "backslashreplace").decode()


def _keep_verdict(verdict: Verdict) -> object:
    if isinstance(verdict, Health):
        return None
    return [type(verdict).__name__.lower(), _kept_as_said(verdict.reason)]


def _read_verdict(kept: list[object] | None) -> Verdict:
    if kept is None:
        return OK
    kind, reason = kept
    return _VERDICTS[str(kind)](reason)


def _keep_reasons(reasons: Iterable[Reason]) -> object:
    return [
        [
            reason.check,
            _keep_verdict(reason.answer),
            # With an error, the sentence says more than the value.
            _kept_as_said(reason.value if reason.error is None else str(reason)),
        ]
        for reason in reasons
    ]


def _read_reasons(kept: list[list[object]]) -> tuple[Reason, ...]:
    return tuple(
        Reason(
            cast("str | None", check),
            _read_verdict(cast("list[object] | None", answer)),
            value,
        )
        for check, answer, value in kept
    )


def _keep_errors(errors: Iterable[Exception]) -> object:
    return [_kept_as_said(error) for error in errors]


def _read_errors(kept: list[str]) -> list[Exception]:
    return [BackfillError(said) for said in kept]


def _read_status(kept: str) -> str:
    return RunStatus(kept) if kept in _ENDINGS else kept


_ENDINGS = frozenset(RunStatus)

_KEEP: dict[str, Callable[..., object]] = {
    "state": _keep_value,
    "result": _keep_value,
    "error": _kept_as_said,
    "verdict": _keep_verdict,
    "reasons": _keep_reasons,
    "hook_errors": _keep_errors,
}

_READ: dict[str, Callable[..., object]] = {
    "status": _read_status,
    "state": _read_value,
    "result": _read_value,
    "verdict": _read_verdict,
    "reasons": _read_reasons,
    "hook_errors": _read_errors,
}
