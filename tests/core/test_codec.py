from __future__ import annotations

import enum
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cached_property
from types import ModuleType
from typing import Annotated, Any, NamedTuple, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from asyncpg.pgproto import pgproto
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill._core.codec import Encoded, decode, encode
from adaptive_backfill._core.codec.sameness import difference
from adaptive_backfill.errors import CheckpointError


class Color(enum.Enum):
    RED = "red"
    ODD = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Cursor:
    at: datetime
    key: UUID | None = None


@dataclass
class Position:
    table: str
    cursors: list[Any] = field(default_factory=list)
    seen: int = field(default=0, init=False)


@dataclass
class Doubling:
    value: int

    def __post_init__(self) -> None:
        self.value *= 2


@dataclass
class Summed:
    values: list[int]

    def __post_init__(self) -> None:
        self.total = sum(self.values)

    @cached_property
    def largest(self) -> int:
        return max(self.values)


@dataclass
class Outer:
    @dataclass
    class Inner:
        x: int


class Pair(NamedTuple):
    number: int
    key: UUID


class Row(TypedDict):
    number: int


@dataclass
class First:
    number: int
    gone: str = "old"


@dataclass
class Second:
    number: int
    new: tuple[int, ...] = (1,)


@dataclass
class Third:
    number: int
    needed: int


