"""The lanes of a run of calls: a task or a thread for each, how they end, and how they are cut off."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .._core import CallLane, CallRun

__all__ = ["TaskLanes", "ThreadLanes"]

# What a cancelled call may take to end, before it is closed, and after.
_GRACE = 0.3
_CLOSING = 0.2
_MOST_REPLACED_THREADS = 1000


class TaskLanes:
    """One task a lane, all on the running loop."""

    def __init__(
        self,
        run: CallRun,
        function: Callable[..., Any] | Sequence[Callable[..., Any]],
        *,
        with_number: bool,
    ) -> None:
        """*function* is that of all lanes, or has one for each."""
        self.examples: dict[str, BaseException] = {}
        self._run = run
        self._loop = asyncio.get_running_loop()
        functions = function if isinstance(function, Sequence) else [function] * run.lanes
        self._lanes = [
            CallLane(run, number, functions[number], self.examples, self._loop.create_future, with_number)
            for number in range(run.lanes)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._left: asyncio.Future[None] = self._loop.create_future()

    async def work(self) -> None:
        """To the end of all lanes, or until they are left alone."""
        self._tasks.extend(self._loop.create_task(self._carry(lane)) for lane in self._lanes)
        every: asyncio.Future[Any] = asyncio.ensure_future(asyncio.wait(self._tasks))
        await asyncio.wait([every, self._left], return_when=asyncio.FIRST_COMPLETED)
        every.cancel()
        for task in self._tasks:
            task.add_done_callback(_take_exception)
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _carry(self, lane: CallLane) -> None:
        lane.task = asyncio.current_task()
        try:
            await lane
        except (SystemExit, KeyboardInterrupt):
            # They end the loop where they are raised. What cleans up after it must not meet them again.
            self._run.stop()
            self.cancel()
            raise
        finally:
            lane.task = None

    def expired(self, number: int) -> None:
        """The call of this lane is out of time."""
        self._tasks[number].cancel()

    def cancel(self) -> None:
        self._run.cancel_calls()
        for task in self._tasks:
            task.cancel()

    def stop(self) -> None:
        self._run.stop()
        self.cancel()
        self._loop.call_later(_GRACE, self._close)

    def cut_off(self) -> None:
        self._run.cut_off()
        self.stop()

    def _close(self) -> None:
        """What goes on although it was told to stop is closed, and then left alone."""
        self._run.finish()
        self._run.close_calls()
        self.cancel()
        self._loop.call_later(_CLOSING, _resolve, self._left)


class ThreadLanes:
    """One thread a lane. A call cannot be interrupted: a thread that is late is left alone, and replaced."""

    def __init__(self, run: CallRun, function: Callable[..., Any]) -> None:
        self.examples: dict[str, BaseException] = {}
        self._run = run
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._alive: dict[int, CallLane] = {}
        self._replaced = 0

    async def work(self) -> None:
        """To the end of all lanes, or until they are left alone."""
        # Not before everything that watches them: they may hold the interpreter to the end.
        for number in range(self._run.lanes):
            self._start(number)
        await self._done

    def expired(self, number: int) -> None:
        """The call of this lane is out of time."""
        lane = self._alive[number]
        if self._replaced < _MOST_REPLACED_THREADS:
            self._replaced += 1
            self._start(number)
        else:
            self._over(number, lane, None)

    def stop(self) -> None:
        self._run.stop()
        _resolve(self._done)

    def cut_off(self) -> None:
        self._run.cut_off()
        _resolve(self._done)

    def _start(self, number: int) -> None:
        lane = CallLane(self._run, number, self._function, self.examples, None, False)
        self._alive[number] = lane
        # A daemon: a call that never returns must not keep the process from ending.
        threading.Thread(
            target=self._carry, args=(number, lane), name=f"mcp-load-{number}", daemon=True
        ).start()

    def _carry(self, number: int, lane: CallLane) -> None:
        error: BaseException | None = None
        try:
            lane.run_thread()
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._over, number, lane, error)

    def _over(self, number: int, lane: CallLane, error: BaseException | None) -> None:
        if self._alive.get(number) is not lane:
            return
        del self._alive[number]
        if error is not None and not self._done.done():
            self._done.set_exception(error)
        if not self._alive:
            _resolve(self._done)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _take_exception(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
