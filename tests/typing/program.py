"""A program that uses every public name. It is not run: mypy --strict and pyright must find nothing in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, assert_type

import mcp_performance as mp
from mcp_performance import config, errors
from mcp_performance.jsonrpc import JsonRpcDispatcher
from mcp_performance.middleware import PerformanceMiddleware
from mcp_performance.sqlite import NamedRow, SQLitePool

# ---- cached functions keep their signatures


@mp.cached
def bare(x: int, *, flag: bool = False) -> str:
    return str(x)


@mp.cached(ttl="5m", maxsize=None, policy="lru", tags="user:{x}", ignore=["flag"], jitter=0.1)
def configured(x: int, flag: bool = False) -> list[int]:
    return [x]


@mp.cached(
    ttl=lambda result: 5,
    key=lambda x: x,
    tags=lambda x: [f"user:{x}"],
    condition=lambda result: True,
    negative_ttl=timedelta(seconds=1),
    stale_ttl=5,
    refresh_ahead=0.5,
    copy=lambda result: result,
    vary=[lambda: "tenant"],
    wait_timeout="1s",
    name="coroutine",
    as_function=False,
    typed=True,
)
async def coroutine(x: int) -> bytes:
    return b""


@mp.lru_cache(maxsize=10)
def functools_like(x: int) -> float:
    return 0.5


class Service:
    @mp.cached_method(ttl=5)
    def method(self, x: int) -> float:
        return 1.0

    @mp.cached
    def shared(self, x: int) -> str:
        return ""

    @mp.cached_method
    async def load(self, name: str) -> bytes:
        return b""

    @classmethod
    @mp.cached
    def made(cls, x: int) -> str:
        return ""

    @classmethod
    @mp.cached(ttl=5)
    async def made_later(cls, x: int) -> str:
        return ""

    @staticmethod
    @mp.cached
    def plain(x: int) -> str:
        return ""

    @staticmethod
    @mp.cached
    def nothing() -> str:
        return ""


class Special(Service):
    pass


async def methods() -> None:
    assert_type(Service.made(1), str)
    assert_type(Service().made(1), str)
    assert_type(Special.made(1), str)
    assert_type(await Service.made_later(1), str)
    assert_type(Service.plain(1), str)
    assert_type(Service().plain(1), str)
    assert_type(Service().nothing(), str)
    assert_type(Service.shared(Service(), 1), str)
    assert_type(Special().shared(1), str)
    Service.made.cache_invalidate(1)
    Service.shared.cache_clear()


async def caches() -> None:
    assert_type(bare(1, flag=True), str)
    assert_type(configured(x=1), list[int])
    assert_type(await coroutine(1), bytes)
    assert_type(functools_like(1), float)
    assert_type(Service().method(1), float)
    assert_type(Service().shared(1), str)
    assert_type(await Service().load("a"), bytes)
    assert_type(bare.cache_info(), mp.CacheInfo)
    assert_type(bare.stats(), mp.CacheStats)
    assert_type(bare.cache_invalidate(1, flag=True), bool)
    assert_type(Service().method.cache_contains(1), bool)
    task: asyncio.Task[bytes] = asyncio.create_task(coroutine(1))
    assert_type(await task, bytes)
    cache: mp.Cache[str, int] = mp.Cache(100, ttl="5m", idle_ttl=5, policy="adaptive", weigher=lambda k, v: v)
    assert_type(cache.get("a"), int | None)
    assert_type(cache.get("a", "none"), int | str)
    assert_type(cache.pop("a"), int)
    assert_type(cache.get_or_load("a", len), int)
    assert_type(await cache.aget_or_load("a", len), int)
    assert_type(cache.get_many(["a"]), dict[str, int])
    cache["a"] = 1
    cache.set("a", 1, ttl=timedelta(hours=1), tags=["t"])
    mapping: Mapping[str, int] = cache
    print(len(mapping), cache.stats().hit_rate)
    tier = mp.RedisTier("redis://localhost", codec="msgpack", ttl=60)
    tiered = mp.TieredCache(mp.Cache(), tier)
    in_a_file = mp.TieredCache(mp.Cache(), mp.SQLiteTier("cache.db", ttl=60))
    assert_type(in_a_file.delete("a"), bool)
    backend: mp.CacheBackend = tiered
    print(mp.cached(cache=backend)(len), tier.stats().hits)
    stats: mp.TierStats = tier.stats()
    print(stats.hit_rate)


# ---- rows


async def rows(path: str) -> None:
    async with mp.SQLitePool(path, 4, synchronous="NORMAL", adapters=["uuid"]) as pool:
        assert_type(await pool.fetch("SELECT 1"), list[tuple[Any, ...]])
        assert_type(await pool.fetch("SELECT 1", row_type="named"), list[NamedRow])
        assert_type(await pool.fetch("SELECT ?", [1], row_type="dict"), list[dict[str, Any]])
        assert_type(await pool.fetchrow("SELECT :a", {"a": 1}), tuple[Any, ...] | None)
        assert_type(await pool.fetchrow("SELECT 1", row_type="dict", timeout=5), dict[str, Any] | None)
        assert_type(await pool.execute("DELETE FROM t"), int)
        assert_type(await pool.executemany("INSERT INTO t VALUES (?)", [(1,)]), int)
        print(await pool.fetchval("SELECT 1", cache=False))
        both = await asyncio.gather(pool.fetch("SELECT 1"), pool.fetch("SELECT 2"))
        assert_type(both, tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]])
        task = asyncio.create_task(pool.fetchrow("SELECT 1", row_type="named"))
        assert_type(await task, NamedRow | None)
        async with contextlib.aclosing(pool.stream("SELECT 1", row_type="named")) as stream:
            async for row in stream:
                assert_type(row, NamedRow)
                print(row["a"], row[0], row.as_dict())
        async with pool.transaction() as connection, connection.transaction():
            assert_type(await connection.fetch("SELECT 1"), list[tuple[Any, ...]])
            async for each in connection.stream("SELECT 1", row_type="dict"):
                assert_type(each, dict[str, Any])
        stats: mp.PoolStats = pool.stats()
        totals: list[mp.QueryStats] = pool.query_stats()
        slow: list[mp.SlowQuery] = pool.slow_log()
        reports: list[mp.IndexReport] = await pool.ensure_indexes(["CREATE INDEX i ON t(a)"])
        print(stats, totals, slow, reports)

    named = mp.SQLitePool(path, row_type="named")
    assert_type(named, SQLitePool[NamedRow])
    assert_type(await named.fetch("SELECT 1"), list[NamedRow])
    async with named.acquire() as borrowed:
        assert_type(await borrowed.fetchrow("SELECT 1"), NamedRow | None)
    dicts = mp.SQLitePool(path, row_type="dict")
    assert_type(dicts.blocking.fetch("SELECT 1"), list[dict[str, Any]])
    assert_type(dicts.blocking.fetchrow("SELECT 1", row_type="tuple"), tuple[Any, ...] | None)
    assert_type(dicts.blocking.execute("DELETE FROM t"), int)
    with dicts.blocking.transaction() as twin:
        assert_type(twin.fetch("SELECT 1"), list[dict[str, Any]])
        for one in twin.stream("SELECT 1"):
            assert_type(one, dict[str, Any])


async def any_pool(pool: SQLitePool) -> list[Any]:
    """A pool of any rows: its type parameter may be left out."""
    return await pool.fetch("SELECT 1")


# ---- statements


async def statements(pool: SQLitePool[tuple[Any, ...]]) -> None:
    analyzer = mp.QueryAnalyzer(pool)
    report: mp.QueryReport = analyzer.analyze("SELECT 1", [1])
    issues: tuple[mp.Issue, ...] = report.issues
    plan: tuple[mp.PlanStep, ...] = report.plan
    rewrites: tuple[mp.Rewrite, ...] = report.rewrites
    advice: mp.Advice = analyzer.advise(mp.read_workload("log.txt"), max_bytes=1 << 20)
    indexes: list[mp.IndexAdvice] = list(advice)
    drops: list[mp.DropAdvice] = list(advice.drops)
    effects: list[mp.StatementEffect] = list(advice.statements)
    refreshed: mp.StatisticsAdvice | None = advice.statistics
    print(indexes, drops, effects, refreshed)
    statistics: mp.WorkloadStatistics = analyzer.statistics()
    form, digest = mp.fingerprint("SELECT 1")
    print(issues, plan, rewrites, advice, statistics, form.upper(), digest.upper())
    untrusted: dict[str, object] = await mp.analyze_untrusted("a.db", "SELECT 1", timeout=1)
    print(untrusted)


# ---- batches


@mp.batched(max_size=10)
async def lengths(names: list[str]) -> list[int]:
    return [len(name) for name in names]


@mp.batched
async def by_item(names: list[str]) -> dict[str, int]:
    return {name: len(name) for name in names}


@mp.batched(max_wait=0)
async def some(names: list[str]) -> tuple[int | ValueError, ...]:
    return ()


class Names:
    @mp.batched
    async def lengths(self, names: list[str]) -> list[int]:
        return []

    @mp.batched(max_size=10)
    async def by_item(self, names: list[str]) -> dict[str, int]:
        return {}

    @staticmethod
    @mp.batched
    async def plain(names: list[str]) -> list[int]:
        return []


async def batched_methods() -> None:
    assert_type(await by_item("a"), int)
    print(await some("a"))
    assert_type(await Names().lengths("a"), int)
    assert_type(await Names().by_item("a"), int)
    assert_type(await Names.plain("a"), int)
    assert_type(await Names().plain("a"), int)


async def double(number: int) -> int:
    return 2 * number


async def batches() -> None:
    future = lengths("a")
    assert_type(future, mp.BatchedFuture[int])
    assert_type(await future, int)
    calls: mp.Batched[str, int] = lengths
    processor = mp.BatchProcessor(4)
    result = await processor.map(len, ["a"], kind="cpu", progress=True)
    assert_type(result, mp.BatchResult[int])
    assert_type((await processor.map(double, [1])).results, list[int | None])
    async for item in processor.stream(len, ["a"], ordered=True):
        assert_type(item, mp.BatchItem[int])
    with contextlib.suppress(mp.GilBoundWarning, mp.BatchError):
        await processor.map(mp.fingerprint, ["SELECT 1"])
    client = mp.HttpClient("http://127.0.0.1:8000", timeout=5)
    replies = await processor.map(client.get, ["/a"])
    assert_type(replies, mp.BatchResult[mp.HttpReply])
    request: mp.HttpRequest = ("POST", "/", b"{}", {"content-type": "application/json"})
    reply = client.send(request)
    assert_type(reply.status, int)
    print(reply.headers, reply.body, calls)


@mp.idempotent(key="order:{order}", store=mp.IdempotencyStore("orders.db", ttl="1d"))
async def charge(order: str, amount: int) -> bool:
    return True


async def idempotency(app: Any) -> None:
    assert_type(await charge("a", amount=1), bool)
    store = mp.IdempotencyStore()
    figures: mp.IdempotencyStats = store.stats()
    print(figures, mp.IdempotencyMiddleware(app, store=store))


# ---- load


async def loads(app: Any) -> None:
    tester = mp.LoadTester("http://127.0.0.1:8000", scenario=[mp.Request("GET", "/")], order="sequential")
    result = await tester.run_load_test(1000, 10, stages=[mp.Stage(1.0, users=5)], thresholds=["p99<100ms"])
    assert_type(result, mp.LoadTestResult)
    seconds: tuple[mp.SecondStats, ...] = result.series
    kinds: Mapping[str, mp.RequestStats] = result.requests
    percentiles: mp.Percentiles = result.corrected
    bottleneck: mp.Bottleneck | None = result.bottleneck
    windows: tuple[mp.WindowStats, ...] = bottleneck.windows if bottleneck else ()
    compared: mp.Comparison = mp.compare_runs(result, result)
    merged: mp.LoadTestResult = mp.merge_results([result, result])
    capacity: mp.Capacity = await tester.find_capacity()
    steps: tuple[mp.CapacityStep, ...] = capacity.steps
    scalability: mp.Scalability = await tester.scalability([1, 2])
    levels: tuple[mp.ScalabilityLevel, ...] = scalability.levels
    print(seconds, kinds, percentiles, windows, compared, merged, steps, levels)

    def show(progress: mp.Progress) -> None:
        print(progress.fraction)

    await mp.LoadTester(app).run_load_test(10, progress=show)
    await mp.LoadTester(mp.McpTool(object(), "search")).run_load_test(10)
    await mp.LoadTester(mp.Command(["ls"], input=b"")).run_load_test(10)
    print(mp.mcp_request("search"), mp.ToolFailed, mp.CommandFailed)

    async def visit(user: mp.User) -> None:
        reply: mp.UserReply = await user.get("/orders", name="orders", expect_status=(200, 204))
        user["first"] = reply.json()[0]

    await mp.LoadTester(visit, url="http://127.0.0.1:8000", data=[{"name": "ann"}]).run_load_test(10)
    await mp.LoadTester("http://127.0.0.1", cookies=True, setup=visit, teardown=visit).run_load_test(10)
    await mp.LoadTester.mcp("http://127.0.0.1:8000/mcp", "search", {"q": "x"}).run_load_test(10)
    await mp.LoadTester.mcp(["python", "server.py"], "search", workers=2, seed=1).run_load_test(10)
    print(mp.mcp_request("search", weight=2, save={"id": "json:result.id"}))
    await mp.LoadTester.websocket("ws://127.0.0.1:8000/", b"hello", expect="h", threads=2).run_load_test(10)
    await mp.LoadTester.sse("http://127.0.0.1:8000/events", 3).run_load_test(10)


# ---- services


async def services(app: Any, pool: SQLitePool[Any]) -> None:
    monitor = mp.PerformanceMonitor(pools=[pool], caches=[bare])
    recommendations: list[mp.Recommendation] = monitor.recommendations()
    measured: PerformanceMiddleware = mp.PerformanceMiddleware(app, monitor=monitor, token="secret")
    dispatcher: JsonRpcDispatcher = mp.JsonRpcDispatcher({"double": double}, timeout=5)
    answer = await dispatcher.handle(b"{}")
    assert_type(answer, bytes | None)
    print(recommendations, measured, mp.performance_app(monitor), mp.JsonRpcError(1, "a"), mp.__version__)
    print(config.CACHE_TTL)


FAILURES: tuple[type[mp.Error], ...] = (
    mp.BackendUnavailable,
    mp.BatchError,
    mp.CacheError,
    mp.ConfigurationError,
    mp.DatabaseCorrupt,
    mp.DatabaseError,
    mp.HttpError,
    mp.HttpTimeout,
    mp.IdempotencyError,
    mp.InProgress,
    mp.IntegrityError,
    mp.KeyReused,
    mp.LoadTestError,
    mp.LoadTimeout,
    mp.PoolClosed,
    mp.PoolTimeout,
    mp.ProtocolError,
    mp.QueryError,
    mp.TextError,
    mp.ConversionError,
    mp.DataError,
    mp.ProgrammingError,
    mp.SerializationError,
    mp.TargetRefused,
    errors.Error,
)
