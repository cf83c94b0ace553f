"""Wrong uses: each line that is marked must be an error. A mark without an error is an error itself.

It is not run: mypy --strict warns of ignores that are not needed, and so does pyright.
"""

from __future__ import annotations

from typing import Any

import mcp_performance as mp
from mcp_performance import aiosqlite


@mp.cached
def bare(x: int, *, flag: bool = False) -> str:
    return str(x)


bare("a")  # type: ignore[arg-type]
bare(1, flags=True)  # type: ignore[call-arg]
bare(1) + 1  # type: ignore[operator]
bare.cache_invalidate("a")  # type: ignore[arg-type]
mp.cached(ttl=object())  # type: ignore[call-overload]
mp.cached(maxsize="10")  # type: ignore[call-overload]
mp.cached(policy="fifo")  # type: ignore[call-overload]
mp.cached(time_to_live=5)  # type: ignore[call-overload]
mp.cached(jitter="0.1")  # type: ignore[call-overload]
mp.cached(cache={})  # type: ignore[call-overload]
mp.cached_method(cache=mp.Cache())  # type: ignore[call-overload]
mp.lru_cache(ttl=5)  # type: ignore[call-overload]
mp.Cache(policy="fifo")  # type: ignore[arg-type]
mp.Cache(max_size=5)  # type: ignore[call-arg]


class Service:
    @mp.cached_method
    def method(self, x: int) -> float:
        return 1.0

    @classmethod
    @mp.cached
    def made(cls, x: int) -> str:
        return ""

    @staticmethod
    @mp.cached
    def plain(x: int) -> str:
        return ""


Service().method("a")  # type: ignore[arg-type]
Service.plain("a")  # type: ignore[arg-type]
Service().plain("a")  # type: ignore[arg-type]
Service.made("a")  # type: ignore[arg-type]
Service().made()  # type: ignore[call-arg]


async def rows(pool: mp.SQLitePool[tuple[Any, ...]]) -> None:
    pool.fetch(5)  # type: ignore[call-overload]
    pool.fetch("SELECT 1", row_type="list")  # type: ignore[call-overload]
    pool.fetch("SELECT 1", timeout="5")  # type: ignore[call-overload]
    await pool.execute("DELETE FROM t", row_type="dict")  # type: ignore[call-arg]
    (await pool.fetch("SELECT 1"))[0]["name"]  # type: ignore[call-overload]
    (await pool.fetchrow("SELECT 1"))[0]  # type: ignore[index]
    (await pool.execute("DELETE FROM t")) + "1"  # type: ignore[operator]
    pool.blocking.fetch("SELECT 1").result()  # type: ignore[attr-defined]
    async for row in pool.stream("SELECT 1", row_type="dict"):
        row.items().missing()  # type: ignore[attr-defined]


async def lent(pool: mp.SQLitePool[tuple[Any, ...]]) -> None:
    pool.connection(time_out=5)  # type: ignore[call-arg]
    pool.connection(isolation_level="SOMETIMES")  # type: ignore[arg-type]
    pool.blocking.connection(timeout="5")  # type: ignore[arg-type]
    aiosqlite.connect("a.db", detect_type=1)  # type: ignore[call-arg]
    await (await aiosqlite.connect("a.db")).setlimit("columns", 5)  # type: ignore[arg-type]
    async with pool.connection() as db:
        await db.run(lambda connection: connection.no_such_method())  # type: ignore[attr-defined]
        await db.run(lambda connection, sql: connection.execute(sql))  # type: ignore[arg-type, misc]


mp.SQLitePool("a.db", row_type="list")  # type: ignore[call-overload]
mp.SQLitePool("a.db", synchronous="SOMETIMES")  # type: ignore[call-overload]
mp.SQLitePool("a.db", pages=5)  # type: ignore[call-overload]


@mp.batched
async def lengths(names: list[str]) -> list[int]:
    return [len(name) for name in names]


lengths(5)  # type: ignore[arg-type]


class Names:
    @mp.batched
    async def lengths(self, names: list[str]) -> list[int]:
        return []


Names().lengths(5)  # type: ignore[arg-type]


@mp.batched  # type: ignore[arg-type]
def not_async(names: list[str]) -> list[int]:
    return []


async def batches(processor: mp.BatchProcessor) -> None:
    await processor.map(len, [5])  # type: ignore[arg-type]
    await processor.map(len, ["a"], kind="gpu")  # type: ignore[call-overload]
    (await lengths("a")).upper()  # type: ignore[attr-defined]


@mp.idempotent(key="order:{order}")
def charge(order: str) -> bool:
    return True


charge(5)  # type: ignore[arg-type]
mp.HttpClient("http://127.0.0.1").get(5)  # type: ignore[arg-type]
mp.LoadTester("http://127.0.0.1", order="random")  # type: ignore[arg-type]
mp.LoadTester.mcp("http://127.0.0.1/mcp", "search", cookie=True)  # type: ignore[call-arg]
mp.LoadTester.websocket("ws://127.0.0.1", "hello", threads="2")  # type: ignore[arg-type]
mp.LoadTester.sse("http://127.0.0.1", headers=5)  # type: ignore[arg-type]
mp.mcp_request("search", weights=2)  # type: ignore[call-arg]


async def visit(user: mp.User) -> None:
    await user.post("/", boby="a")  # type: ignore[call-arg]
    (await user.get("/", expect_status="200")).json()  # type: ignore[arg-type]


mp.PerformanceMiddleware(None)  # type: ignore[arg-type]
