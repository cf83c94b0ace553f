"""What PerformanceMonitor reports, and the advice that follows from figures."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import weakref
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mcp_performance import CacheStats, ConfigurationError, PerformanceMonitor, Recommendation
from mcp_performance.monitor._loop_lag import LoopLag
from mcp_performance.monitor._process_window import ProcessWindow
from mcp_performance.monitor._prometheus import exposition


@dataclass
class FakeCache:
    name: str | None
    figures: CacheStats

    def stats(self) -> CacheStats:
        return self.figures


@dataclass(frozen=True)
class FakeQuery:
    fingerprint: str = "SELECT * FROM t WHERE a = ?"
    hash: str = "00000000000000aa"
    sample: str = "SELECT * FROM t WHERE a = ?"
    calls: int = 40
    total_seconds: float = 4.0
    mean_seconds: float = 0.1
    p95_seconds: float = 0.2
    max_seconds: float = 0.3
    queue_seconds: float = 0.0
    step_seconds: float = 4.0
    convert_seconds: float = 0.0
    rows_scanned: int = 40_000
    full_scans: int = 40
    sorts: int = 0


@dataclass(frozen=True)
class FakePoolStats:
    cache: CacheStats
    size: int = 5
    idle: int = 5
    in_use: int = 0
    waiting: int = 0
    errors: int = 0
    timeouts: int = 0
    reconnects: int = 0
    database_seconds: float = 4.0


@dataclass
class FakePool:
    name: str = "app.db"
    figures: FakePoolStats = field(default_factory=lambda: FakePoolStats(CacheStats()))
    queries: list[FakeQuery] = field(default_factory=list)

    def stats(self) -> FakePoolStats:
        return self.figures

    def query_stats(self) -> list[FakeQuery]:
        return self.queries


@dataclass(frozen=True)
class FakeIndex:
    ddl: str = "CREATE INDEX t_a ON t(a)"
    used_by: tuple[str, ...] = (FakeQuery.fingerprint,)
    cost_before: float | None = 1000.0
    cost_after: float | None = 10.0
    verified: bool = True


class FakeAnalyzer:
    def __init__(self) -> None:
        self.workloads: list[Any] = []

    def advise(self, workload: Any) -> list[FakeIndex]:
        self.workloads.append(workload)
        return [FakeIndex()]


def monitor_of(*, caches: Any = (), pools: Any = (), tiers: Any = (), **options: Any) -> PerformanceMonitor:
    return PerformanceMonitor(caches=caches, pools=pools, tiers=tiers, **options)


def about_caches(*caches: FakeCache) -> list[Recommendation]:
    codes = {"raise-ttl", "raise-capacity"}
    return [item for item in monitor_of(caches=caches).recommendations() if item.code in codes]


def figures(hits: int, **misses: int) -> CacheStats:
    total = sum(misses.values())
    return CacheStats(hits=hits, misses=total, hit_rate=hits / (hits + total), maxsize=100, **misses)


def test_metrics_are_plain_json_with_the_process_as_it_is() -> None:
    metrics = json.loads(json.dumps(monitor_of(caches=[FakeCache("users", CacheStats(hits=3))]).metrics()))
    assert metrics["caches"][0]["name"] == "users"
    assert metrics["caches"][0]["hits"] == 3
    process = metrics["process"]
    assert process["cpu_seconds"] > 0
    assert 0 < process["resident_bytes"] < process["memory_limit_bytes"]
    assert 0 < process["open_fds"] < process["max_fds"]
    assert process["cpu_cores"] > 0
    assert metrics["requests"]["count"] == 0


def test_every_live_cache_is_found_when_none_is_named() -> None:
    from mcp_performance._base import _registry

    cache = FakeCache("found by the registry", CacheStats())
    _registry.register_cache(cache)
    names = [entry["name"] for entry in PerformanceMonitor().metrics()["caches"]]
    assert "found by the registry" in names


def test_caches_of_one_name_are_told_apart_and_a_failing_one_hides_no_other() -> None:
    class Broken:
        name = "broken"

        def stats(self) -> CacheStats:
            raise RuntimeError("gone")

    caches = [
        FakeCache("users", CacheStats()),
        Broken(),
        FakeCache("users", CacheStats()),
        FakeCache(None, CacheStats()),
    ]
    assert [entry["name"] for entry in monitor_of(caches=caches).metrics()["caches"]] == [
        "users",
        "users#2",
        "cache",
    ]


def test_misses_on_expired_entries_say_raise_the_ttl_and_what_it_gains() -> None:
    (advice,) = about_caches(FakeCache("users", figures(500, misses_expired=400, misses_cold=100)))
    assert advice.code == "raise-ttl"
    assert advice.subject == "users"
    assert advice.samples == 1000
    assert advice.expected_gain == "up to 90 % hits"
    assert "400 misses" in advice.evidence
    assert advice.evidence in advice.message
    assert advice.action in advice.message


def test_misses_on_displaced_entries_say_raise_the_capacity() -> None:
    (advice,) = about_caches(FakeCache("users", figures(500, misses_evicted=500)))
    assert advice.code == "raise-capacity"
    assert "now 100" in advice.action
    assert advice.expected_gain == "up to 100 % hits"


@pytest.mark.parametrize(
    "stats",
    [
        figures(100, misses_cold=900),
        figures(10, misses_expired=40),
        figures(900, misses_expired=100),
        CacheStats(),
    ],
    ids=["only cold misses", "too few lookups", "hit rate above the threshold", "nothing was asked"],
)
def test_nothing_is_advised_where_the_figures_show_no_cause(stats: CacheStats) -> None:
    assert about_caches(FakeCache("users", stats)) == []


def test_the_hit_rate_threshold_is_the_callers() -> None:
    cache = FakeCache("users", figures(900, misses_expired=100))
    codes = [item.code for item in monitor_of(caches=[cache], low_cache_hit=0.95).recommendations()]
    assert "raise-ttl" in codes


def test_the_query_cache_of_a_pool_is_judged_like_any_cache() -> None:
    pool = FakePool(figures=FakePoolStats(figures(500, misses_evicted=500)))
    (advice,) = [item for item in monitor_of(pools=[pool]).recommendations() if item.code == "raise-capacity"]
    assert advice.subject == "app.db"


def test_a_slow_query_comes_with_its_figures_and_the_scan_that_explains_them() -> None:
    pool = FakePool(queries=[FakeQuery(), FakeQuery(hash="b", max_seconds=0.04)])
    monitor = monitor_of(pools=[pool])
    assert [query.hash for query in monitor.slow_queries()] == ["00000000000000aa"]
    (advice,) = [item for item in monitor.recommendations() if item.code == "slow-query"]
    assert advice.subject == "00000000000000aa"
    assert advice.samples == 40
    assert "100.0 ms on average" in advice.evidence
    assert "1,000 rows scanned a call" in advice.action


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (FakeQuery(queue_seconds=9.0), "waits longer than it runs"),
        (FakeQuery(convert_seconds=9.0), "fewer rows"),
        (FakeQuery(full_scans=0, sorts=40), "in the order that it sorts by"),
        (FakeQuery(full_scans=0), "look at its plan"),
        (FakeQuery(full_scans=0, fingerprint="INSERT INTO t VALUES (?)"), "more rows a transaction"),
    ],
)
def test_the_action_follows_from_where_the_time_went(query: FakeQuery, words: str) -> None:
    monitor = monitor_of(pools=[FakePool(queries=[query])])
    (advice,) = [item for item in monitor.recommendations() if item.code == "slow-query"]
    assert words in advice.action


def test_an_analyzer_turns_a_slow_query_into_the_index_that_it_tried_and_is_asked_once() -> None:
    analyzer = FakeAnalyzer()
    monitor = monitor_of(pools=[FakePool(queries=[FakeQuery()])], analyzer=analyzer)
    (advice,) = [item for item in monitor.recommendations() if item.code == "slow-query"]
    assert advice.action == "create the index: CREATE INDEX t_a ON t(a)"
    assert advice.expected_gain == "100.0 times fewer steps, tried on a copy"
    monitor.recommendations()
    assert analyzer.workloads == [[(FakeQuery.sample, 40.0)]]


def test_slow_queries_are_ordered_by_their_total_and_limited() -> None:
    queries = [FakeQuery(hash=str(n), total_seconds=float(n)) for n in range(5)]
    assert [query.hash for query in monitor_of(pools=[FakePool(queries=queries)]).slow_queries(2)] == [
        "4",
        "3",
    ]


def test_statements_that_wait_longer_than_they_run_ask_for_connections() -> None:
    pool = FakePool(queries=[FakeQuery(max_seconds=0.01, queue_seconds=12.0)])
    (advice,) = monitor_of(pools=[pool], high_memory=100).recommendations()
    assert advice.code == "pool-waits"
    assert "now 5" in advice.action
    assert advice.expected_gain == "up to 75 % of the time of a statement"
    pool.figures = replace(pool.figures, timeouts=3)
    assert monitor_of(pools=[pool], high_memory=100).recommendations()[0].severity == "critical"


class FakeSystem:
    """A process whose clocks are set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cpu = 0.0
        self.throttled = 0.0
        self.stats: dict[str, Any] = {
            "cpu_cores": 2.0,
            "resident_bytes": 1 << 20,
            "memory_used_bytes": 1 << 30,
            "memory_limit_bytes": 4 << 30,
            "open_fds": 10,
            "max_fds": 1024,
            "limited_by_cgroup": True,
        }

    def window(self) -> ProcessWindow:
        return ProcessWindow(
            clock=lambda: self.now,
            read=lambda: {**self.stats, "cpu_seconds": self.cpu, "throttled_seconds": self.throttled},
            read_cpu=lambda: (self.cpu, self.throttled),
        )

    def advice(self, window: ProcessWindow, **options: Any) -> list[Recommendation]:
        monitor = monitor_of(**options)
        monitor._process = window
        return monitor.recommendations()


