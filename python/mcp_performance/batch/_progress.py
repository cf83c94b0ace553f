"""Progress of a batch: a line on standard error, or calls of a function."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias

from ._feed import Run

__all__ = ["ProgressCallback", "ProgressReport"]

ProgressCallback: TypeAlias = Callable[[int, int | None], object]
_INTERVAL_SECONDS = 0.1


class ProgressReport:
    """Reports ten times a second from the running loop, and once more at the end.

    A function that raises is told to the loop's exception handler, and not called again: how far
    the items came is no reason to lose them.
    """

    def __init__(self, run: Run, total: int | None, show: bool | ProgressCallback) -> None:
        self._run = run
        self._total = total
        self._show = self._print if isinstance(show, bool) else show
        self._broken = False
        self._loop = asyncio.get_running_loop()
        self._started = perf_counter()
        self._last = -1
        self._timer = self._loop.call_later(_INTERVAL_SECONDS, self._tick)

    def close(self) -> None:
        """Report the end."""
        self._timer.cancel()
        self._report()
        if self._show == self._print and not self._broken:
            print(file=sys.stderr, flush=True)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_INTERVAL_SECONDS, self._tick)
        self._report()

    def _report(self) -> None:
        done = self._run.finished
        if self._broken or done == self._last:
            return
        self._last = done
        try:
            self._show(done, self._total)
        except Exception as error:
            self._broken = True
            self._timer.cancel()
            message = f"progress={self._show!r} raised; the items go on without it"
            self._loop.call_exception_handler({"message": message, "exception": error})

    def _print(self, done: int, total: int | None) -> None:
        seconds = perf_counter() - self._started
        share = f" of {total} ({done / total:.0%})" if total else ""
        text = f"{done}{share} items, {done / seconds:,.0f} items/s"
        print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)
