"""Figures are those of a plain list kept beside them: counts exactly, percentiles to their digits."""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from mcp_performance import (
    Cache,
    ConfigurationError,
    LoadTester,
    LoadTestResult,
    PerformanceMiddleware,
    PerformanceMonitor,
    QueryAnalyzer,
    SQLitePool,
    cached,
    merge_results,
)
from oracle_figures import EPSILON, check_between, check_percentile, durations_of
from oracle_runs import Oracle
from redis_server import eventually

PERCENTS = (0, 1, 50, 90, 95, 99, 99.9, 99.99, 100)


async def empty() -> None:
    pass


# Histograms of load tests


async def test_histograms_hold_every_sample_to_three_digits(tmp_path: Path, oracle: Oracle) -> None:
    result = await LoadTester(empty).run_load_test(1)
    fresh = type(result.histogram)
    for rng in oracle.rounds():
        parts = [durations_of(rng, rng.choice((1, 2, 3, 999)), rng.choice((1e-4, 1, 60))) for _ in range(3)]
        whole = fresh()
        for part in parts:
            one = fresh()
            for value in part:
                one.record(value)
            whole.merge(fresh.from_state(one.state()))
        values = [value for part in parts for value in part]
        for percent in PERCENTS:
            check_percentile(whole.percentile(percent), values, percent, 3)
        assert whole.count == len(values)
        assert whole.total == pytest.approx(sum(values))
        assert whole.mean == pytest.approx(statistics.fmean(values))
        assert whole.stddev == pytest.approx(statistics.pstdev(values), rel=0.01, abs=1e-3 * max(values))
        assert (whole.min, whole.max) == (min(values), max(values))
        limit = rng.choice(values)
        at_most = whole.count_at_most(limit)
        assert sum(value <= limit * 0.999 for value in values) <= at_most
        assert at_most <= sum(value <= limit * 1.001 + 1e-9 for value in values)


async def test_a_histogram_refuses_what_is_no_sample() -> None:
    histogram = type((await LoadTester(empty).run_load_test(1)).histogram)()
    histogram.record(0.5)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ConfigurationError, match="value="):
            histogram.record(value)
    for percent in (math.nan, -1e-9, 100.1):
        with pytest.raises(ConfigurationError, match="percent="):
            histogram.percentile(percent)
    assert (histogram.count, histogram.max) == (1, 0.5)


async def test_a_result_that_is_saved_and_merged_adds_up(tmp_path: Path, oracle: Oracle) -> None:
    async def call() -> None:
        await asyncio.sleep(0)

    for rng in oracle.rounds():
        results = [await LoadTester(call).run_load_test(rng.randint(1, 300), 3) for _ in range(2)]
        for number, result in enumerate(results):
            result.save(tmp_path / str(number))
        kept = [LoadTestResult.load(tmp_path / str(number)) for number in range(2)]
        for one, other in zip(kept, results, strict=True):  # the bottleneck was of this process
            assert one.to_dict() | {"bottleneck": None} == other.to_dict() | {"bottleneck": None}
        merged = merge_results(kept)
        assert merged.total_requests == sum(one.total_requests for one in results)
        assert merged.histogram.count == sum(one.histogram.count for one in results)
        assert merged.histogram.total == pytest.approx(sum(one.histogram.total for one in results))
        assert merged.max == max(one.max for one in results)


async def test_response_times_of_an_app_hold_what_it_took(oracle: Oracle) -> None:
    """Times are from outside the call: never less than the call itself measured."""
    for rng in oracle.rounds():
        inside: list[float] = []

        async def app(scope: Any, receive: Any, send: Any, inside: Any = inside, rng: Any = rng) -> None:
            if scope["type"] != "http":
                raise NotImplementedError(scope["type"])
            began = perf_counter()
            await asyncio.sleep(rng.choice((0, 0.001, 0.004)))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            inside.append(perf_counter() - began)
            await send({"type": "http.response.body", "body": b"ok"})

        began = perf_counter()
        result = await LoadTester(app).run_load_test(rng.choice((1, 80)), rng.choice((1, 10)))
        elapsed = perf_counter() - began
        measured = {50: result.p50, 95: result.p95, 99: result.p99, 99.9: result.p999, 100: result.max}
        for percent, found in measured.items():
            check_between(found, inside, [elapsed] * len(inside), percent, 3)
        assert result.avg_response_time >= statistics.fmean(inside)
        assert result.total_requests == len(inside) == result.histogram.count
        assert result.requests_per_second == pytest.approx(result.successful / result.elapsed)
        assert result.elapsed <= elapsed


# Caches


