"""Measures the statements of an SQLAlchemy engine, sync or async: ``instrument(engine)``."""

from __future__ import annotations

import time
from typing import Any

from ..monitor import PerformanceMonitor
from ..monitor._monitor import monitor_or_new
from ..query import fingerprint
from ._extras import missing

try:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
except ModuleNotFoundError as error:
    raise missing(error, "sqlalchemy", "sqlalchemy") from None

__all__ = ["instrument"]

_TEXT = 150  # of a fingerprint, in the name of a series


def instrument(engine: Any, monitor: PerformanceMonitor | None = None) -> PerformanceMonitor:
    """Count and time every statement of *engine* by its fingerprint, without its values, in the monitor's
    ``operations``: ``method`` is the dialect, ``system`` is ``"db"``. Errors are counted by their class.

    Args:
        engine: an ``Engine`` or an ``AsyncEngine``; instrumented once for each monitor.
        monitor: where statements are counted; ``None`` makes one.

    Returns:
        The monitor.

    Raises:
        TypeError: *engine* is none.
    """
    target = getattr(engine, "sync_engine", engine)
    if not isinstance(target, Engine):
        raise TypeError(f"engine={engine!r}: expected an Engine or an AsyncEngine of SQLAlchemy")
    chosen = monitor_or_new(monitor)
    instrumented: list[PerformanceMonitor] = target.__dict__.setdefault("_mcp_performance_monitors", [])
    if chosen not in instrumented:
        instrumented.append(chosen)
        _listen(target, chosen)
    return chosen


def _listen(engine: Engine, monitor: PerformanceMonitor) -> None:
    dialect = engine.dialect.name
    start = f"_mcp_performance_start_{id(monitor):x}"

    def record(name: str, error: str, took: float) -> None:
        monitor.requests.operation(dialect, name, "db", error, took)
        if monitor.spans is not None:
            monitor.spans.statement(dialect, name, error, took)

    def before(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        setattr(context, start, time.perf_counter())

    def after(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        record(_name(statement), "", time.perf_counter() - getattr(context, start))

    def failed(context: Any) -> None:
        began = getattr(context.execution_context, start, None)
        if began is None or context.statement is None:
            return
        kind = type(context.original_exception).__name__
        record(_name(context.statement), kind, time.perf_counter() - began)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def _name(statement: str) -> str:
    text, _ = fingerprint(statement)
    return text if len(text) <= _TEXT else text[:_TEXT]
