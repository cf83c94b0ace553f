"""Times the tasks of Celery, RQ, Dramatiq and the like: ``@timed(monitor)`` right above the function.

@app.task            # or @dramatiq.actor, or nothing at all for RQ
@timed(monitor)
def send(address): ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from .._base._async_functions import is_async, returns_value
from .._base._checks import text
from ..monitor import PerformanceMonitor
from ..monitor._monitor import checked_monitor
from ..monitor._service import checked_workers
from ._operations import counted

__all__ = ["timed"]

_F = TypeVar("_F", bound=Callable[..., Any])


def timed(
    monitor: PerformanceMonitor, *, name: str | None = None, workers: str = "auto"
) -> Callable[[_F], _F]:
    """Count each call of a task, what it took and what it raised, as the operation ``run`` of *monitor*: in
    its metrics, as ``task_operation_duration_seconds`` for Prometheus, and in the recommendations.

    Args:
        monitor: where to count.
        name: of the task; its module and qualified name unless given.
        workers: as of :class:`~mcp_performance.PerformanceMiddleware`; a name counts all processes of a
            service together.

    Returns:
        The decorator. What it makes is a real function with the same signature, for coroutine functions
        a coroutine function.

    Raises:
        ConfigurationError: *name* is empty, or *workers* is no name.
        TypeError: a wrong type, or what is decorated is no function.
    """
    checked_monitor(monitor)
    chosen = None if name is None else text("name", name, "a name that is not empty", fits=bool)
    service = checked_workers(workers)

    def decorate(function: _F) -> _F:
        if not callable(function) or not (is_async(function) or returns_value(function)):
            raise TypeError(f"timed: expected a function or coroutine function, not {function!r}")
        named = getattr(function, "__qualname__", type(function).__qualname__)
        label = chosen or f"{getattr(function, '__module__', '')}.{named}"

        def run() -> AbstractContextManager[Any]:
            monitor.join(service)
            return counted(monitor, "run", label, "task")

        if is_async(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with run():
                    return await function(*args, **kwargs)

            return awaited  # type: ignore[return-value]

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with run():
                return function(*args, **kwargs)

        return called  # type: ignore[return-value]

    return decorate
