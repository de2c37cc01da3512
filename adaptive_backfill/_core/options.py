"""The options of a run: their names, their rules, and the frozen values.

Rule: `OPTIONS` is the one list of options. A class body, `run(**overrides)`, a
handle's `set` and a wish from another process are all checked by it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from adaptive_backfill._core import option_rules as rules
from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.evaluation import Evaluation, worst_of
from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.option_rules import Refused, RefusedUnseen
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.snapshot import Checkpoint
from adaptive_backfill.errors import ConfigurationError

__all__ = [
    "OPTIONS",
    "TUNABLE",
    "Option",
    "Refused",
    "RefusedUnseen",
    "RunOptions",
    "changed",
    "made",
    "near",
    "parsed",
    "retuned",
    "tuned",
]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything that shapes a run. Times are float seconds.

    `OPTIONS` gives each its default and its rule; the class attributes of `Backfill`
    say what each is for.
    """

    name: str
    initial_state: object
    mode: Literal["sync", "async"]
    health_checks: tuple[HealthCheck, ...]
    health_interval: float
    health_timeout: float
    evaluate: Evaluation
    batch_size: int | None
    pace: Adaptive | None
    duty: float
    max_rows_per_second: float | None
    max_wal_per_second: float | None
    windows: Sequence[str] | None
    canary: int | None
    timeout: float | None
    delay_between_batches: float
    max_pause: float | None
    retry: Retry
    total: object
    max_batches: int | None
    telemetry_prefix: str
    checkpoint: Checkpoint | None
    once: bool
    if_running: Literal["raise", "skip", "wait"]

    @property
    def key(self) -> str:
        """The name that the store knows this run by."""
        if self.checkpoint is None or self.checkpoint.name is None:
            return self.name
        return self.checkpoint.name


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        parse: Returns the value to use, or raises `Refused`.
        default: The value where nobody says; already parsed.
        batch_only: A single operation has no use for it.
    """

    parse: Callable[[object], object]
    default: object = None
    batch_only: bool = False


ONE_ATTEMPT = Retry(attempts=1)

OPTIONS: Mapping[str, Option] = {
    "name": Option(rules.text),
    "initial_state": Option(rules.anything, None, batch_only=True),
    "mode": Option(rules.one_of("sync", "async"), "async"),
    "health_checks": Option(rules.or_default(rules.health_checks, ()), ()),
    "health_interval": Option(rules.above_zero, 5.0),
    "health_timeout": Option(rules.above_zero, 5.0),
    "evaluate": Option(rules.or_default(rules.function, worst_of), worst_of),
    "batch_size": Option(rules.or_none(rules.count), None, batch_only=True),
    "pace": Option(
        rules.or_none(rules.instance(Adaptive, "an Adaptive(...), or None")),
        batch_only=True,
    ),
    "duty": Option(rules.or_default(rules.share, 1.0), 1.0, batch_only=True),
    "max_rows_per_second": Option(
        rules.or_none(rules.a_second("rows")), batch_only=True
    ),
    "max_wal_per_second": Option(
        rules.or_none(rules.a_second("bytes")), batch_only=True
    ),
    "windows": Option(rules.or_none(rules.windows), batch_only=True),
    "canary": Option(rules.or_none(rules.count), batch_only=True),
    "timeout": Option(rules.or_none(rules.above_zero)),
    "delay_between_batches": Option(
        rules.or_default(rules.from_zero, 0.0), 0.0, batch_only=True
    ),
    "max_pause": Option(rules.or_none(rules.from_zero), 3600.0),
    "retry": Option(
        rules.or_default(rules.instance(Retry, "a Retry(...), or None"), ONE_ATTEMPT),
        ONE_ATTEMPT,
    ),
    "total": Option(rules.or_none(rules.total_rows), None, batch_only=True),
    "max_batches": Option(rules.or_none(rules.count), None, batch_only=True),
    "telemetry_prefix": Option(rules.or_default(rules.dotted, "backfill"), "backfill"),
    "checkpoint": Option(
        rules.or_none(rules.instance(Checkpoint, "a Checkpoint(store, name), or None"))
    ),
    "once": Option(rules.or_default(rules.flag, default=False), default=False),
    "if_running": Option(rules.one_of("raise", "skip", "wait"), "raise"),
}

# A run that is under way cannot be told to have no size any more.
_ONLY_SET = {"workers": Option(rules.count), "batch_size": Option(rules.count)}
"""An option of some kinds of backfill only, of which `RunOptions` knows nothing."""

TUNABLE = frozenset(
    {
        "batch_size",
        "delay_between_batches",
        "duty",
        "max_rows_per_second",
        "max_wal_per_second",
        "windows",
        "workers",
    }
)
"""Options that a running run may be told to change, where it has them."""


_PASSWORD = re.compile(
    r"(://[^:/@\s]*:)\S+(?=@)"
    r"|(password['\"\\]*\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s'\"&]+)"
)
"""That of a DSN, as a URL or as keywords, or of a mapping."""


def parsed(name: str, value: object, options: Mapping[str, Option] = OPTIONS) -> object:
    """Return the value that *value* means for the option *name*.

    Raises:
        Refused: It breaks the option's rule; the message is one whole sentence.
    """
    try:
        return options[name].parse(value)
    except RefusedUnseen as rule:
        msg = f"{name} must be {rule}"
        raise Refused(msg) from None
    except Refused as rule:
        msg = f"{name} must be {rule}, not {_shown(value)}"
        raise Refused(msg) from None


def _shown(value: object) -> str:
    """Return *value* for an error, which may end in a log: without passwords."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", repr(value))


def near(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the one of *names* that *name* is most likely meant to be."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return found[0] if found else None


def tuned(
    values: Mapping[str, object], tunable: frozenset[str] = TUNABLE
) -> dict[str, object]:
    """Return *values* checked and parsed, for a run that is under way.

    Args:
        values: Options and their new values.
        tunable: The options that can be changed.

    Raises:
        ConfigurationError: One of them cannot be changed, or not to this value.
    """
    problems: list[str] = []
    checked: dict[str, object] = {}
    for name, value in values.items():
        if name not in tunable:
            problems.append(
                f"{name!r} cannot be set on a running run; "
                f"{', '.join(sorted(tunable))} can"
            )
            continue
        try:
            checked[name] = parsed(name, value, {**OPTIONS, **_ONLY_SET})
        except Refused as refused:
            problems.append(str(refused))
    if problems:
        raise ConfigurationError(problems, subject="set")
    return checked


# The values below come out of `parsed`, which gives each its type; mypy cannot follow
# them through a mapping by name.
def made(values: Mapping[str, Any]) -> RunOptions:
    """Return the options that *values*, one for each name, make."""
    return RunOptions(**values)


def changed(options: RunOptions, values: Mapping[str, Any]) -> RunOptions:
    """Return *options* with *values* in place of some."""
    return replace(options, **values)


def retuned(options: RunOptions, values: Mapping[str, Any]) -> RunOptions:
    """Return *options* with what *values*, which may be `tuned`, says of them."""
    return replace(options, **{k: v for k, v in values.items() if k in OPTIONS})
