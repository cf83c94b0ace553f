"""The monitor over the real caches and pools of this package."""

from __future__ import annotations

from pathlib import Path

import httpx
from starlette.applications import Starlette

from mcp_performance import Cache, PerformanceMiddleware, PerformanceMonitor, QueryAnalyzer, SQLitePool


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def codes(monitor: PerformanceMonitor) -> list[str]:
    cache_codes = {"raise-ttl", "raise-capacity"}
    return [item.code for item in monitor.recommendations() if item.code in cache_codes]


def ask(cache: Cache[int, int], keys: list[int]) -> None:
    for key in keys:
        if cache.get(key) is None:
            cache.set(key, key)


def test_a_cache_whose_entries_expire_before_they_are_asked_for_again_needs_a_longer_ttl() -> None:
    clock = Clock()
    cache: Cache[int, int] = Cache(1000, ttl=10, name="short-lived", clock=clock)
    for _ in range(20):
        ask(cache, list(range(10)))
        clock.now += 11
    assert codes(PerformanceMonitor(caches=[cache], pools=(), tiers=())) == ["raise-ttl"]


def test_a_cache_that_is_too_small_for_what_is_asked_needs_room() -> None:
    cache: Cache[int, int] = Cache(50, name="small")
    for _ in range(20):
        ask(cache, list(range(100)))
    assert codes(PerformanceMonitor(caches=[cache], pools=(), tiers=())) == ["raise-capacity"]


def test_keys_that_are_never_asked_for_again_need_nothing() -> None:
    cache: Cache[int, int] = Cache(1000, name="cold")
    ask(cache, list(range(500)))
    assert codes(PerformanceMonitor(caches=[cache], pools=(), tiers=())) == []


async def test_a_pool_is_reported_with_its_statements_and_the_index_that_was_tried(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with SQLitePool(path) as pool:
        await pool.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT)")
        await pool.executemany("INSERT INTO orders (customer) VALUES (?)", [(f"c{n}",) for n in range(5000)])
        for number in range(30):
            await pool.fetch("SELECT id FROM orders WHERE customer = ?", (f"CANARY{number}",))
        monitor = PerformanceMonitor(
            caches=(), pools=[pool], tiers=(), analyzer=QueryAnalyzer(pool), slow_query=0.0
        )
        (figures,) = monitor.metrics()["pools"]
        assert figures["name"] == str(path)
        assert figures["reads"] == 30
        assert figures["step_seconds"] > 0
        assert monitor.database == str(path)
        slow = {item.subject: item for item in monitor.recommendations() if item.code == "slow-query"}
        read = next(query for query in monitor.slow_queries() if query.fingerprint.startswith("SELECT"))
        assert slow[read.hash].action.startswith("create the index: CREATE INDEX")
        assert "tried on a copy" in slow[read.hash].expected_gain
        assert slow[read.hash].samples == 30
        # Changing the schema is no query: there is nothing to advise about it.
        assert not [item for item in slow.values() if "CREATE TABLE" in item.evidence]
        app = PerformanceMiddleware(Starlette(), monitor=monitor, expose=True)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            for name in ("report", "metrics", "slow-queries", "cache-stats"):
                answer = await http.get(f"/api/mcp/performance/{name}")
                assert answer.status_code == 200
                assert "CANARY" not in answer.text


async def test_shutdown_closes_a_real_pool(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "shop.db")
    await pool.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    middleware = PerformanceMiddleware(Starlette(), resources=[pool])
    assert await middleware.close() == []
    assert pool.stats().open == 0
