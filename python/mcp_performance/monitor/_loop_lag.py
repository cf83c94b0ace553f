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
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}

    def watch(self) -> None:
        """Start in the running loop, once; nothing happens outside of asyncio. Cheap to call again."""
        loop = asyncio._get_running_loop()
        if loop is not None and loop not in self._timers:
            for closed in [known for known in self._timers if known.is_closed()]:
                del self._timers[closed]
            self._arm(loop)

    def stop(self) -> None:
        """Stop in the running loop."""
        loop = asyncio._get_running_loop()
        if loop is not None and (timer := self._timers.pop(loop, None)) is not None:
            timer.cancel()

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _INTERVAL
        # The loop holds the timer, and the timer only a weak reference: a forgotten monitor stops.
        reference: weakref.ref[LoopLag] = weakref.ref(self)
        self._timers[loop] = loop.call_at(due, _tick, reference, loop, due)

    def _ran(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._record(max(0.0, loop.time() - due))
        self._arm(loop)


def _tick(reference: weakref.ref[LoopLag], loop: asyncio.AbstractEventLoop, due: float) -> None:
    lag = reference()
    if lag is not None:
        lag._ran(loop, due)
