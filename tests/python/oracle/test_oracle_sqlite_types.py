"""Values of Python types that SQLite has none for come back as they went in, on every path."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp_performance import SQLitePool
from oracle_runs import Oracle, some_slices
from oracle_sql import first_difference, tell_apart, text_of, value_of


def moment_of(rng: random.Random) -> datetime.datetime:
    zone = rng.choice(
        (None, datetime.UTC, datetime.timezone(datetime.timedelta(minutes=rng.randrange(-700, 700))))
    )
    day = datetime.datetime(1, 1, 2) + datetime.timedelta(days=rng.randrange(3_652_000))
    return day.replace(microsecond=rng.choice((0, 1, 999_999)), hour=rng.randrange(24), tzinfo=zone)


def json_of(rng: random.Random, depth: int = 0) -> Any:
    if depth < 3 and rng.random() < 0.4:
        return [json_of(rng, depth + 1) for _ in range(rng.randrange(4))]
    if depth < 3 and rng.random() < 0.5:
        return {text_of(rng, 9): json_of(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice((None, True, False, rng.getrandbits(80), rng.random(), text_of(rng, 30)))


def document_of(rng: random.Random) -> Any:
    return rng.choice(([], {}, [json_of(rng)], {text_of(rng, 5): json_of(rng)}))


# By adapter: the types of columns that it reads, and a value for one.
KINDS: dict[str, tuple[tuple[str, ...], Callable[[random.Random], Any]]] = {
    "bool": (("BOOL", "BOOLEAN", "boolean"), lambda rng: rng.random() < 0.5),
    "date": (("DATE", "date"), lambda rng: moment_of(rng).date()),
    "datetime": (("DATETIME", "TIMESTAMP", "timestamp"), moment_of),
    "decimal": (
        ("DECIMAL TEXT", "DECIMAL"),
        lambda rng: decimal.Decimal(rng.randrange(-(10**6), 10**6)) / 64,
    ),
    "json": (("JSON TEXT",), document_of),
    "uuid": (("UUID TEXT",), lambda rng: uuid.UUID(int=rng.getrandbits(128))),
}


async def test_adapted_values_come_back_on_every_path(tmp_path: Path, oracle: Oracle) -> None:
    for number, rng in enumerate(oracle.rounds()):
        adapters = rng.sample(list(KINDS), k=rng.randint(1, len(KINDS)))
        columns: list[tuple[str, Callable[[random.Random], Any]]] = [("BLOB", value_of)]
        for name in rng.choices(adapters, k=rng.randint(1, 8)):
            types, make = KINDS[name]
            columns.append((rng.choice(types), make))
        rng.shuffle(columns)
        names = [f"c{i}" for i in range(len(columns))]
        height = rng.choice((0, 1, 50, 2000))
        rows = [
            (i, *(None if rng.random() < 0.1 else make(rng) for _, make in columns)) for i in range(height)
        ]
        path = tmp_path / f"{number}.db"
        async with SQLitePool(path, adapters=adapters) as pool:
            declared = ", ".join(f"{name} {kind}" for name, (kind, _) in zip(names, columns, strict=True))
            await pool.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {declared})")
            insert = f"INSERT INTO t VALUES ({', '.join('?' * (len(names) + 1))})"
            assert await pool.executemany(insert, rows) == height
            with some_slices(rng):
                await check_paths(pool, rows, ["id", *names])
        path.unlink()


async def check_paths(pool: SQLitePool, rows: list[Any], names: list[str]) -> None:
    sql = "SELECT * FROM t ORDER BY id"
    answers = await asyncio.gather(
        pool.fetch(sql),
        pool.fetch(sql),
        pool.fetch(sql, cache=False),
        asyncio.to_thread(pool.blocking.fetch, sql),
        asyncio.to_thread(lambda: list(pool.blocking.stream(sql))),
    )
    answers.append(await pool.fetch(sql))
    answers.append([row async for row in pool.stream(sql)])
    answers.append([tuple(row) for row in await pool.fetch(sql, row_type="named")])
    for answer in answers:
        assert tell_apart(answer) == tell_apart(rows), first_difference(answer, rows)
    named = [dict(zip(names, row, strict=True)) for row in rows]
    found = await pool.fetch(sql, row_type="dict")
    assert tell_apart(found) == tell_apart(named), first_difference(found, named)
