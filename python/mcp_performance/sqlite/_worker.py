"""The thread that has one ``sqlite3`` connection, for coroutines that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

__all__ = ["STOP", "Job", "work"]

Job = tuple["asyncio.Future[Any] | None", Callable[[], Any]]

STOP = object()
"""What a job returns so that the thread ends after it."""


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def work(jobs: SimpleQueue[Job]) -> None:
    """Run the jobs in their order, until one returns :data:`STOP`. Refers to no connection between jobs."""
    while True:
        future, function = jobs.get()
        result: Any = None
        error: BaseException | None = None
        try:
            result = function()
        except BaseException as raised:
            error = raised
        ends = result is STOP
        if future is not None:
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, None if ends else result, error)
            except RuntimeError:  # the loop is closed: nobody waits
                del result
        if ends:
            return
        future = function = result = error = None  # type: ignore[assignment]