def test_cpu_use_is_of_the_last_minute_and_of_the_cores_that_may_be_used() -> None:
    system = FakeSystem()
    window = system.window()
    for second in range(1, 121):
        system.now = float(second)
        system.cpu += 2.0 if second <= 60 else 0.5
        window.note()
    figures = window.look()
    assert figures["window_seconds"] == 60.0
    assert figures["cpu_used_cores"] == pytest.approx(0.5)
    assert figures["cpu_percent"] == pytest.approx(25.0)
    assert figures["samples"] == 61


@pytest.mark.parametrize(
    ("busy_cores", "codes"), [(1.8, ["high-cpu"]), (0.9, ["add-workers"]), (0.5, []), (0.0, [])]
)
def test_a_busy_process_needs_cores_and_a_full_core_of_python_needs_workers(
    busy_cores: float, codes: list[str]
) -> None:
    system = FakeSystem()
    window = system.window()
    system.now, system.cpu = 30.0, 30.0 * busy_cores
    assert [item.code for item in system.advice(window)] == codes


def test_cpu_figures_of_less_than_five_seconds_advise_nothing() -> None:
    system = FakeSystem()
    window = system.window()
    system.now, system.cpu = 4.0, 8.0
    assert system.advice(window) == []


def test_throttling_names_the_quota() -> None:
    system = FakeSystem()
    window = system.window()
    system.now, system.throttled = 10.0, 2.0
    (advice,) = system.advice(window)
    assert advice.code == "cpu-throttled"
    assert "20 % of 10 s" in advice.evidence


