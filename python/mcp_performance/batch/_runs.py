"""Runs that are not native: coroutine functions on the loop, and any executor as the engine."""

from __future__ import annotations

import asyncio
import contextvars
import os
import pickle
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any, ClassVar

from .. import _core
from ..errors import BatchError

__all__ = ["AsyncRun", "ExecutorRun", "LoopRun"]

_CHUNK_SECONDS = 0.02  # what one call of an executor should carry
_GROWTH = 8  # a chunk is at most this many times the largest so far


class LoopRun(ABC):
    """What both share: the outcomes, and whoever waits for them. Lives on one loop."""

    kind: ClassVar[str]

    def __init__(self, concurrency: int, pending: object | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._concurrency = concurrency
        self._pending = pending
        self._waiting: deque[tuple[int, Any]] = deque()
        self._added = 0
        self._running = 0  # items
        self.most_running = 0  # calls, or chunks, at a time
        self._input_closed = False
        self._stopped = False
        self._dropped = False
        self._ready: list[tuple[int, Any, BaseException | None]] = []
        self._event: asyncio.Future[None] | None = None
        self._event_at = 0
        self.results: list[Any] = []
        self.errors: dict[int, BaseException] = {}
        self.finished = 0

    @abstractmethod
    def _start(self) -> None:
        """Start waiting items while there is room."""

    @abstractmethod
    async def cancel(self) -> None:
        """Stop, and take back what can be taken back of what was started."""

    def add(self, items: list[Any] | tuple[Any, ...]) -> None:
        if self._stopped:
            return
        self._waiting.extend(enumerate(items, self._added))
        self._added += len(items)
        if self._pending is not None:
            self.results.extend([self._pending] * len(items))
        self._start()

    def close_input(self) -> None:
        self._input_closed = True
        self._tell()

    def stop(self) -> None:
        self._stopped = True
        self._waiting.clear()
        self._tell()

    def finish(self) -> None:
        self.stop()
        self._dropped = True
        self.results, self.errors, self._ready = [], {}, []

    def take(self) -> list[tuple[int, Any, BaseException | None]]:
        taken, self._ready = self._ready, []
        return taken

    @property
    def ended(self) -> bool:
        return not self._running and (self._stopped or (self._input_closed and not self._waiting))

    def wait(self, finished: int) -> Awaitable[None]:
        self._event = self._loop.create_future()
        self._event_at = finished
        self._tell()
        return self._event if self._event is not None else asyncio.sleep(0)

    def _tell(self) -> None:
        event = self._event
        if event is not None and (self.finished >= self._event_at or self.ended):
            self._event = None
            if not event.done():
                event.set_result(None)

    def _keep(self, index: int, value: Any, error: BaseException | None) -> None:
        self.finished += 1
        if self._dropped:
            return
        if self._pending is None:
            self._ready.append((index, value, error))
        elif error is None:
            self.results[index] = value
        else:
            self.errors[index] = error


class AsyncRun(LoopRun):
    """A coroutine function, at most *concurrency* calls at a time, each a task of its own."""

    kind = "async"

    def __init__(
        self,
        function: Callable[[Any], Awaitable[Any]],
        concurrency: int,
        pending: object | None,
        context: contextvars.Context,
    ) -> None:
        super().__init__(concurrency, pending)
        self._function = function
        self._context = context
        self._tasks: dict[asyncio.Task[Any], int] = {}

    def _start(self) -> None:
        while self._waiting and self._running < self._concurrency:
            index, item = self._waiting.popleft()
            context = self._context.copy()
            task = self._loop.create_task(_call(self._function, item), context=context)
            self._running += 1
            self._tasks[task] = index
            self.most_running = max(self.most_running, len(self._tasks))
            task.add_done_callback(self._done, context=self._context)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running -= 1
        index = self._tasks.pop(task)
        if task.cancelled():
            if not self._stopped:  # else it has no outcome
                self._keep(index, None, asyncio.CancelledError())
        else:
            self._keep(index, *task.result())
        self._start()
        self._tell()

    async def cancel(self) -> None:
        self.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _call(function: Callable[[Any], Awaitable[Any]], item: Any) -> tuple[Any, BaseException | None]:
    try:
        return await function(item), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # a task that raises SystemExit would end the loop as well
        return None, error


class ExecutorRun(LoopRun):
    """A function carried by an executor, in chunks of about 20 ms, *concurrency* at a time."""

    kind = "executor"

    def __init__(
        self,
        function: Callable[[Any], Any],
        executor: Executor,
        concurrency: int,
        chunk_size: int | None,
        pending: object | None,
        context: contextvars.Context,
    ) -> None:
        super().__init__(concurrency, pending)
        self._function = function
        self._executor = executor
        self._context = context if isinstance(executor, ThreadPoolExecutor) else None
        self._chunk_size = chunk_size
        self._largest = 0
        self._item_seconds = 0.0
        self._chunks: dict[asyncio.Future[Any], list[int]] = {}
        self._pid = os.getpid()

    def _start(self) -> None:
        while self._waiting and len(self._chunks) < self._concurrency:
            size = min(self._size(), len(self._waiting))
            chunk = [self._waiting.popleft() for _ in range(size)]
            indexes = [index for index, _ in chunk]
            try:
                submitted = self._submit([item for _, item in chunk])
            except Exception as error:  # shut down, or broken by an earlier chunk
                self._fail(indexes, error)
                continue
            future = asyncio.wrap_future(submitted, loop=self._loop)
            self._running += size
            self._chunks[future] = indexes
            self.most_running = max(self.most_running, len(self._chunks))
            future.add_done_callback(self._done)

    def _submit(self, items: list[Any]) -> Future[Any]:
        if self._context is None:  # it may not go to another process
            return self._executor.submit(_run_chunk, self._function, items, self._pid)
        return self._executor.submit(self._context.copy().run, _run_chunk, self._function, items, self._pid)

    def _size(self) -> int:
        if self._chunk_size is not None:
            return self._chunk_size
        if not self._largest:
            return 1
        fitting = int(_CHUNK_SECONDS / max(self._item_seconds, 1e-9))
        share = max(1, len(self._waiting) // (2 * self._concurrency))
        return max(1, min(fitting, self._largest * _GROWTH, share))

    def _done(self, future: asyncio.Future[Any]) -> None:
        indexes = self._chunks.pop(future)
        self._running -= len(indexes)
        if future.cancelled():
            for index in [] if self._stopped else indexes:  # else they have no outcome
                self._keep(index, None, asyncio.CancelledError())
        elif (error := future.exception()) is not None:
            self._fail(indexes, error)
        else:
            outcomes, seconds = future.result()
            self._largest = max(self._largest, len(indexes))
            self._item_seconds = seconds / len(indexes)
            for index, outcome in zip(indexes, outcomes, strict=True):
                value, failure = pickle.loads(outcome) if isinstance(outcome, bytes) else outcome
                self._keep(index, value, failure)
        self._start()
        self._tell()

    def _fail(self, indexes: list[int], error: BaseException) -> None:
        for index in indexes:
            self._keep(index, None, _core._own_exception(error))

    async def cancel(self) -> None:
        self.stop()
        for future in list(self._chunks):
            future.cancel()


def _run_chunk(function: Callable[[Any], Any], items: Sequence[Any], origin: int) -> tuple[list[Any], float]:
    """Runs in the executor. Outcomes are (value, error), pickled one by one in another process."""
    elsewhere = os.getpid() != origin
    outcomes: list[Any] = []
    started = perf_counter()
    for item in items:
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = function(item), None
        except BaseException as error:
            outcome = None, error
        outcomes.append(_pickled(outcome) if elsewhere else outcome)
    return outcomes, perf_counter() - started


def _pickled(outcome: tuple[Any, BaseException | None]) -> bytes:
    try:
        data = pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
        if outcome[1] is not None:
            pickle.loads(data)  # an exception with arguments of its own may not survive the way back
        return data
    except Exception as error:
        what = "its exception" if outcome[1] is not None else "its result"
        told = BatchError(f"{what} cannot be sent back from the executor: {outcome[1] or error!r}")
        return pickle.dumps((None, told), pickle.HIGHEST_PROTOCOL)
