"""Figures over time for a page: all that is kept, and what comes, as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl

from .._base._asgi import Receive, Scope, Send
from ._admission import Refusal
from ._history import STEPS, Step, step_of
from ._monitor import PerformanceMonitor

__all__ = ["Events", "read_history"]

_AT_ONCE = 32
_REPORT_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_LIFE_SECONDS = 10.0


def _asked(scope: Scope) -> tuple[Step, int]:
    given = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
    step, since = given.get("step", "1"), given.get("since", "-1")
    try:
        chosen = step_of(int(step[:4]))
    except (KeyError, ValueError):
        lengths = ", ".join(str(one.seconds) for one in STEPS)
        raise Refusal(422, f"step: expected one of {lengths} (seconds)") from None
    if not since.removeprefix("-").isdecimal() or len(since) > 18:
        raise Refusal(422, "since: expected the number of a step")
    return chosen, int(since)


def read_history(monitor: PerformanceMonitor, scope: Scope) -> dict[str, Any]:
    """The answer to ``/history?step=&since=``.

    Raises:
        Refusal: 422, a bad query.
    """
    step, since = _asked(scope)
    return monitor.history.read(step, since)


def _event(kind: str, value: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(value, default=str)}\n\n".encode()


class Events:
    """Serves ``/events?step=&since=``: the event ``history`` with what is kept after step *since*, one more
    whenever there is a new point, and ``report`` at once and every 5 seconds.

    A stream ends by itself after 10 seconds and is to be asked for again with the last ``newest`` as *since*,
    so that an open page never keeps a server from shutting down. 32 at once; more are refused with 503.
    """

    def __init__(self, monitor: PerformanceMonitor, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._monitor = monitor
        self._clock = clock
        self._open = 0

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            Refusal: 422, a bad query; 503, too many at once.
        """
        step, since = _asked(scope)
        if self._open >= _AT_ONCE:
            raise Refusal(503, f"{_AT_ONCE} pages are open already", [(b"retry-after", b"5")])
        self._open += 1
        left = asyncio.ensure_future(_disconnected(receive))
        try:
            fields = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),
                (b"x-content-type-options", b"nosniff"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            async for event in self._pieces(step, since, left):
                await send({"type": "http.response.body", "body": event, "more_body": True})
            if not left.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._open -= 1
            left.cancel()

    async def _pieces(self, step: Step, since: int, left: asyncio.Future[None]) -> AsyncIterator[bytes]:
        history = self._monitor.history
        end, report_at = self._clock() + _LIFE_SECONDS, self._clock()
        first = True
        while not left.done() and self._clock() < end:
            if first or history.newest(step) != since:
                found = history.read(step, since)
                since, first = found["newest"], False
                yield _event("history", found)
            if self._clock() >= report_at:
                report_at = self._clock() + _REPORT_SECONDS
                # Index advice takes its time; the loop goes on meanwhile.
                yield _event("report", await asyncio.to_thread(self._monitor.report))
            await asyncio.wait([left], timeout=_LOOK_SECONDS)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