def test_memory_above_its_threshold_is_said_with_the_containers_figures() -> None:
    system = FakeSystem()
    system.stats["memory_used_bytes"] = int(3.88 * (1 << 30))
    (advice,) = system.advice(system.window())
    assert advice.code == "high-memory"
    assert advice.severity == "critical"
    assert "the container uses 3.9 GiB of 4.0 GiB (97 %)" in advice.evidence
    assert system.advice(system.window(), high_memory=99) == []


def test_a_larger_cache_is_only_advised_with_a_warning_while_memory_is_short() -> None:
    system = FakeSystem()
    system.stats["memory_used_bytes"] = 4 << 30
    cache = FakeCache("users", figures(500, misses_evicted=500))
    advice = next(
        item for item in system.advice(system.window(), caches=[cache]) if item.code == "raise-capacity"
    )
    assert "after making room" in advice.action


def test_open_files_near_their_limit_are_critical() -> None:
    system = FakeSystem()
    system.stats["open_fds"] = 900
    (advice,) = system.advice(system.window())
    assert (advice.code, advice.severity) == ("file-descriptors", "critical")


def test_a_late_event_loop_is_reported_once_there_are_samples_enough() -> None:
    monitor = monitor_of(high_memory=100)
    for _ in range(99):
        monitor.requests.record_lag(0.2)
    assert monitor.recommendations() == []
    monitor.requests.record_lag(0.2)
    (advice,) = monitor.recommendations()
    assert (advice.code, advice.samples) == ("loop-blocked", 100)


