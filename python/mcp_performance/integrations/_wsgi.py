"""One request of a WSGI application: begun, stamped and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from ..monitor import PerformanceMonitor
from ..monitor._errors import error_name, status_of
from ..monitor._routes import NAMED, UNMATCHED

__all__ = ["NAMED", "UNMATCHED", "Body", "CountedOutside", "Exchange"]


class Exchange:
    """Counts one request when it ends, once; whatever the application leaves of it."""

    def __init__(self, monitor: PerformanceMonitor, method: str, scheme: str) -> None:
        self._requests = monitor.requests
        self._method = method
        self._scheme = scheme
        self._ended = False
        self.status = 500
        self.route = UNMATCHED
        self.raised = ""
        """What the framework made a response of status 500 of."""
        self._first: float | None = None
        self._start = time.perf_counter()
        self._requests.begin()

    def discard(self) -> None:
        """It is none of those that count."""
        if not self._ended:
            self._ended = True
            self._requests.discard()

    def started(self, status: int) -> None:
        """The response begins."""
        self.status = status
        self._first = time.perf_counter() - self._start

    def end(self, error: str = "") -> None:
        """Count it."""
        if self._ended:
            return
        self._ended = True
        if self.status >= 500:
            error = error or self.raised
        self.status = status_of(None if self._first is None else self.status, error)
        took = time.perf_counter() - self._start
        first = took if self._first is None else self._first
        self._requests.end(self._method, self.route, self._scheme, self.status, error, first, took, took)


class CountedOutside:
    """In the place of an :class:`Exchange` where a middleware of the same monitor lies around: that one
    counts the request, and is told its route in *carrier*, the scope or the environ."""

    def __init__(self, carrier: MutableMapping[str, Any]) -> None:
        self._carrier = carrier
        self.route = UNMATCHED
        self.raised = ""

    def started(self, status: int) -> None:
        """The response begins."""

    def end(self, error: str = "") -> None:
        """It has ended."""
        self._carrier[NAMED] = self.route


class Body:
    """What the application answered with, counted when the server has taken the last of it, closes it or
    drops it."""

    def __init__(self, parts: Iterable[bytes], end: Callable[[str], None]) -> None:
        self._end = end
        self._parts = parts
        self._iterator: Iterator[bytes] = iter(parts)

    def __del__(self) -> None:
        self._end("")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._iterator)
        except StopIteration:
            self._end("")
            raise
        except BaseException as raised:
            self._end(error_name(raised))
            raise

    def close(self) -> None:
        """Close what the application answered with."""
        close: Any = getattr(self._parts, "close", None)
        try:
            if close is not None:
                close()
        except BaseException as raised:
            self._end(error_name(raised))
            raise
        self._end("")
