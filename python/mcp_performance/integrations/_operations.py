"""Counts operations: tools of an MCP server by the names that the server declared, tasks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from .. import _core
from .. import monitor as _monitor
from ..monitor._errors import error_name

__all__ = ["OTHER", "Operations", "counted", "is_error"]

OTHER = _core.LABEL_OTHER
"""The one name of everything that the server has not declared."""

_REMEMBERED = 1024

Name = Callable[[], Awaitable[str | None]]


def is_error(result: Any) -> bool:
    """Whether a result of a tool says that the tool has failed."""
    if isinstance(result, dict):
        return result.get("isError") is True
    return any(getattr(result, name, False) is True for name in ("is_error", "isError"))


@contextmanager
def counted(
    monitor: _monitor.PerformanceMonitor, method: str, name: str, system: str
) -> Iterator[Callable[[str], None]]:
    """Time what is inside, and count it with what it raised, or with the failure that it is given."""
    errors: list[str] = []
    spans = monitor.spans
    with nullcontext() if spans is None else spans.operation(method, name, system) as fail:
        start = time.perf_counter()

        def failed(error: str) -> None:
            errors.append(error)
            if fail is not None:
                fail(error)

        try:
            yield failed
        except BaseException as raised:
            errors.append(error_name(raised))
            raise
        finally:
            took = time.perf_counter() - start
            monitor.requests.operation(method, name, system, errors[-1] if errors else "", took)


class Operations:
    """Times what is called and counts it in *monitor*, with the other workers of the service."""

    def __init__(self, monitor: _monitor.PerformanceMonitor, workers: str) -> None:
        self._monitor = monitor
        self._workers = workers
        self._known: dict[tuple[str, str], str] = {}

    async def count(self, method: str, name: str, declared: Name, call: Callable[[], Awaitable[Any]]) -> Any:
        """The result of *call*; it is counted under what *declared* says that *name* is."""
        self._monitor.join(self._workers)
        self._monitor.loop_lag.watch()
        self._monitor.sampler.start()
        # Asked before: a call that was cancelled can await nothing more.
        label = self._known.get((method, name)) or await self._declared(method, name, declared)
        with counted(self._monitor, method, label, "mcp") as fail:
            result = await call()
            if is_error(result):
                fail("tool_error")
            return result

    async def _declared(self, method: str, name: str, declared: Name) -> str:
        try:
            label = await declared()
        except Exception:  # the server's own word for "there is none"
            label = None
        if label is None:
            return OTHER
        if len(self._known) < _REMEMBERED:
            self._known[method, name] = label
        return label
