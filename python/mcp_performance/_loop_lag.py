"""How late an event loop runs its timers: what a coroutine that blocks costs everybody else."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

__all__ = ["LoopLag"]

_INTERVAL = 0.1


class LoopLag:
    """One timer in each event loop that is watched; it goes with its loop or with :meth:`stop`."""

    def __init__(self, record: Callable[[float], None]) -> None:
        self._record = record
        self._timers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.TimerHandle]
        self._timers = weakref.WeakKeyDictionary()

    def watch(self) -> None:
        """Start in the running loop, once; nothing happens outside of asyncio."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop not in self._timers:
            self._arm(loop)

    def stop(self) -> None:
        """Stop in the running loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        timer = self._timers.pop(loop, None)
        if timer is not None:
            timer.cancel()

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _INTERVAL
        # The loop holds the timer, and the timer only a weak reference: a forgotten monitor stops.
        self._timers[loop] = loop.call_at(due, _tick, weakref.ref(self), loop, due)

    def _ran(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._record(max(0.0, loop.time() - due))
        self._arm(loop)


def _tick(reference: weakref.ref[LoopLag], loop: asyncio.AbstractEventLoop, due: float) -> None:
    lag = reference()
    if lag is not None:
        lag._ran(loop, due)
