"""``POST /advice``: indexes tried on a copy for the statements that the pools saw."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._base._asgi import Scope
from ..errors import DatabaseCorrupt, QueryError
from ._admission import Refusal

if TYPE_CHECKING:
    from ._monitor import PerformanceMonitor

__all__ = ["Advising", "advice_on"]

_ADVISED = 100
_REPORTED = 10
_BUDGET_SECONDS = 10.0


def advice_on(analyzer: Any, queries: Iterable[Any]) -> dict[str, Any]:
    """Advice on *queries*, and reports on the first of them: those with the most time."""
    ran = [query for query in queries if query.calls > 0][:_ADVISED]
    advice = analyzer.advise([(query.sample, float(query.calls)) for query in ran], budget=_BUDGET_SECONDS)
    reports = []
    for query in ran[:_REPORTED]:
        with contextlib.suppress(QueryError):  # such as one of a table that has gone
            reports.append(analyzer.analyze(query.sample).to_dict())
    return {"advice": advice.to_dict(), "reports": [one for one in reports if one["plan"]]}


class Advising:
    """One at a time: it takes a core for some seconds. The others are told to come back."""

    def __init__(self) -> None:
        self._running = False

    async def answer(self, monitor: PerformanceMonitor, scope: Scope) -> dict[str, Any]:
        """What :meth:`PerformanceMonitor.advice` says.

        Raises:
            Refusal: 404 without a database, 415 for anything but JSON (which no form of another site can
                send), 429 while another one runs, 503 for a database that cannot be read.
        """
        content = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower()
        if content != b"application/json":
            raise Refusal(415, "expected content-type: application/json")
        if self._running:
            raise Refusal(429, "indexes are being tried already", [(b"retry-after", b"10")])
        self._running = True
        try:
            found = await asyncio.to_thread(monitor.advice)
        except (QueryError, DatabaseCorrupt):
            raise Refusal(503, "the database cannot be read") from None
        finally:
            self._running = False
        if found is None:
            raise Refusal(404, "the monitor has no database to try indexes on")
        return found