class Clock:
    """Seconds that move when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_figures_of_a_cache_are_those_of_its_answers(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        clock, causes, told = Clock(), Counter[str](), Counter[str]()
        cache: Cache[int, int] = Cache(
            rng.choice((1, 5, 50)),
            ttl=rng.choice((None, 10)),
            policy=rng.choice(("adaptive", "lru")),
            on_evict=lambda key, value, cause, causes=causes: causes.update([cause]),
            clock=clock,
        )

        def load(key: int, told: Counter[str] = told, rng: random.Random = rng) -> int:
            if rng.random() < 0.2:
                told["load_errors"] += 1
                raise KeyError(key)
            told["loads"] += 1
            return key

        def step(key: int, rng: random.Random = rng, cache: Any = cache, told: Any = told) -> None:
            kind = rng.randrange(8)
            if kind <= 2:
                told["misses" if cache.get(key) is None else "hits"] += 1
            elif kind <= 4:
                before = told["loads"] + told["load_errors"]
                with suppress(KeyError):
                    cache.get_or_load(key, load)
                loaded = told["loads"] + told["load_errors"] > before
                told["misses" if loaded else "hits"] += 1
            elif kind == 5:
                cache.set(key, key, ttl=rng.choice((None, 1, 30)), tags=[f"tag {key % 3}"])
            elif kind == 6:
                told["invalidations"] += cache.delete(key)
            elif rng.random() < 0.3:
                told["invalidations"] += cache.invalidate_tags(f"tag {key % 3}")

        for _ in range(400):
            step(rng.randrange(20))
            if rng.random() < 0.1:
                clock.now += rng.choice((0.5, 5, 20))
        # Idle entries are also taken out by a thread, which may be at it.
        assert eventually(lambda cache=cache, causes=causes: cache.stats().expirations == causes["expired"])
        stats = cache.stats()
        assert {name: getattr(stats, name) for name in told} == dict(told)
        assert stats.hit_rate == stats.hits / (stats.hits + stats.misses)
        assert stats.misses == stats.misses_cold + stats.misses_expired + stats.misses_evicted
        assert stats.evictions == causes["evicted"]
        assert stats.invalidations == causes["removed"] + causes["invalidated"] + causes["cleared"]
        assert len(list(cache)) <= stats.currsize <= stats.weight


def count(calls: Counter[str], key: int) -> int:
    calls["failed" if key % 5 == 0 else "made"] += 1
    if key % 5 == 0:
        raise ValueError
    return key


def test_figures_of_a_cached_function_are_those_of_its_calls(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        calls = Counter[str]()

        function = cached(maxsize=rng.choice((0, 3, 100, None)), ttl=None)(partial(count, calls))
        asked = rng.choice((1, 500))
        for _ in range(asked):
            with suppress(ValueError):
                function(rng.randrange(12))
        info, stats = function.cache_info(), function.stats()
        assert info.misses == stats.misses == calls.total()
        assert info.hits == stats.hits == asked - calls.total()
        assert (stats.loads, stats.load_errors) == (calls["made"], calls["failed"])
        assert stats.hit_rate == stats.hits / asked


# Statements


def test_statistics_of_recorded_statements(tmp_path: Path, oracle: Oracle) -> None:
    sqlite3.connect(tmp_path / "a.db").close()
    for rng in oracle.rounds():
        analyzer = QueryAnalyzer(tmp_path / "a.db", slow_query_threshold=0.01)
        texts = [f"SELECT a{i} FROM t WHERE b = " for i in range(rng.choice((1, 6)))]
        samples: dict[str, list[tuple[float, int]]] = {text: [] for text in texts}
        for seconds in durations_of(rng, rng.choice((1, 3, 2000)), 50):
            text, rows = rng.choice(texts), rng.randrange(100)
            samples[text].append((seconds, rows))
            analyzer.record(f"{text}{rng.randrange(9)}", seconds, rows)
        everything = [sample for several in samples.values() for sample in several]
        check_totals(analyzer.statistics(), everything)
        assert analyzer.statistics().fingerprints == sum(map(bool, samples.values()))
        found = {query.sample.partition("?")[0]: query for query in analyzer.queries()}
        for text, several in samples.items():
            if several:
                check_totals(found[text], several)
                assert found[text].min_seconds == pytest.approx(
                    min(seconds for seconds, _ in several), abs=EPSILON
                )
        slow = {text for text, several in samples.items() if max(several, default=(0, 0))[0] > 0.01}
        assert {query.sample.partition("?")[0] for query in analyzer.slow_queries()} == slow


def check_totals(found: Any, samples: list[tuple[float, int]]) -> None:
    seconds = [one for one, _ in samples]
    assert (found.calls, found.errors) == (len(samples), 0)
    assert found.rows == sum(rows for _, rows in samples)
    assert found.total_seconds == pytest.approx(sum(seconds), abs=len(seconds) * EPSILON)
    assert found.mean_seconds == pytest.approx(statistics.fmean(seconds), abs=EPSILON)
    assert found.max_seconds == pytest.approx(max(seconds), abs=EPSILON)
    check_percentile(found.p95_seconds, seconds, 95, 2)
    check_percentile(found.p99_seconds, seconds, 99, 2)


async def test_figures_of_a_pool_are_those_of_its_answers(tmp_path: Path, oracle: Oracle) -> None:
    for number, rng in enumerate(oracle.rounds()):
        async with SQLitePool(tmp_path / f"{number}.db", inline_budget=rng.choice((0, 1))) as pool:
            await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
            before = pool.stats()
            told, rows = Counter[str](), 0
            for _ in range(150):
                kind, key = rng.randrange(5), rng.randrange(30)
                if kind == 0:
                    try:
                        await pool.execute("INSERT INTO t VALUES (?, ?)", (key, f"name {key}"))
                        told["writes"] += 1
                    except sqlite3.IntegrityError:
                        told["errors"] += 1
                elif kind == 1:
                    rows += len(await pool.fetch("SELECT name FROM t WHERE id > ?", (key,), cache=False))
                    told["anew"] += 1
                else:
                    await pool.fetch("SELECT id FROM t WHERE name = ?", (f"name {key}",))
                    told["kept"] += 1
            after = pool.stats()
            assert after.errors - before.errors == told["errors"]
            assert after.writes - before.writes == told["writes"]
            assert after.cache.hits + after.cache.misses == told["kept"]
            assert after.reads - before.reads == told["anew"] + after.cache.misses
            assert after.cache.hit_rate == pytest.approx(after.cache.hits / told["kept"])
            queries = {query.sample: query for query in pool.query_stats()}
            anew = queries["SELECT name FROM t WHERE id > ?"]
            assert (anew.calls, anew.rows, anew.errors) == (told["anew"], rows, 0)
            kept = queries["SELECT id FROM t WHERE name = ?"]
            assert (kept.cache_hits, kept.cache_misses) == (after.cache.hits, after.cache.misses)
            assert kept.calls == after.cache.misses
            insert = queries["INSERT INTO t VALUES (?, ?)"]
            assert (insert.calls, insert.errors) == (told["writes"] + told["errors"], told["errors"])


# Requests


Send = Callable[[Any], Awaitable[None]]


async def test_figures_of_the_middleware_are_those_of_the_requests(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
        inside: dict[tuple[str, int], list[float]] = {}
        outside: dict[tuple[str, int], list[float]] = {}

        async def app(scope: Any, receive: Any, send: Send, inside: Any = inside, rng: Any = rng) -> None:
            began = perf_counter()
            await asyncio.sleep(rng.choice((0, 0.0005, 0.002)))
            await send({"type": "http.response.start", "status": scope["status"], "headers": []})
            for _ in range(rng.randrange(3)):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
            inside.setdefault((scope["method"], scope["status"]), []).append(perf_counter() - began)
            await send({"type": "http.response.body", "body": b""})

        measured = PerformanceMiddleware(app, monitor=monitor)

        async def request(method: str, status: int, measured: Any = measured, outside: Any = outside) -> None:
            async def discard(message: Any) -> None:
                pass

            scope = {"type": "http", "method": method, "path": "/", "scheme": "http", "status": status}
            began = perf_counter()
            await measured(scope, discard, discard)
            outside.setdefault((method, status), []).append(perf_counter() - began)

        kinds = [(rng.choice(("GET", "POST")), rng.choice((200, 404, 500, 503))) for _ in range(40)]
        for start in range(0, 40, 8):
            await asyncio.gather(*(request(*kind) for kind in kinds[start : start + 8]))
        check_requests(monitor.metrics()["requests"], inside, outside)


def check_requests(found: Any, inside: dict[Any, list[float]], outside: dict[Any, list[float]]) -> None:
    every = [[value for several in one.values() for value in several] for one in (inside, outside)]
    check_times(found, *every)
    assert found["count"] == found["last_minute"]["count"] == len(every[0])
    errors = sum(len(several) for (_, status), several in inside.items() if status >= 500)
    assert (found["errors"], found["active"]) == (errors, 0)
    routes = {(route["method"], route["status"]): route for route in found["routes"]}
    assert routes.keys() == inside.keys()
    for kind, several in inside.items():
        assert routes[kind]["count"] == len(several)
        check_times(routes[kind], several, outside[kind])


def check_times(found: Any, inside: list[float], outside: list[float]) -> None:
    for percent in (50, 95, 99):
        check_between(found[f"p{percent}_seconds"], inside, outside, percent, 2)
    check_between(found["max_seconds"], inside, outside, 100, 2)
    assert statistics.fmean(inside) <= found["mean_seconds"] <= statistics.fmean(outside)
