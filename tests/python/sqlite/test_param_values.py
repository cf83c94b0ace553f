"""What a parameter may be: what sqlite3 takes, and the scalars of NumPy."""

import array
import collections
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from mcp_performance import SQLitePool
from sqlite_entries import BOUND, bound


@pytest.fixture
async def pool(tmp_path: pathlib.Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=2, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE sink (a, b)")
        yield pool


every_entry = pytest.mark.parametrize("entry", BOUND)


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
@every_entry
async def test_a_value_is_bound_as_sqlite3_binds_it(pool: SQLitePool, entry: str) -> None:
    reference = sqlite3.connect(":memory:")
    for value in VALUES:
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
            assert _same(tuple(await bound(pool, entry, "?, 1", (value,))), expected)
            assert _same(tuple(await bound(pool, entry, ":x, 1", {"x": value})), expected)
    reference.close()


NUMPY: list[tuple[Any, Any]] = [
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
    (np.bytes_(b"x\0"), b"x\0"),
    (np.str_("x\0"), "x\0"),
    (np.void(b"abc"), b"abc"),
    (np.ma.array(5, mask=False), 5),
    (np.ma.array([1, 2], mask=[True, False])[1], 2),
]


@every_entry
async def test_a_scalar_of_numpy_is_bound_as_its_number(pool: SQLitePool, entry: str) -> None:
    for value, stored in NUMPY:
        got = await bound(pool, entry, "?, 1", (value,))
        assert _same(got[0], stored), (type(value), value)


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
        (np.ma.masked, TypeError),
        (np.ma.array(5, mask=True), TypeError),
        (np.ma.array([1, 2], mask=[True, False]), TypeError),
        (np.ma.array([1, 2], mask=[True, False])[0], TypeError),
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


@pytest.mark.parametrize("value", [{"a": math.inf}, [-math.inf], {"a": [{"b": math.nan}]}])
async def test_what_json_cannot_say_is_refused_by_the_json_adapter(
    tmp_path: pathlib.Path, value: Any
) -> None:
    async with SQLitePool(tmp_path / "json.db", adapters=("json",)) as pool:
        with pytest.raises(ValueError, match=r"parameter 2.*JSON"):
            await pool.fetchval("SELECT ?, ?", (1, value))
