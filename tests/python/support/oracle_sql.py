"""Random schemas, rows and queries, and what the ``sqlite3`` module makes of them."""

from __future__ import annotations

import marshal
import math
import random
import sqlite3
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AFFINITIES = ("", "INTEGER", "INT8", "TEXT", "VARCHAR(30)", "REAL", "DOUBLE", "BLOB", "NUMERIC", "ANYTHING")
ALPHABETS = (
    string.ascii_letters,
    "äöüßéñ",
    "日本語キャッシュ",
    "🦀🐍🚀\U0010ffff",
    "\x00\x01\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff",
    "'\"\\%_;--",
)
INTEGERS = (0, 1, -1, 127, 128, -129, 2**15, 2**24 + 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**47, 2**53 + 1)
EXTREME_INTEGERS = (2**63 - 1, -(2**63), 2**62, -(2**62) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 2.0**53, 1e15, 0.1)


def text_of(rng: random.Random, longest: int) -> str:
    length = rng.choice((0, 1, 2, 7, 30, rng.randrange(longest + 1)))
    return "".join(rng.choices(rng.choice(ALPHABETS), k=length))


def value_of(rng: random.Random, longest: int = 60) -> Any:
    """A value of any type that SQLite has."""
    kind = rng.randrange(8)
    if kind == 0:
        return None
    if kind == 1:
        return rng.choice(INTEGERS) * rng.choice((1, -1))
    if kind == 2:
        return rng.choice((*EXTREME_INTEGERS, rng.getrandbits(63), -rng.getrandbits(40)))
    if kind == 3:
        return rng.choice(FLOATS)
    if kind == 4:
        return rng.uniform(-1e6, 1e6)
    if kind in (5, 6):
        return text_of(rng, longest)
    return rng.randbytes(rng.choice((0, 1, 5, rng.randrange(longest + 1))))


@dataclass(frozen=True)
class Table:
    """One table, its columns by their declared types, and the rows that were put in."""

    name: str
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    suffix: str = ""

    @property
    def columns(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.types))]

    @property
    def ddl(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(self.columns, self.types, strict=True))
        return f"CREATE TABLE {self.name} (id INTEGER PRIMARY KEY, {columns}) {self.suffix}"

    @property
    def insert(self) -> str:
        return f"INSERT INTO {self.name} VALUES ({', '.join('?' * (len(self.types) + 1))})"


