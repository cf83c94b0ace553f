"""Who may hold the parameters of a statement, and what is said of those that cannot."""

import array
import asyncio
import collections
import os
import pathlib
import re
import sqlite3
import types
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from mcp_performance import QueryError, SQLitePool
from sqlite_entries import BOUND, READS, bound


@pytest.fixture
async def pool(tmp_path: pathlib.Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=2, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE sink (a, b)")
        yield pool


every_entry = pytest.mark.parametrize("entry", BOUND)


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
async def test_every_mapping_binds_by_name(pool: SQLitePool, entry: str) -> None:
    for name, make in MAPPINGS.items():
        assert await bound(pool, entry, ":a, :b", make()) == (1, 2), name


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
async def test_every_sequence_binds_by_position(pool: SQLitePool, entry: str) -> None:
    for name, make in SEQUENCES.items():
        assert await bound(pool, entry, "?, ?", make()) == (1, 2), name
        # As sqlite3 up to Python 3.13: names are numbered by their first use.
        assert await bound(pool, entry, ":z, @y", make()) == (1, 2), name


class Lookup:
    """Quacks like a mapping, and says nowhere that it is one."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: str) -> int:
        return {"a": 1, "b": 2}[key]

    def keys(self) -> list[str]:
        return ["a", "b"]


NEITHER: list[Callable[[], Any]] = [
    lambda: 3,
    lambda: 2.5,
    lambda: None,
    lambda: True,
    lambda: "ab",
    lambda: b"ab",
    lambda: bytearray(b"ab"),
    lambda: memoryview(b"ab"),
    lambda: {1, 2},
    lambda: frozenset({1, 2}),
    lambda: {1: 2, 3: 4}.keys(),
    lambda: {1: 2, 3: 4}.values(),
    lambda: iter([1, 2]),
    lambda: (i for i in (1, 2)),
    object,
    Lookup,
]


@every_entry
async def test_what_holds_no_parameters_is_a_type_error(pool: SQLitePool, entry: str) -> None:
    for make in NEITHER:
        params = make()
        expected = rf"params(\[0\])?: expected a sequence.*mapping.*not .*{type(params).__name__}"
        with pytest.raises(TypeError, match=expected):
            await bound(pool, entry, "?, ?", params)
    assert await pool.fetch("SELECT * FROM sink") == []


async def test_rows_that_cannot_be_iterated_are_a_type_error(pool: SQLitePool) -> None:
    with pytest.raises(TypeError, match="params: expected an iterable of sequences or mappings, not int"):
        await pool.executemany("INSERT INTO sink VALUES (?, ?)", 5)  # type: ignore[arg-type]


# ---- names and numbers ----


BINDINGS: list[tuple[str, Any]] = [
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
]


@every_entry
async def test_names_and_numbers_are_sqlite3s(pool: SQLitePool, entry: str) -> None:
    reference = sqlite3.connect(":memory:")
    for placeholders, params in BINDINGS:
        try:
            expected = reference.execute(f"SELECT {placeholders}", params).fetchone()
        except sqlite3.ProgrammingError:
            with pytest.raises(QueryError, match="parameter"):
                await bound(pool, entry, placeholders, params)
        else:
            assert await bound(pool, entry, placeholders, params) == expected, placeholders
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
    with pytest.raises(ZeroDivisionError, match=r"^on the way$"):
        await bound(pool, entry, ":a, 1", Stubborn(ZeroDivisionError("on the way")))
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


async def test_a_waiting_statement_is_not_adapted_twice(pool: SQLitePool) -> None:
    runs: list[int] = []
    value = Meddling(lambda: runs.append(1))
    await asyncio.gather(*(pool.fetchval("SELECT ?", (value,), cache=False) for _ in range(50)))
    assert len(runs) == 50
