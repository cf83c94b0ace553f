"""Counts operations: tools of an MCP server by the names that the server declared, tasks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
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


class _Call:
    """A call that is being counted, in the context of what it calls in turn."""

    __slots__ = ("_arguments", "_method", "_monitor", "_name", "_server", "over")

    def __init__(
        self, monitor: _monitor.PerformanceMonitor, method: str, name: str, server: object, arguments: object
    ) -> None:
        self._monitor = monitor
        self._method = method
        self._name = name
        self._server = server
        self._arguments = arguments or None
        self.over = False

    def is_passed_on_as(self, other: _Call) -> bool:
        """Whether *other* is the same call a layer further in: at a server that is mounted in this one's,
        where it may have another name, or behind another middleware of the same server."""
        if self.over or self._monitor is not other._monitor or self._method != other._method:
            return False
        if self._server is other._server and self._name != other._name:
            return False  # a tool that calls another one
        try:
            return bool(self._arguments == other._arguments)
        except Exception:  # of a comparison of what a client in this process gave
            return False


_inside: ContextVar[tuple[_Call, ...]] = ContextVar("mcp_performance.calls", default=())


class Operations:
    """Times what is called and counts it in *monitor*, with the other workers of the service."""

    def __init__(self, monitor: _monitor.PerformanceMonitor, workers: str) -> None:
        self._monitor = monitor
        self._workers = workers
        self._known: dict[tuple[str, str], str] = {}

    async def count(
        self,
        method: str,
        name: str,
        declared: Name,
        call: Callable[[], Awaitable[Any]],
        *,
        server: object = None,
        arguments: object = None,
    ) -> Any:
        """The result of *call* at *server*; it is counted under what *declared* says that *name* is, once,
        whatever layers of the same monitor it passes."""
        this, inside = _Call(self._monitor, method, name, server, arguments), _inside.get()
        if any(outer.is_passed_on_as(this) for outer in inside):
            return await call()
        token = _inside.set((*inside, this))
        try:
            return await self._count(method, name, declared, call)
        finally:
            this.over = True
            _inside.reset(token)

    async def _count(self, method: str, name: str, declared: Name, call: Callable[[], Awaitable[Any]]) -> Any:
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