def table_of(rng: random.Random, name: str, cells: int, most_rows: int) -> Table:
    """A table of about *cells* values at most: many rows or many columns."""
    width = rng.choice((1, 2, 3, 5, 12, rng.randint(1, 199)))
    most = min(most_rows, cells // (width + 1))
    height = rng.choice((0, 1, 2, 100, rng.randint(0, most), most))
    # Most of a wide or a long table repeats a few values: making them is slower than reading them.
    stock = [value_of(rng, longest=rng.choice((20, 300))) for _ in range(200)]
    rows = [(i, *rng.choices(stock, k=width)) for i in rng.sample(range(-height, 3 * height), k=height)]
    types = tuple(rng.choice(AFFINITIES) for _ in range(width))
    return Table(name, types, rows, rng.choice(("", "", "", "WITHOUT ROWID")))


def large_table_of(rng: random.Random, name: str, largest: int) -> Table:
    """A few rows with texts and blobs of up to *largest* bytes."""
    sizes = [0, 1, 4095, 4096, 65_536, 262_145, largest - 1, largest]
    rows: list[tuple[Any, ...]] = []
    for i, size in enumerate(rng.sample(sizes, k=len(sizes))):
        letter = rng.choice(rng.choice(ALPHABETS))
        text = letter * max(1, size // len(letter.encode()))
        rows.append((i, text, rng.randbytes(size), rng.random()))
    return Table(name, ("TEXT", "BLOB", "REAL"), rows)


Query = tuple[str, Any]


def _comparison(rng: random.Random, table: Table, alias: str = "") -> tuple[str, list[Any]]:
    column = alias + rng.choice(table.columns)
    kind = rng.randrange(5)
    if kind == 0:
        return f"{column} IS NULL", []
    if kind == 1:
        return f"{alias}id % ? = ?", [rng.randint(1, 9), rng.randint(0, 3)]
    values = [row[rng.randrange(1, len(row))] for row in rng.choices(table.rows, k=2)] if table.rows else []
    given = [rng.choice([*values, value_of(rng)]) for _ in range(2)]
    if kind == 2:
        return f"{column} BETWEEN ? AND ?", given
    if kind == 3:
        return f"typeof({column}) = ?", [rng.choice(("null", "integer", "real", "text", "blob"))]
    return f"{column} {rng.choice(('=', '<', '>=', '<>', 'IS NOT'))} ?", given[:1]


def _selection(rng: random.Random, table: Table) -> str:
    names = rng.choices(["id", *table.columns], k=rng.choice((1, 2, 5, rng.randint(1, len(table.types) + 1))))
    shapes = (
        "{c}",
        "{c}",
        "{c} AS x",
        "typeof({c})",
        "length({c}) AS n",
        "quote({c})",
        "{c} || ''",
        "CAST({c} AS BLOB) AS b",
        "coalesce({c}, -0.0)",
        "hex({c})",
    )
    return ", ".join(rng.choice(shapes).format(c=name) for name in names)


def query_of(rng: random.Random, table: Table) -> Query:
    """A SELECT whose rows are determined, order included, and its parameters."""
    where, params = _comparison(rng, table)
    order = rng.choice(("id", "id DESC", f"{rng.choice(table.columns)}, id"))
    limit = rng.choice(("", "", f" LIMIT {rng.randint(0, 50)}", f" LIMIT 1000 OFFSET {rng.randint(0, 9)}"))
    name, column = table.name, rng.choice(table.columns)
    kind = rng.randrange(9)
    if kind <= 1:
        return f"SELECT * FROM {name}", ()
    if kind == 2:
        return f"SELECT {_selection(rng, table)} FROM {name} WHERE {where} ORDER BY {order}{limit}", params
    if kind == 3:
        sql = f"SELECT {_selection(rng, table)} FROM {name} ORDER BY {order}{limit}"
        return sql, ()
    if kind == 4:
        aggregate = rng.choice(("count(*)", f"max({column})", "min(id)", "total(id)", "sum(id)"))
        return f"SELECT typeof({column}), {aggregate} FROM {name} WHERE {where} GROUP BY 1 ORDER BY 1", params
    if kind == 5:
        where, params = _comparison(rng, table, "a.")
        both = f"{name} a LEFT JOIN {name} b ON b.id = a.id + 1"
        return f"SELECT a.*, b.id FROM {both} WHERE {where} ORDER BY a.id", params
    if kind == 6:
        values = {f"p{i}": value_of(rng) for i in range(rng.choice((1, 3, 150)))}
        return "SELECT " + ", ".join(f":{key} AS {key}" for key in values), values
    if kind == 7:
        count = rng.choice((0, 1, 10, 2000))
        sql = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= ?) "
            "SELECT i, i * 1.5, printf('%05d', i), NULL, x'00' || i FROM n WHERE i <= ?"
        )
        return sql, (count, count)
    given = [value_of(rng) for _ in range(3)]
    return "SELECT ? AS v UNION ALL SELECT ? UNION ALL SELECT ?", given


def tell_apart(answer: Any) -> Any:
    """Something that is equal only for answers that are equal to the type and the bit."""
    try:
        return marshal.dumps(answer, 2)
    except ValueError:  # types that marshal does not know
        return repr(answer)


def first_difference(found: Sequence[Any], expected: Sequence[Any]) -> str:
    for i, (one, other) in enumerate(zip(found, expected, strict=False)):
        if tell_apart(one) != tell_apart(other):
            return f"row {i} is {one!r:.300} and not {other!r:.300}"
    return f"{len(found)} rows and not {len(expected)}"


@dataclass(frozen=True)
class Reference:
    """What ``sqlite3`` answers to a statement."""

    names: list[str]
    rows: list[tuple[Any, ...]]
    error: sqlite3.Error | None = None

    @property
    def error_type(self) -> type[Exception]:
        """What a caller of the pool gets for :attr:`error`."""
        return type(self.error)  # type: ignore[return-value]

    def shaped(self, row_type: str) -> list[Any]:
        if row_type == "dict":
            return [dict(zip(self.names, row, strict=True)) for row in self.rows]
        return self.rows


def reference(connection: sqlite3.Connection, query: Query) -> Reference:
    sql, params = query
    try:
        cursor = connection.execute(sql, params)
        rows = cursor.fetchall()
    except sqlite3.Error as error:
        return Reference([], [], error)
    return Reference([column[0] for column in cursor.description or ()], rows)
