"""Functions without arguments as targets, and what a call of nothing costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..._core import CallRun
from .._drive import drive_tasks, drive_threads, has_busy_threads
from .._options import RunOptions
from .._supervision import Driven, Ended, Supervision
from ._target import Target, name_of

__all__ = ["AsyncTarget", "SyncTarget", "median_cost"]

_NULL_CALLS = 2000


class AsyncTarget(Target):
    """A coroutine function without arguments, awaited on the running loop."""

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self.name = name_of(function)
        self.kinds = [self.name]
        self._function = function

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        foreign = await has_busy_threads()
        await supervisor.ready()
        run = CallRun(**options.native(), kinds=self.kinds, first_byte=False, threaded=False)
        return await drive_tasks(run, self._function, options, supervisor, with_number=False, foreign=foreign)

    async def null_cost(self) -> float | None:
        async def nothing() -> None:
            pass

        return await median_cost(nothing, with_number=False)


class SyncTarget(Target):
    """A function without arguments, called on one thread for each user."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.name = name_of(function)
        self.kinds = [self.name]
        self._function = function

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        foreign = await has_busy_threads()
        await supervisor.ready()
        run = CallRun(**options.native(), kinds=self.kinds, first_byte=False, threaded=True)
        return await drive_threads(run, self._function, options, supervisor, foreign=foreign)

    async def null_cost(self) -> float | None:
        def nothing() -> None:
            pass

        run = CallRun(**_null_options().native(), kinds=["nothing"], first_byte=False, threaded=True)
        driven = await drive_threads(run, nothing, _null_options(), _Unwatched())
        return float(driven.report["response"].percentile(50))


class _Unwatched(Supervision):
    async def __call__(self, run: Any, work: Awaitable[None], stop: Any, cut_off: Any) -> Ended:
        await work
        return Ended()


def _null_options() -> RunOptions:
    return RunOptions(
        requests=_NULL_CALLS, users=1, duration=None, rate=None, stages=None, stage_users=0.0, batch_size=1,
        warmup=0.0, timeout=60.0, drain=5.0, think=(0.0, 0.0), poisson=False, seed=0,
    )  # fmt: skip


async def median_cost(function: Callable[..., Awaitable[Any]], *, with_number: bool) -> float:
    """Seconds that half the calls of *function*, which does nothing, take at most."""
    kinds = 64 if with_number else 1
    run = CallRun(
        **_null_options().native(), kinds=[str(i) for i in range(kinds)], first_byte=False, threaded=False
    )
    driven = await drive_tasks(run, function, _null_options(), _Unwatched(), with_number=with_number)
    return float(driven.report["response"].percentile(50))