async def test_the_loops_timer_records_and_dies_with_its_owner() -> None:
    twice = asyncio.Event()
    lags: list[float] = []

    def record(lag: float) -> None:
        lags.append(lag)
        if len(lags) == 2:
            twice.set()

    timer = LoopLag(record)
    timer.watch()
    timer.watch()
    await twice.wait()
    assert min(lags) >= 0
    gone = weakref.ref(timer)
    del timer
    gc.collect()
    assert gone() is None


async def test_a_stopped_timer_can_be_started_again() -> None:
    ticked = asyncio.Event()
    timer = LoopLag(lambda _: ticked.set())
    timer.watch()
    timer.stop()
    timer.stop()
    timer.watch()
    await ticked.wait()
    timer.stop()


def test_outside_of_a_loop_there_is_nothing_to_watch() -> None:
    timer = LoopLag(lambda _: None)
    timer.watch()
    timer.stop()
    assert len(timer._timers) == 0


def test_report_holds_the_figures_the_advice_and_the_thresholds() -> None:
    pool = FakePool(queries=[FakeQuery()])
    report = json.loads(json.dumps(monitor_of(pools=[pool], slow_query=0.1).report()))
    assert report["slow_queries"][0]["sample"] == FakeQuery.sample
    assert [item["code"] for item in report["recommendations"]] == ["slow-query"]
    assert report["thresholds"]["slow_query_seconds"] == 0.1
    assert report["pools"][0]["step_seconds"] == 4.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("high_cpu", 101),
        ("high_memory", -1),
        ("low_cache_hit", 1.5),
        ("slow_query", float("nan")),
        ("slow_query", math.inf),
    ],
)
def test_a_bad_threshold_is_an_error_that_names_it(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}={value!r}: expected"):
        PerformanceMonitor(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"{name}=True"):
        PerformanceMonitor(**{name: True})  # type: ignore[arg-type]


def test_a_bad_limit_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError, match="limit=0"):
        monitor_of().slow_queries(0)


def parsed(text: str) -> dict[str, float]:
    """Samples of an exposition by name and labels; fails on a family that is not declared once."""
    declared: set[str] = set()
    samples: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in declared
            declared.add(name)
        elif not line.startswith("#"):
            key, _, value = line.rpartition(" ")
            family = key.partition("{")[0]
            for suffix in ("_bucket", "_sum", "_count"):
                family = family if family in declared else family.removesuffix(suffix)
            assert family in declared, line
            assert key not in samples, line
            samples[key] = float(value)
    return samples


def test_prometheus_text_names_caches_pools_and_the_process() -> None:
    cache = FakeCache('a "quoted"\nname', figures(30, misses_cold=70))
    samples = parsed(monitor_of(caches=[cache], pools=[FakePool(queries=[FakeQuery()])]).prometheus())
    name = 'cache="a \\"quoted\\"\\nname",tier="memory"'
    assert samples[f'cache_gets_total{{{name},result="hit"}}'] == 30
    assert samples[f'cache_gets_total{{{name},result="miss"}}'] == 70
    pool = 'db_client_connection_pool_name="app.db"'
    assert samples[f'db_client_connection_count{{{pool},db_client_connection_state="idle"}}'] == 5
    assert samples["process_cpu_seconds_total"] > 0
    assert samples["process_resident_memory_bytes"] > 0


def test_kills_for_want_of_memory_are_a_counter_of_the_container() -> None:
    monitor = monitor_of()
    killed = monitor.metrics()["process"]["oom_kills"]
    assert killed >= 0
    assert parsed(monitor.prometheus())["container_oom_kills_total"] == killed
    metrics = monitor.metrics()
    metrics["process"]["oom_kills"] = 3
    assert "\n# TYPE container_oom_kills_total counter\ncontainer_oom_kills_total 3\n" in exposition(metrics)
