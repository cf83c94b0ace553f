"""What was run: by a pool, or recorded by hand."""

import sqlite3
import threading
from pathlib import Path

import pytest

from mcp_performance import ConfigurationError, QueryAnalyzer, SQLitePool


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    connection.executemany("INSERT INTO t (a, b) VALUES (?, ?)", ((n % 900, "x" * 50) for n in range(9000)))
    connection.commit()
    connection.close()
    return path


def test_recorded_statements_are_counted_by_fingerprint_without_their_values(database: Path) -> None:
    analyzer = QueryAnalyzer(database)
    analyzer.record("SELECT b FROM t WHERE a = 'canary'", 0.25, rows=3)
    analyzer.record("select b from t where a = 2", 0.75, rows=1)
    analyzer.record("SELECT 1", 0.001)
    (first, second) = analyzer.queries()
    assert first.fingerprint == "SELECT b FROM t WHERE a = ?"
    assert (first.calls, first.rows, second.calls) == (2, 4, 1)
    assert first.total_seconds == pytest.approx(1.0)
    assert first.max_seconds == pytest.approx(0.75, rel=0.02)
    assert "canary" not in repr(analyzer.queries())


def test_slow_are_those_over_the_threshold_the_most_time_first(database: Path) -> None:
    analyzer = QueryAnalyzer(database)
    analyzer.record("SELECT fast FROM t", 0.05)
    for _ in range(9):
        analyzer.record("SELECT often FROM t", 0.06)
    analyzer.record("SELECT once FROM t", 0.3)
    assert [query.fingerprint for query in analyzer.slow_queries()] == [
        "SELECT often FROM t",
        "SELECT once FROM t",
    ]
    assert len(analyzer.slow_queries(limit=1)) == 1
    strict = QueryAnalyzer(database, slow_query_threshold=0.0)
    strict.record("SELECT 1", 0.0001)
    assert len(strict.slow_queries()) == 1


def test_statistics_are_of_single_executions(database: Path) -> None:
    analyzer = QueryAnalyzer(database)
    assert analyzer.statistics().calls == 0
    for _ in range(98):
        analyzer.record("SELECT a FROM t", 0.001, rows=2)
    analyzer.record("SELECT b FROM t", 0.5)
    analyzer.record("SELECT b FROM t", 0.5)
    found = analyzer.statistics()
    assert (found.calls, found.rows, found.fingerprints) == (100, 196, 2)
    assert found.p95_seconds == pytest.approx(0.001, rel=0.02)
    assert found.p99_seconds == pytest.approx(0.5, rel=0.02)
    assert found.total_seconds == pytest.approx(1.098)


def test_what_was_recorded_is_the_workload(database: Path) -> None:
    analyzer = QueryAnalyzer(database)
    assert analyzer.advise() == []
    analyzer.record("SELECT b FROM t WHERE a = 17", 0.1)
    (index,) = analyzer.advise()
    assert index.columns == ("a",)
    assert index.verified


def test_the_log_is_bounded(database: Path) -> None:
    analyzer = QueryAnalyzer(database)
    for n in range(600):
        analyzer.record(f"SELECT c{n} FROM t", 0.1)
    assert len(analyzer.queries()) == 512


def test_many_threads_lose_no_count(database: Path) -> None:
    analyzer = QueryAnalyzer(database)

    def run() -> None:
        for n in range(500):
            analyzer.record(f"SELECT a FROM t WHERE id = {n}", 0.001)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert analyzer.statistics().calls == 2000


@pytest.mark.parametrize(
    ("seconds", "rows", "name"),
    [
        (-1, 0, "seconds"),
        (float("nan"), 0, "seconds"),
        (True, 0, "seconds"),
        (1, -1, "rows"),
        (1, 1.5, "rows"),
    ],
)
def test_a_bad_record_is_named(database: Path, seconds: float, rows: int, name: str) -> None:
    wrong_type = seconds is True or isinstance(rows, float)
    with pytest.raises(TypeError if wrong_type else ConfigurationError, match=f"^{name}="):
        QueryAnalyzer(database).record("SELECT 1", seconds, rows)


def test_a_bad_limit_or_threshold_is_named(database: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^limit=0"):
        QueryAnalyzer(database).slow_queries(0)
    with pytest.raises(ConfigurationError, match=r"^slow_query_threshold=-1"):
        QueryAnalyzer(database, slow_query_threshold=-1)


async def test_a_pool_is_read_and_its_statements_are_the_workload(database: Path) -> None:
    async with SQLitePool(database, query_cache_ttl=0) as pool:
        analyzer = QueryAnalyzer(pool, slow_query_threshold=0.0)
        for value in range(20):
            await pool.fetch("SELECT b FROM t WHERE a = ?", (value,))
        await pool.fetchval("SELECT count(*) FROM t")
        assert analyzer.statistics().calls == 21
        assert analyzer.statistics().rows == 201
        assert {query.fingerprint for query in analyzer.slow_queries()} == {
            "SELECT b FROM t WHERE a = ?",
            "SELECT count(*) FROM t",
        }
        (index,) = analyzer.advise()
        assert (index.columns, index.verified) == (("a",), True)
        assert "missing-index" in {
            issue.code for issue in analyzer.analyze("SELECT b FROM t WHERE a = 1").issues
        }
        await pool.ensure_indexes([index.ddl])
        assert analyzer.advise() == []
        with pytest.raises(ConfigurationError, match="pool counts by itself"):
            analyzer.record("SELECT 1", 0.1)


async def test_a_pool_in_memory_has_statistics_and_cannot_be_opened_by_others() -> None:
    async with SQLitePool(":memory:") as pool:
        await pool.fetchval("SELECT 1")
        analyzer = QueryAnalyzer(pool)
        assert analyzer.statistics().calls == 1
        with pytest.raises(ConfigurationError, match="pool in memory"):
            analyzer.analyze("SELECT 1")
