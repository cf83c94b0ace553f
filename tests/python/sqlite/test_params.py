"""What parameters may be, who holds them, and what is said of those that cannot be bound."""

import array
import asyncio
import collections
import datetime
import decimal
import enum
import fractions
import math
import os
import pathlib
import re
import sqlite3
import types
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from mcp_performance import ConfigurationError, QueryError, SQLitePool
from sqlite_entries import OTHERS, READS, WRITES, Entry


@pytest.fixture
async def pool(tmp_path: pathlib.Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=2) as pool:
        await pool.execute("CREATE TABLE sink (a, b)")
        yield pool


async def bound(pool: SQLitePool, entry: str, placeholders: str, params: Any) -> Any:
    """The two values that SQLite got for two placeholders, by this way in."""
    if entry in WRITES:
        await pool.execute("DELETE FROM sink")
        await WRITES[entry](pool, f"INSERT INTO sink VALUES ({placeholders})", params)
        return await pool.fetchrow("SELECT a, b FROM sink")
    return await {**READS, **OTHERS}[entry](pool, f"SELECT {placeholders}", params)


every_entry = pytest.mark.parametrize("entry", [*READS, *WRITES, "init"])


# ---- who holds them ----


class Computed(Mapping[str, int]):
    """A mapping whose values are nowhere."""

    def __getitem__(self, key: str) -> int:
        if len(key) != 1:
            raise KeyError(key)
        return ord(key) - ord("a") + 1

    def __iter__(self) -> Iterator[str]:
        return iter("xyz")

    def __len__(self) -> int:
        return 3


class Query(dict[str, list[int]]):
    """As the query parameters of many a framework: a dict whose items are lists, and lookups the last."""

    def __getitem__(self, key: str) -> int:  # type: ignore[override]
        return super().__getitem__(key)[-1]


class Missing(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return {"a": 1, "b": 2}[key]


def _default() -> Mapping[str, int]:
    found: collections.defaultdict[str, int] = collections.defaultdict(lambda: 2)
    found["a"] = 1
    return found


MAPPINGS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "dict": lambda: {"a": 1, "b": 2, "unused": object()},
    "UserDict": lambda: collections.UserDict(b=2, a=1, unused=3),
    "ChainMap": lambda: collections.ChainMap({"b": 2}, {"a": 1, "b": 5}),
    "MappingProxyType": lambda: types.MappingProxyType({"b": 2, "a": 1}),
    "OrderedDict": lambda: collections.OrderedDict(b=2, a=1),
    "defaultdict": _default,
    "Counter": lambda: collections.Counter("abb"),
    "Mapping": Computed,
    "dict with its own lookup": lambda: Query(a=[7, 1], b=[2]),
    "dict with __missing__": Missing,
}


@every_entry
@pytest.mark.parametrize("name", MAPPINGS)
async def test_every_mapping_binds_by_name(pool: SQLitePool, entry: str, name: str) -> None:
    assert await bound(pool, entry, ":a, :b", MAPPINGS[name]()) == (1, 2)