KEY = UUID(int=7)
BERN = timezone(timedelta(minutes=29, seconds=44))
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def exact(value: object) -> object:
    """What a value is, type by type: the test's own idea of sameness."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, [(exact(key), exact(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return kind, [exact(part) for part in value]
    if isinstance(value, set | frozenset):
        return kind, sorted(repr(exact(part)) for part in value)
    if isinstance(value, Cursor):
        return kind, exact(value.at), exact(value.key)
    if isinstance(value, Position):
        return kind, value.table, exact(value.cursors), value.seen
    if isinstance(value, datetime | time):
        return kind, repr(value), value.fold
    return kind, repr(value)


zones: st.SearchStrategy[tzinfo | None] = st.one_of(
    st.none(),
    st.timezones(),
    # CPython reads back no offset of less than a second; such are refused.
    st.builds(
        lambda seconds: timezone(timedelta(seconds=seconds)),
        st.integers(-80_000, 80_000),
    ),
)
atoms: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**63, max_value=2**300),
    st.floats(allow_nan=False),
    st.text(),
    st.text(max_size=3).map(lambda text: "$" + text),
    st.sampled_from(["$tuple", "$dict", "$uuid", "$dataclass", "$float"]),
    st.binary(),
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.timedeltas(),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.times(),
    st.builds(time, st.integers(0, 23), fold=st.integers(0, 1)),
    st.sampled_from([*Color, *Level]),
)
hashable: st.SearchStrategy[Any] = st.recursive(
    atoms.filter(lambda atom: not (isinstance(atom, Decimal) and atom.is_nan())),
    lambda part: st.one_of(
        st.lists(part, max_size=3).map(tuple), st.frozensets(part, max_size=3)
    ),
    max_leaves=4,
)
anything: st.SearchStrategy[object] = st.recursive(
    st.one_of(atoms, st.floats()),
    lambda part: st.one_of(
        st.lists(part, max_size=4),
        st.lists(part, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=4), part, max_size=4),
        st.dictionaries(hashable, part, max_size=4),
        st.sets(hashable, max_size=4),
        st.builds(Position, st.text(), st.lists(part, max_size=3)),
        st.builds(Cursor, st.datetimes(timezones=st.timezones()), st.none()),
    ),
    max_leaves=12,
)


def same_or_refused(state: object, state_type: object) -> None:
    try:
        kept = encode(state, state_type)
    except CheckpointError:
        return
    assert exact(decode(kept, state_type)) == exact(state)


def refusal(state: object, state_type: object = None) -> str:
    with pytest.raises(CheckpointError) as refused:
        encode(state, state_type)
    return str(refused.value)


@given(anything)
def test_a_value_without_a_declared_type_comes_back_or_is_refused(
    state: object,
) -> None:
    same_or_refused(state, None)


@given(st.one_of(atoms, st.floats()))
def test_every_single_value_describes_itself(state: object) -> None:
    assert exact(decode(encode(state))) == exact(state)


@given(st.dictionaries(hashable, atoms), st.lists(st.lists(atoms).map(tuple)))
def test_containers_describe_themselves(
    mapping: dict[object, object], rows: list[tuple[object, ...]]
) -> None:
    state = [mapping, rows]

    assert exact(decode(encode(state))) == exact(state)


DECLARED = [
    bool, int, float, str, bytes, Decimal, UUID, datetime, date, time, timedelta, list,
    tuple, dict, set, Color, Level, Cursor, Position, None, int | None, int | str,
    list[int], list[float], tuple[datetime, UUID], tuple[float, ...], set[float],
    dict[str, float], dict[int, str], frozenset[int], float | None, Any,
]  # fmt: skip


@given(anything, st.sampled_from(DECLARED))
def test_no_value_ever_comes_back_different_from_a_declared_type(
    state: object, state_type: object
) -> None:
    same_or_refused(state, state_type)


@pytest.mark.parametrize(
    ("state", "state_type"),
    [
        (0, int),
        (2**100, int),
        ("", str),
        (None, int | None),
        (1.5, float),
        (Decimal("1.00"), Decimal),
        (b"\xff\x00", bytes),
        (NOON, datetime),
        (date(2024, 2, 29), date),
        (time(1, 2, 3, 4), time),
        (timedelta(days=-1, microseconds=3), timedelta),
        (KEY, UUID),
        ((NOON, KEY), tuple[datetime, UUID]),
        ([(1, "a")], list[tuple[int, str]]),
        ({1: {KEY}}, dict[int, set[UUID]]),
        (Cursor(NOON, KEY), Cursor),
        (Cursor(NOON), Cursor | None),
        (Level.LOW, Level),
        (Pair(1, KEY), Pair),
        ({"number": 1}, Row),
        (Position("users", [1, "a", None]), Position),
    ],
)
def test_a_declared_type_brings_its_values_back(
    state: object, state_type: object
) -> None:
    kept = encode(state, state_type)

    assert exact(decode(kept, state_type)) == exact(state)


@pytest.mark.parametrize("undeclared", [None, Any, object, TypeVar("T")])
def test_a_type_that_says_nothing_leaves_values_to_describe_themselves(
    undeclared: object,
) -> None:
    kept = encode((1, KEY), undeclared)

    assert kept.form == "tagged/1"
    assert decode(kept, undeclared) == (1, KEY)


@pytest.mark.parametrize(
    "state",
    [
        {"$uuid": str(KEY)},
        {"$tuple": [1, 2], "other": 1},
        {"$dict": [["a", 1]]},
        {"$": {"$": {}}},
        [{"$dataclass": ["os", "system", {}]}],
    ],
)
def test_a_dict_that_looks_like_a_tag_survives(state: object) -> None:
    assert decode(encode(state)) == state


def test_nan_and_infinity_describe_themselves() -> None:
    state = [float("nan"), float("inf"), float("-inf"), -0.0]

    assert repr(decode(encode(state))) == "[nan, inf, -inf, -0.0]"


def test_a_repeated_hour_keeps_which_of_the_two_it_is() -> None:
    state = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)

    came = decode(encode(state))

    assert exact(came) == exact(state)


def test_a_key_of_the_database_driver_comes_back_as_a_plain_uuid() -> None:
    untyped = decode(encode(pgproto.UUID(KEY.bytes)))
    typed = decode(encode((pgproto.UUID(KEY.bytes),), tuple[UUID]), tuple[UUID])

    assert (untyped, type(untyped)) == (KEY, UUID)
    assert typed == (KEY,)


def test_fields_that_init_does_not_take_come_back() -> None:
    state = Position("users")
    state.seen = 4

    assert decode(encode(state)) == state
    assert decode(encode(state, Position), Position) == state


def test_what_a_dataclass_works_out_is_worked_out_again() -> None:
    state = Summed([1, 2])
    assert state.largest == 2

    untyped = decode(encode(state))
    typed = decode(encode(state, Summed), Summed)

    assert isinstance(untyped, Summed)
    assert isinstance(typed, Summed)
    assert untyped.total == typed.total == 3


def test_an_attribute_beside_the_fields_is_refused_when_it_would_be_lost() -> None:
    state = Position("users")
    state.note = "by hand"  # type: ignore[attr-defined]

    assert "state.note is 'by hand' (str)" in refusal(state)


def test_a_nested_class_comes_back() -> None:
    assert decode(encode(Outer.Inner(3))) == Outer.Inner(3)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (object(), "(object): its type does not describe itself"),
        ([1, {"x": 1j}], "state[1]['x'] is 1j (complex)"),
        ({"k": (0, range(3))}, "state['k'][1] is range(0, 3) (range)"),
        ({range(2): 1}, "state key range(0, 2) is range(0, 2) (range)"),
        (OrderedDict(a=1), "(collections.OrderedDict): its type does not describe"),
        (Pair(1, KEY), "Pair): its type does not describe itself"),
        (["a", "\ud800"], "state[1] is '\\ud800' (str)"),
        (Position("t", [{1, 1j}]), "state.cursors[0] member 1j is 1j (complex)"),
        (Access.READ | Access.WRITE, "The state cannot be read: KeyError"),
        (Doubling(2), "state.value is 4 (int), and would come back as 8 (int)"),
        ({float("nan")}, "state is {nan} (set), and would come back as {nan} (set)"),
    ],
)
def test_what_cannot_describe_itself_is_refused_with_its_place(
    state: object, said: str
) -> None:
    message = refusal(state)

    assert said in message
    assert message.endswith("or declare the state's type: Backfill[State].")


@pytest.mark.parametrize(
    ("state", "state_type", "said"),
    [
        ([(1, 2)], list, "state[0] is (1, 2) (tuple), and would come back as [1, 2]"),
        ((KEY,), tuple, f"state[0] is {KEY!r} (uuid.UUID), and would come back as"),
        (1, float, "state is 1 (int), and would come back as 1.0 (float)"),
        (True, int, "state is True (bool): Expected `int`, got `bool`"),
        (float("nan"), float, "state is nan, for which JSON has no word"),
        ({"a": [float("inf")]}, dict[str, list[float]], "state['a'][0] is inf"),
        ((1, 2), tuple[int, str], "Expected `str`, got `int` - at `state[1]`"),
        (3, Cursor, "state is 3 (int): Expected `object`, got `int`"),
        (["\ud800"], list[str], "state[0] is '\\ud800' (str)"),
        (object(), Cursor, "(object): Encoding objects of type object is unsupported"),
        ({1: "a"}, dict, "state key 1 is 1 (int), and would come back as '1' (str)"),
        ({"number": 1, "more": 2}, Row, "and would come back as {'number': 1} (dict)"),
        (OrderedDict(a=1), dict[str, int], "and would come back as {'a': 1} (dict)"),
        (Doubling(2), Doubling, "state.value is 4 (int), and would come back as 8"),
        ({1.0}, set[int], "Expected `int`, got `float`"),
        (datetime(2024, 10, 27, 2, 30, fold=1), datetime, "fold=1"),
        (time(2, 30, fold=1), time, "state is datetime.time(2, 30, fold=1)"),
        (datetime(1900, 1, 1, tzinfo=BERN), datetime, "timedelta(seconds=1784)"),
        ({(1,)}, set[tuple[float]], "member (1,)[0] is 1 (int), and would come back"),
    ],
)
def test_what_does_not_fit_the_declared_type_is_refused_with_its_place(
    state: object, state_type: object, said: str
) -> None:
    assert said in refusal(state, state_type)


def test_a_declared_moment_in_a_named_zone_is_refused_because_json_drops_the_zone() -> (
    None
):
    state = Cursor(datetime(2024, 5, 1, tzinfo=ZoneInfo("Europe/Berlin")))

    message = refusal(state, Cursor)

    assert "state.at is datetime.datetime(2024, 5, 1" in message
    assert "with moments in UTC" in message


@pytest.mark.parametrize(
    ("was", "came"),
    [(0.0, -0.0), (1, True), (Decimal("1.0"), Decimal("1.00")), ([1], [1, 2])],
)
def test_what_is_equal_is_not_yet_the_same(was: object, came: object) -> None:
    assert difference(was, came) == ("", was, came)


def test_what_is_unequal_to_itself_is_the_same() -> None:
    nan = [float("nan"), Decimal("NaN"), Decimal("sNaN")]

    assert difference(nan, [*nan]) is None


def test_an_int_of_more_digits_than_python_writes_is_refused() -> None:
    assert "state[0] is a very large int (int)" in refusal([10**5000])
    assert "state is a very large int (int)" in refusal(10**5000, int)


def test_an_endless_value_is_refused() -> None:
    state: list[object] = []
    state.append(state)

    assert "it is nested too deeply" in refusal(state)
    assert "it is nested too deeply" in refusal(state, list)


def test_a_type_that_msgspec_cannot_tell_apart_is_refused_by_name() -> None:
    assert "States of the type uuid.UUID | str cannot be kept" in refusal(
        "", UUID | str
    )


def local_class() -> type:
    @dataclass
    class Local:
        x: int

    return Local


def test_a_local_class_is_refused_unless_it_is_declared() -> None:
    local = local_class()

    assert "its class is declared within a function" in refusal(local(1))
    assert decode(encode(local(1), local), local) == local(1)


def test_a_local_class_with_unknown_annotations_is_refused_by_name() -> None:
    @dataclass
    class Part:
        x: int

    @dataclass
    class Whole:
        part: Part

    assert "Whole cannot be kept as JSON: name 'Part'" in refusal(None, Whole)


def test_a_state_kept_as_a_type_is_not_read_without_one() -> None:
    kept = encode(Cursor(NOON), Cursor)

    with pytest.raises(CheckpointError, match=r"Declare Backfill\[Cursor\] again"):
        decode(kept)


@pytest.mark.parametrize(
    ("state", "was", "now"),
    [
        (1, int, float),
        ("2024-05-01", str, date),
        (KEY, UUID, str),
        ((KEY,), tuple[UUID], tuple[str]),
        (None, int | None, int),
        (1, int | float, float),
        ({"number": 1}, dict[str, int], dict[str, float]),
        (First(1), First, Third),
        (First(1), First, int),
    ],
)
def test_a_state_kept_as_one_type_is_not_read_as_another(
    state: object, was: object, now: object
) -> None:
    kept = encode(state, was)

    with pytest.raises(CheckpointError, match="Declare the type that it was kept with"):
        decode(kept, now)


def test_a_declared_type_may_be_written_in_another_way_and_widened() -> None:
    kept = encode(3, Annotated[int | None, "a note"])

    assert decode(kept, int | None) == 3
    assert decode(encode(3, int), int | None) == 3


def test_a_record_may_gain_fields_with_defaults_and_lose_fields() -> None:
    assert decode(encode(First(3), First), Second) == Second(3)
    assert decode(encode(Second(3), Second), First) == First(3)


def renamed(kept: Encoded, old: str, new: str) -> Encoded:
    assert f'"{old}"' in kept.text
    return kept._replace(text=kept.text.replace(f'"{old}"', f'"{new}"'))


def test_a_self_described_record_may_gain_and_lose_fields() -> None:
    kept = renamed(encode(First(3)), "First", "Second")

    assert decode(kept) == Second(3)


def test_a_self_described_record_that_needs_a_new_field_is_an_error() -> None:
    kept = renamed(encode(First(3)), "First", "Third")

    with pytest.raises(
        CheckpointError, match=r"Third\.needed is new, and has no default"
    ):
        decode(kept)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Fourth", "has no Fourth"),
        ("KEY", "KEY is no dataclass any more"),
    ],
)
def test_a_class_that_is_gone_is_an_error(name: str, said: str) -> None:
    kept = renamed(encode(First(3)), "First", name)

    with pytest.raises(CheckpointError, match=said):
        decode(kept)


def test_a_module_that_is_gone_is_an_error() -> None:
    kept = renamed(encode(First(3)), __name__, "no_such_module")

    with pytest.raises(CheckpointError, match="no_such_module cannot be imported"):
        decode(kept)


def test_an_enum_that_is_gone_is_an_error() -> None:
    kept = encode(Color.ODD)

    assert decode(kept) is Color.ODD
    with pytest.raises(CheckpointError, match="Cursor is no Enum any more"):
        decode(renamed(kept, "Color", "Cursor"))


def test_a_self_described_state_has_to_fit_a_type_that_is_declared_later() -> None:
    kept = encode(5)

    assert decode(kept, int) == 5
    with pytest.raises(CheckpointError, match="Expected `str`, got `int`"):
        decode(kept, str)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (Encoded("1", "tagged/2"), "Upgrade to the version that wrote it"),
        (Encoded("1", "typed/2 int"), "Upgrade to the version that wrote it"),
        (Encoded('{"$new": 1}', "tagged/1"), "the tag '$new' is not known"),
        (Encoded("{", "tagged/1"), "The state cannot be read"),
        (Encoded('{"$uuid": "x"}', "tagged/1"), "The state cannot be read"),
        (Encoded('{"$decimal": "x"}', "tagged/1"), "The state cannot be read"),
        (Encoded('{"$time": 5}', "tagged/1"), "The state cannot be read"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_no_value(kept: Encoded, said: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        decode(kept)

    assert said in str(refused.value)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script `/srv/job.py` as the main module, with a dataclass in it."""
    main = ModuleType("__main__")
    main.__file__ = "/srv/job.py"
    exec(
        "from dataclasses import dataclass\n@dataclass\nclass State:\n    x: int\n",
        main.__dict__,
    )
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_a_class_of_a_script_is_kept_by_the_name_that_others_import(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = encode(script.State(3))
    typed = encode(script.State(3), script.State)
    here = decode(kept)

    # Now a command line is the main module, and the script is imported.
    imported = ModuleType("job")
    imported.State = script.State  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setitem(sys.modules, "job", imported)

    assert here == decode(kept) == script.State(3)
    assert typed.form == "typed/1 job.State"


@pytest.mark.parametrize(
    ("file", "name"),
    [("job.py", "job"), ("C:\\srv\\job.py", "job"), ("/srv.d/my.job.py", "my.job"),
     ("/srv.d/job", "job"), ("/srv/.job", ".job")],
)  # fmt: skip
def test_a_script_is_imported_by_the_name_of_its_file(
    file: str, name: str, script: ModuleType
) -> None:
    script.__file__ = file

    assert encode(script.State(3), script.State).form == f"typed/1 {name}.State"
