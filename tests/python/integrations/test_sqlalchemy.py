"""Engines of SQLAlchemy, sync and async, whose statements are counted."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from mcp_performance import PerformanceMonitor
from mcp_performance.integrations.sqlalchemy import instrument

SELECT = "SELECT a FROM t WHERE a = 'secret-{}'"


def counts(monitor: PerformanceMonitor) -> dict[tuple[str, str, str], int]:
    operations = monitor.metrics()["operations"]
    assert all(one["system"] == "db" and one["p95_seconds"] > 0 for one in operations)
    return {(one["method"], one["name"], one["error_type"]): one["count"] for one in operations}


def check(monitor: PerformanceMonitor) -> None:
    found = counts(monitor)
    selects = [
        (name, count) for (_, name, error), count in found.items() if "a from t" in name.lower() and not error
    ]
    assert [count for _, count in selects] == [3]
    assert not any("secret" in name for _, name, _ in found)
    (failed,) = [key for key in found if key[2]]
    assert (failed[0], failed[2], found[failed]) == ("sqlite", "OperationalError", 1)


def test_statements_of_a_sync_engine_are_counted_by_fingerprint() -> None:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    monitor = instrument(engine, PerformanceMonitor(caches=(), pools=(), tiers=()))
    assert instrument(engine, monitor) is monitor
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (a TEXT)"))
        connection.execute(sqlalchemy.text("INSERT INTO t VALUES (:a)"), [{"a": "x"}, {"a": "y"}])
        for number in range(3):
            connection.execute(sqlalchemy.text(SELECT.format(number))).all()
        with pytest.raises(sqlalchemy.exc.OperationalError):
            connection.execute(sqlalchemy.text("SELECT * FROM missing"))
    check(monitor)


async def test_statements_of_an_async_engine_are_counted_by_fingerprint() -> None:
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=sqlalchemy.pool.StaticPool)
    monitor = instrument(engine, PerformanceMonitor(caches=(), pools=(), tiers=()))
    async with engine.begin() as connection:
        await connection.execute(sqlalchemy.text("CREATE TABLE t (a TEXT)"))
        for number in range(3):
            await connection.execute(sqlalchemy.text(SELECT.format(number)))
        with pytest.raises(sqlalchemy.exc.OperationalError):
            await connection.execute(sqlalchemy.text("SELECT * FROM missing"))
    await engine.dispose()
    check(monitor)


@pytest.mark.parametrize("arguments", [(3,), (sqlalchemy.create_engine("sqlite://"), 3)])
def test_a_wrong_argument_is_an_error_that_names_it(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="=3: expected"):
        instrument(*arguments)