async def test_the_environment_binds_by_name(pool: SQLitePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PARAMETER", "yes")
    assert await pool.fetchval("SELECT :MCP_PARAMETER", os.environ) == "yes"


class Plain:
    """A sequence by its methods alone."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return (1, 2)[index]


class RowLike(Sequence[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: Any) -> Any:
        return {"a": 1, "b": 2}[key] if isinstance(key, str) else (1, 2)[key]

    def keys(self) -> list[str]:
        return ["b", "a"]


def _row() -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute("SELECT 1 AS b, 2 AS a").fetchone()
    connection.close()
    return row


Pair = collections.namedtuple("Pair", "b a")

SEQUENCES: dict[str, Callable[[], Any]] = {
    "tuple": lambda: (1, 2),
    "list": lambda: [1, 2],
    "namedtuple": lambda: Pair(1, 2),
    "sqlite3.Row": _row,
    "like a row": RowLike,
    "UserList": lambda: collections.UserList([1, 2]),
    "deque": lambda: collections.deque([1, 2]),
    "range": lambda: range(1, 3),
    "array": lambda: array.array("i", [1, 2]),
    "methods": Plain,
    "NumPy array": lambda: np.array([1, 2]),
}


@every_entry
@pytest.mark.parametrize("name", SEQUENCES)
async def test_every_sequence_binds_by_position(pool: SQLitePool, entry: str, name: str) -> None:
    assert await bound(pool, entry, "?, ?", SEQUENCES[name]()) == (1, 2)
    # As sqlite3 up to Python 3.13: names are numbered by their first use.
    assert await bound(pool, entry, ":z, @y", SEQUENCES[name]()) == (1, 2)


class Lookup:
    """Quacks like a mapping, and says nowhere that it is one."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: str) -> int:
        return {"a": 1, "b": 2}[key]

    def keys(self) -> list[str]:
        return ["a", "b"]


@every_entry
@pytest.mark.parametrize(
    "params",
    [
        3,
        2.5,
        None,
        True,
        "ab",
        b"ab",
        bytearray(b"ab"),
        memoryview(b"ab"),
        {1, 2},
        frozenset({1, 2}),
        {1: 2, 3: 4}.keys(),
        {1: 2, 3: 4}.values(),
        iter([1, 2]),
        (i for i in (1, 2)),
        object(),
        Lookup(),
    ],
    ids=lambda params: type(params).__name__,
)
async def test_what_holds_no_parameters_is_a_type_error(pool: SQLitePool, entry: str, params: Any) -> None:
    expected = rf"params(\[0\])?: expected a sequence.*mapping.*not .*{type(params).__name__}"
    with pytest.raises(TypeError, match=expected):
        await bound(pool, entry, "?, ?", params)
    assert await pool.fetch("SELECT * FROM sink") == []


async def test_rows_that_cannot_be_iterated_are_a_type_error(pool: SQLitePool) -> None:
    with pytest.raises(TypeError, match="params: expected an iterable of sequences or mappings, not int"):
        await pool.executemany("INSERT INTO sink VALUES (?, ?)", 5)  # type: ignore[arg-type]


# ---- names and numbers ----


@pytest.mark.parametrize(
    ("placeholders", "params"),
    [
        (":a, @a", {"a": 1}),
        ("$a, :b", {"a": 1, "b": 2}),
        ("?1, ?2", {"1": 1, "2": 2}),
        ("?2, ?1", (1, 2)),
        ("?, ?1", (1,)),
        (":a, ?", (1, 2)),
        ("$a::b(c), :é", {"a::b(c)": 1, "é": 2}),
        ("':a', :b /* :c */", {"b": 2}),
        ("?3, :x", (1, 2, 3, 4)),
        ("?, ?", (1,)),
        ("?, ?", ()),
        ("?, 2", (1, 2)),
        (":a, :b", {"a": 1}),
        (":a, :b", {}),
        (":a, ?", {"a": 1}),
        ("?2, 1", {"2": 1}),
        ("1, 2", {"a": 1}),
        ("1, 2", {}),
    ],
)
@every_entry
async def test_names_and_numbers_are_sqlite3s(
    pool: SQLitePool, entry: str, placeholders: str, params: Any
) -> None:
    reference = sqlite3.connect(":memory:")
    try:
        expected = reference.execute(f"SELECT {placeholders}", params).fetchone()
    except sqlite3.ProgrammingError:
        with pytest.raises(QueryError, match="parameter"):
            await bound(pool, entry, placeholders, params)
    else:
        assert await bound(pool, entry, placeholders, params) == expected
    finally:
        reference.close()


@pytest.mark.parametrize(
    ("sql", "params", "message"),
    [
        ("SELECT ?, ?", (1,), "the statement takes 2, 1 was given"),
        ("SELECT 1", (1, 2), "the statement takes 0, 2 were given"),
        ("SELECT :a, :b", {"a": 1, "c": 2}, "parameter :b is missing among the parameters given: 'a', 'c'"),
        ("SELECT @a", {}, "parameter @a is missing among the parameters given: none"),
        ("SELECT :a, ?", {"a": 1}, "parameter 2 has no name"),
        ("SELECT ?, ?", (1, 1j), "parameter 2: a value of type complex cannot be bound"),
        ("SELECT :a, :b", {"a": 1, "b": 1j}, "parameter :b: a value of type complex"),
    ],
)
async def test_errors_say_what_was_given_and_what_is_expected(
    pool: SQLitePool, sql: str, params: Any, message: str
) -> None:
    for entry in READS.values():
        with pytest.raises((QueryError, TypeError), match=re.escape(message)):
            await entry(pool, sql, params)


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        (5, TypeError, "params[3]: expected a sequence"),
        ((1,), QueryError, "params[3]: wrong number of parameters: the statement takes 2, 1 was given"),
        ((1, 1j), TypeError, "params[3], parameter 2: a value of type complex"),
        ((2**64, 1), OverflowError, "params[3], parameter 1: an int does not fit"),
        (("\ud800", 1), UnicodeEncodeError, "params[3], parameter 1"),
        ({"a": 1}, QueryError, "params[3], parameter 1 has no name"),
    ],
)
async def test_errors_name_the_row_of_many(
    pool: SQLitePool, row: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        await pool.executemany("INSERT INTO sink VALUES (?, ?)", [(0, 0), [1, 1], (2, 2), row, (4, 4)])
    assert await pool.fetch("SELECT * FROM sink") == []


# ---- what they are ----


class Whole(int):
    pass


class Real(float):
    pass


class Text(str):
    __slots__ = ()


class Level(enum.IntEnum):
    LOW = 3


class Name(enum.StrEnum):
    FIRST = "first"


class Colour(enum.Enum):
    RED = 1


class Indexed:
    def __index__(self) -> int:
        return 7


class Floated:
    def __float__(self) -> float:
        return 7.5


class Conforming:
    """Adapts itself, or refuses to."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __conform__(self, protocol: Any) -> Any:
        assert protocol is sqlite3.PrepareProtocol
        return self.value


class ConformingInt(int):
    def __conform__(self, protocol: Any) -> Any:
        return f"number {int(self)}"


class Registered:
    pass


class RegisteredText(str):
    __slots__ = ()


class RegisteredConforming(Conforming):
    pass


class RegisteredChild(Registered):
    """Adapters are found by the very type."""


class Failing:
    pass


def _fail(_: object) -> None:
    raise LookupError("no adapter today")


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(sqlite3.adapters)
    sqlite3.register_adapter(Registered, lambda _: "adapted")
    sqlite3.register_adapter(RegisteredText, lambda value: f"<{value}>")
    sqlite3.register_adapter(RegisteredConforming, lambda _: "by the registry")
    sqlite3.register_adapter(Failing, _fail)
    yield
    sqlite3.adapters.clear()
    sqlite3.adapters.update(before)


VALUES: list[Any] = [
    None,
    0,
    -(2**63),
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    True,
    1.0,
    -0.0,
    math.inf,
    math.nan,
    "",
    "a\0b",
    "\U0001f529",
    "\udfff",
    b"",
    b"\0x",
    bytearray(b"xy"),
    memoryview(b"abc"),
    memoryview(b"abcdef")[::2],
    array.array("h", [1, -1]),
    np.array([[1, 2], [3, 4]], dtype=np.int16),
    Whole(5),
    Whole(2**64),
    Real(2.5),
    Text("sub"),
    Text("\ud800"),
    Level.LOW,
    Name.FIRST,
    Colour.RED,
    Indexed(),
    Floated(),
    Conforming(3),
    Conforming("x"),
    Conforming(None),
    Conforming(Whole(9)),
    Conforming(2**64),
    Conforming(Indexed()),
    Conforming(Conforming(1)),
    ConformingInt(4),
    Registered(),
    RegisteredText("t"),
    RegisteredConforming(1),
    RegisteredChild(),
    Failing(),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 1, 2, 3),
    datetime.time(1, 2),
    datetime.timedelta(1),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 2),
    uuid.UUID(int=5),
    pathlib.Path("x"),
    1j,
    [1],
    (1,),
    {"a": 1},
    {1},
    range(3),
    object(),
    int,
]


def _same(left: Any, right: Any) -> bool:
    return (repr(left), type(left)) == (repr(right), type(right))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}-{str(value)[:20]!a}")
@every_entry
async def test_a_value_is_bound_as_sqlite3_binds_it(pool: SQLitePool, entry: str, value: Any) -> None:
    reference = sqlite3.connect(":memory:")
    try:
        expected = reference.execute("SELECT ?, 1", (value,)).fetchone()
    except sqlite3.Error:
        with pytest.raises(TypeError, match=r"parameter 1: a value of type .* cannot be bound"):
            await bound(pool, entry, "?, 1", (value,))
    except Exception as refused:
        with pytest.raises(type(refused)) as caught:
            await bound(pool, entry, "?, 1", (value,))
        notes = getattr(caught.value, "__notes__", [])
        assert "parameter 1" in f"{caught.value}{notes}"
    else:
        got = await bound(pool, entry, "?, 1", (value,))
        assert _same(tuple(got), expected)
        assert _same(tuple(await bound(pool, entry, ":x, 1", {"x": value})), expected)
    finally:
        reference.close()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        *((kind(100), 100) for kind in (np.int8, np.int16, np.int32, np.int64, np.intc, np.longlong)),
        *((kind(200), 200) for kind in (np.uint8, np.uint16, np.uint32, np.uint64, np.uintp)),
        (np.int64(-(2**63)), -(2**63)),
        (np.bool_(True), 1),
        (np.bool_(False), 0),
        *((kind(1.5), 1.5) for kind in (np.float16, np.float32, np.float64, np.longdouble)),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float32("nan"), None),
        (np.longdouble("nan"), None),
        (np.float64("inf"), math.inf),
        (np.array(5), 5),
        (np.array([1, 2, 3])[1], 2),
        (np.array([1.5]).sum(), 1.5),
        (np.str_("é"), "é"),
        (np.bytes_(b"x"), b"x"),
        (np.void(b"abc"), b"abc"),
    ],
    ids=lambda value: f"{type(value).__name__}-{value!r}",
)
@every_entry
async def test_a_scalar_of_numpy_is_bound_as_its_number(
    pool: SQLitePool, entry: str, value: Any, stored: Any
) -> None:
    got = await bound(pool, entry, "?, 1", (value,))
    assert _same(got[0], stored)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.uint64(2**63), OverflowError),
        (np.complex64(1j), TypeError),
        (np.clongdouble(1j), TypeError),
        (np.datetime64("2024-02-29"), TypeError),
        (np.timedelta64(5, "s"), TypeError),
        (np.longdouble(1) / 3, TypeError),
        (np.array([object()]), TypeError),
        (np.array(["a"], dtype=object), TypeError),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_scalar_of_numpy_that_is_no_number_of_sqlites_is_refused(
    pool: SQLitePool, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="parameter 1"):
        await pool.fetchrow("SELECT ?", (value,))


async def test_results_are_kept_by_what_was_bound(pool: SQLitePool) -> None:
    await pool.execute("INSERT INTO sink VALUES (1, 2)")
    sql = "SELECT typeof(:a), :a FROM sink"
    values = [1, 1.0, "1", b"1", True, np.int8(1), np.float32(1), Text("1"), Conforming(1), Conforming("1")]
    for _ in range(3):
        got = [await pool.fetchrow(sql, {"a": value}) for value in values]
        kinds = ["integer", "real", "text", "blob", *["integer"] * 2, "real", "text", "integer", "text"]
        assert [kind for kind, _ in got] == kinds
    hits = pool.stats().cache.hits
    await pool.fetchrow(sql, collections.UserDict(a=np.int64(1), unused=2))
    await pool.fetchrow(sql, (1,))
    assert pool.stats().cache.hits == hits + 2


# ---- code that runs while they are read ----


class Stubborn(Mapping[str, int]):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key: str) -> int:
        raise self.error

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no names either")

    def __len__(self) -> int:
        return 1


@every_entry
async def test_what_a_lookup_raises_arrives(pool: SQLitePool, entry: str) -> None:
    error = ZeroDivisionError("on the way")
    with pytest.raises(ZeroDivisionError) as caught:
        await bound(pool, entry, ":a, 1", Stubborn(error))
    assert caught.value is error
    with pytest.raises(QueryError, match="parameter :a is missing"):  # as sqlite3 does
        await bound(pool, entry, ":a, 1", Stubborn(IndexError()))


class Meddling:
    """Runs code when it is adapted."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work

    def __conform__(self, _: Any) -> str:
        self.work()
        return "done"


@every_entry
async def test_parameters_that_change_while_they_are_read(pool: SQLitePool, entry: str) -> None:
    items: list[Any] = []
    items[:] = [Meddling(items.clear), "second"]
    assert await bound(pool, entry, "?, ?", items) == ("done", "second")
    mapping: dict[str, Any] = {}
    mapping |= {"a": Meddling(lambda: mapping.update(a=1, b="other", c=2)), "b": "second"}
    assert await bound(pool, entry, ":a, :b", mapping) == ("done", "other")
    mapping = {}
    mapping |= {"a": Meddling(mapping.clear), "b": "second"}
    with pytest.raises(QueryError, match="parameter :b is missing"):
        await bound(pool, entry, ":a, :b", mapping)
    values: collections.deque[Any] = collections.deque()
    values.extend([Meddling(values.clear), "second"])
    with pytest.raises(TypeError, match="params"):
        await bound(pool, entry, "?, ?", values)


async def test_an_adapter_may_use_the_pool(tmp_path: pathlib.Path) -> None:
    inner: list[Any] = []
    async with SQLitePool(tmp_path / "inner.db", size=3) as pool:
        value = Meddling(lambda: inner.append(pool.blocking.fetchval("SELECT ?", (len(inner),))))
        for number, entry in enumerate(READS.values()):
            assert tuple(await entry(pool, "SELECT ?, 1", (value,))) == ("done", 1)
            assert inner == list(range(number + 1))


async def test_a_stream_reads_its_parameters_before_it_takes_a_connection(pool: SQLitePool) -> None:
    value = Meddling(lambda: pool.blocking.fetchval("SELECT 1"))
    assert [row async for row in pool.stream("SELECT ?", (value,))] == [("done",)]
    assert list(pool.blocking.stream("SELECT ?", (value,))) == [("done",)]


async def test_an_adapter_that_closes_the_pool_ends_the_call(tmp_path: pathlib.Path) -> None:
    pool = SQLitePool(tmp_path / "closing.db")
    with pytest.raises(Exception, match="closed"):
        await pool.fetchval("SELECT ?", (Meddling(pool.terminate),))


# ---- the options of a call ----


async def _acquire(pool: SQLitePool, **options: Any) -> None:
    async with pool.acquire(**options):
        pass


async def _transact(pool: SQLitePool, **options: Any) -> None:
    async with pool.transaction(**options):
        pass


async def _blocking_acquire(pool: SQLitePool, **options: Any) -> None:
    with pool.blocking.acquire(**options):
        pass


async def _blocking_transact(pool: SQLitePool, **options: Any) -> None:
    with pool.blocking.transaction(**options):
        pass


async def _read_stream(pool: SQLitePool, **options: Any) -> None:
    async for _ in pool.stream("SELECT 1", **options):
        pass


async def _read_blocking_stream(pool: SQLitePool, **options: Any) -> None:
    for _ in pool.blocking.stream("SELECT 1", **options):
        pass


def _call(method: str) -> Entry:
    async def call(pool: SQLitePool, **options: Any) -> None:
        await getattr(pool, method)("SELECT 1", **options)

    return call  # type: ignore[return-value]


def _blocking_call(method: str) -> Entry:
    async def call(pool: SQLitePool, **options: Any) -> None:
        getattr(pool.blocking, method)("SELECT 1", **options)

    return call  # type: ignore[return-value]


FETCHES = {
    **{name: _call(name) for name in ("fetch", "fetchrow", "fetchval")},
    **{f"blocking.{name}": _blocking_call(name) for name in ("fetch", "fetchrow", "fetchval")},
}
TIMED = {
    **FETCHES,
    "execute": _call("execute"),
    "acquire": _acquire,
    "transaction": _transact,
    "blocking.execute": _blocking_call("execute"),
    "blocking.acquire": _blocking_acquire,
    "blocking.transaction": _blocking_transact,
}
ROWED = {**FETCHES, "stream": _read_stream, "blocking.stream": _read_blocking_stream}


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("timeout", "x", TypeError),
        ("timeout", True, TypeError),
        ("timeout", 1j, TypeError),
        ("timeout", decimal.Decimal(1), TypeError),
        ("timeout", [1], TypeError),
        ("timeout", math.nan, ConfigurationError),
        ("timeout", math.inf, ConfigurationError),
        ("timeout", -1, ConfigurationError),
        ("timeout", 0, ConfigurationError),
        ("timeout", -(10**400), ConfigurationError),
        ("timeout", 10**400, ConfigurationError),
        ("row_type", "x", ConfigurationError),
        ("row_type", 3, TypeError),
        ("row_type", ["tuple"], TypeError),
        ("cache", "x", TypeError),
        ("cache", 1, TypeError),
        ("cache", None, TypeError),
    ],
)
async def test_a_bad_option_is_the_same_error_everywhere(
    pool: SQLitePool, option: str, value: Any, error: type[Exception]
) -> None:
    for call in {"timeout": TIMED, "row_type": ROWED, "cache": FETCHES}[option].values():
        with pytest.raises(error, match=rf"{option}=.*: expected"):
            await call(pool, **{option: value})  # type: ignore[call-arg]


@pytest.mark.parametrize("seconds", [None, 5, 5.0, 1e9, 1e300, 2**80, np.float64(5)])
async def test_a_timeout_is_any_positive_number_everywhere(pool: SQLitePool, seconds: Any) -> None:
    for call in TIMED.values():
        await call(pool, timeout=seconds)  # type: ignore[call-arg]


async def test_a_waiting_statement_is_not_adapted_twice(pool: SQLitePool) -> None:
    runs: list[int] = []
    value = Meddling(lambda: runs.append(1))
    await asyncio.gather(*(pool.fetchval("SELECT ?", (value,), cache=False) for _ in range(50)))
    assert len(runs) == 50
