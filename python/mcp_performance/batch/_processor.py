"""The processor of batches, and what became of each item."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypeVar, cast, overload

from .. import _core
from .._base._async_functions import is_async, returns_value
from .._base._checks import any_function, choice, flag, instance, integer, number
from ..errors import BatchError, ConfigurationError
from ._feed import Consumer, Items, Run, Window, check_items, feed, known_size
from ._gil import ThreadUse, warn_if_gil_bound
from ._nesting import Nesting
from ._progress import ProgressCallback, ProgressReport
from ._results import BatchItem, BatchResult
from ._runs import AsyncRun, ExecutorRun, LoopRun

__all__ = ["BatchProcessor", "Kind"]

_T = TypeVar("_T")
_R = TypeVar("_R")
Kind: TypeAlias = Literal["cpu", "blocking", "async"]

_KINDS = {None: _core.BATCH_MEASURED, "cpu": _core.BATCH_CPU, "blocking": _core.BATCH_BLOCKING}
_NAMES = {_core.BATCH_MEASURED: "cpu", _core.BATCH_CPU: "cpu", _core.BATCH_BLOCKING: "blocking"}
_ASYNC_CONCURRENCY = 100
_MOST_WORKERS = 10_000
_NEVER = 1 << 60


class _Pending:
    """Stands in ``results`` for an item that has no outcome yet."""


_PENDING = _Pending()


class BatchProcessor:
    """Runs functions over many items.

    Sync functions run on native threads. By what the first items cost, the processor tells
    functions that compute (they get as many threads as there are cores, from Intel TBB) from those
    that wait (they get up to *max_workers* threads of a pool), and functions so short that a second
    thread is not worth waking. Short items are taken many at a time. Coroutine functions run on the
    loop, a bounded number at a time. Functions that compute in pure Python hold the interpreter
    lock: threads do not speed them up, and a :class:`GilBoundWarning` says so, once a function, with
    the evidence; give such work a ``concurrent.futures.ProcessPoolExecutor`` as *executor*.

    Threads start with the first work. Safe from any loop; a forked child starts afresh. A function
    may itself wait for a map of the same processor: what is called from within an item gets threads
    of its own, up to *max_workers* for each depth, also where the processor has an executor of
    threads.

    Args:
        max_workers: threads of the pool for functions that wait; ``min(32, cores + 4)`` when
            ``None``. For coroutine functions, the calls at a time; 100 when ``None``.
        executor: carries sync functions instead of native threads: any
            ``concurrent.futures.Executor``, of processes, of Dask (``client.get_executor()``), ...
            It stays the caller's: closing the processor does not shut it down.

    Raises:
        ConfigurationError: *max_workers* is not a whole number from 1 to 10000.
        TypeError: *executor* is not an executor.
    """

    def __init__(self, max_workers: int | None = None, *, executor: Executor | None = None) -> None:
        if max_workers is not None:
            integer("max_workers", max_workers, 1, _MOST_WORKERS)
        if executor is not None:
            instance("executor", executor, Executor, "a concurrent.futures.Executor")
        self._given_workers = max_workers
        self._max_workers = max_workers or min(32, len(os.sched_getaffinity(0)) + 4)
        self._executor = executor
        self._engines: dict[int, _core.BatchEngine] = {}  # by the depth of the call
        self._engines_pid = 0
        self._nesting = Nesting()
        self._runs: set[Run] = set()
        self._closed = False
        self._waiting_for_runs: list[Future[None]] = []
        self._abandoned = False  # a thread may still be at an item that nobody waits for

    @property
    def max_workers(self) -> int:
        """How many threads functions that wait may have."""
        return self._max_workers

    @overload
    async def map(
        self,
        fn: Callable[[_T], Awaitable[_R]],
        items: Items[_T],
        *,
        kind: Kind | None = None,
        concurrency: int | None = None,
        chunk_size: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - items that miss it fail, the call does not
        progress: bool | ProgressCallback = False,
    ) -> BatchResult[_R]: ...
    @overload
    async def map(
        self,
        fn: Callable[[_T], _R],
        items: Items[_T],
        *,
        kind: Kind | None = None,
        concurrency: int | None = None,
        chunk_size: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - items that miss it fail, the call does not
        progress: bool | ProgressCallback = False,
    ) -> BatchResult[_R]: ...
    async def map(
        self,
        fn: Callable[[Any], Any],
        items: Items[Any],
        *,
        kind: Kind | None = None,
        concurrency: int | None = None,
        chunk_size: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - items that miss it fail, the call does not
        progress: bool | ProgressCallback = False,
    ) -> BatchResult[Any]:
        """Call ``fn(item)`` for each of *items*, and return when all have an outcome.

        Args:
            fn: a sync function, or a coroutine function. It sees the context variables of the
                caller; what it sets stays with the item, or with the items of one chunk. Native
                functions of this package work without the interpreter lock, a chunk at a time:
                :func:`mcp_performance.fingerprint`; the statements of a pool, as
                ``functools.partial(pool.blocking.fetch, sql)`` with parameters as the items; the
                requests of a :class:`mcp_performance.HttpClient`, as ``client.get`` with paths.
            items: a sequence, or a lazy or asynchronous iterable. Those are read on the loop, and
                no further ahead than the function keeps up with.
            kind: ``"cpu"`` or ``"blocking"`` where you know better than the measurement,
                ``"async"`` for a plain function that returns awaitables.
            concurrency: calls at a time at most.
            chunk_size: items that a worker takes at once; by measurement when ``None`` (about 1 ms
                worth of work).
            timeout: seconds for the whole call. Items that have no outcome by then fail with
                ``TimeoutError``; coroutines are cancelled, threads finish the item they are at,
                and its result is dropped. Of a lazy input, the items read so far count.
            progress: show progress on standard error, or call ``progress(done, total)`` on the
                loop about ten times a second; *total* is ``None`` for a lazy input. Where it raises,
                the loop's exception handler is told, it is called no more, and the items go on.

        Returns:
            The outcomes in the order of *items*. What an item raises never raises here, be it
            ``SystemExit``, ``KeyboardInterrupt`` or a ``CancelledError`` of its own: it is the
            item's error, and that item's alone.

        Raises:
            BatchError: the processor is closed.
            ConfigurationError: an option is out of its range.
            BaseException: whatever reading *items* raised; nothing more is started then.
        """
        if timeout is not None:
            timeout = number("timeout", timeout, unit="seconds")
        if not isinstance(progress, bool) and not (callable(progress) and returns_value(progress)):
            raise TypeError(f"progress={progress!r}: expected True, False or a function that is not async")
        check_items(items)
        size = known_size(items)  # what may raise does so before there is a run
        started = perf_counter()
        run, window = self._start(fn, kind, concurrency, chunk_size, _PENDING)
        if size:
            window = Window.whole(size)
        try:
            in_time = await _run_to_end(run, items, window, timeout, progress)
            if not in_time and isinstance(run, LoopRun):
                await run.cancel()
            results, errors = run.results, run.errors
            ran_as, use = _how_it_ran(run)
        finally:
            await self._leave(run)
        if errors or not in_time:
            errors = _settle(results, errors, timeout)
        elapsed = perf_counter() - started
        if ran_as == "cpu":
            warn_if_gil_bound(fn, use, elapsed)
        return BatchResult(results, errors, elapsed, ran_as, use.workers, use.cpu_seconds)

    @overload
    def stream(
        self,
        fn: Callable[[_T], Awaitable[_R]],
        items: Items[_T],
        *,
        ordered: bool = False,
        buffer: int | None = None,
        kind: Kind | None = None,
        concurrency: int | None = None,
        chunk_size: int | None = None,
    ) -> AsyncGenerator[BatchItem[_R], None]: ...
    @overload
    def stream(
        self,
        fn: Callable[[_T], _R],
        items: Items[_T],
        *,
        ordered: bool = False,
        buffer: int | None = None,
        kind: Kind | None = None,
        concurrency: int | None = None,
        chunk_size: int | None = None,
    ) -> AsyncGenerator[BatchItem[_R], None]: ...
    async def stream(
        self,
        fn: Callable[[Any], Any],
        items: Items[Any],
        *,
        ordered: bool = False,
        buffer: int | None = None,
        kind: Kind | None = None,
        concurrency: int | None = None,
        chunk_size: int | None = None,
    ) -> AsyncGenerator[BatchItem[Any], None]:
        """Call ``fn(item)`` for each of *items*, and yield the outcomes as they come.

        The input is read no further ahead than the consumer keeps up with. Leaving the loop early
        starts nothing more; close the iterator (``contextlib.aclosing``) to have that at once.

        Args:
            ordered: yield in the order of *items*, holding back what comes too early.
            buffer: items that were read and not yet yielded, at most; by measurement when ``None``.
            kind, concurrency, chunk_size: as for :meth:`map`.

        Yields:
            One :class:`BatchItem` an item.

        Raises:
            BatchError, ConfigurationError, BaseException: as :meth:`map`.
        """
        if buffer is not None:
            integer("buffer", buffer, 1, 1_000_000)
        flag("ordered", ordered)
        check_items(items)
        run, window = self._start(fn, kind, concurrency, chunk_size, None)
        window.limit = buffer or window.limit
        window.size = min(window.size, window.limit)
        consumer = Consumer(run)
        feeder = asyncio.ensure_future(feed(consumer, items, window))
        try:
            async for outcomes in consumer.outcomes(feeder, ordered):
                for outcome in outcomes:
                    yield BatchItem(*outcome)
                    consumer.yielded()
        finally:
            feeder.cancel()
            await asyncio.wait([feeder])
            if isinstance(run, LoopRun):
                await run.cancel()
            await self._leave(run)

    async def close(self) -> None:
        """Wait for the calls of :meth:`map` and :meth:`stream` that run, and end the threads.

        Later calls raise :class:`BatchError`. Idempotent.

        Raises:
            BatchError: it is called by an item of this processor, and would wait for itself.
        """
        if self._nesting.is_inside():
            raise BatchError("an item of this batch processor cannot close it: it would wait for itself")
        self._closed = True
        while self._runs:
            waiting: Future[None] = Future()
            self._waiting_for_runs.append(waiting)
            await asyncio.wrap_future(waiting)
        engines, self._engines = self._engines, {}
        if not self._abandoned and self._engines_pid == os.getpid():
            for engine in engines.values():
                engine.close()

    async def __aenter__(self) -> BatchProcessor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _start(
        self,
        fn: Callable[[Any], Any],
        kind: Kind | None,
        concurrency: int | None,
        chunk_size: int | None,
        pending: object | None,
    ) -> tuple[Run, Window]:
        if self._closed:
            raise BatchError("the batch processor is closed")
        any_function("fn", fn)
        if kind is not None:
            choice("kind", kind, ("cpu", "blocking", "async"))
        if chunk_size is not None:
            integer("chunk_size", chunk_size, 1, 1_000_000_000)
        if concurrency is not None:
            integer("concurrency", concurrency, 1, 1_000_000)
        if kind in {"cpu", "blocking"} and is_async(fn):
            raise ConfigurationError(f'kind={kind!r}: fn is a coroutine function, expected "async" or None')
        run: Run
        if kind == "async" or (kind is None and is_async(fn)):
            concurrency = concurrency or self._given_workers or _ASYNC_CONCURRENCY
            run = AsyncRun(fn, concurrency, pending, self._nesting.context(on_threads=False))
        elif self._executor is not None and not self._waits_for_executor():
            concurrency = concurrency or _executor_workers(self._executor)
            context = self._nesting.context(on_threads=True)
            run = ExecutorRun(fn, self._executor, concurrency, chunk_size, pending, context)
        else:
            if concurrency is not None and concurrency > self._max_workers:
                raise ConfigurationError(
                    f"concurrency={concurrency}: expected at most max_workers={self._max_workers}"
                )
            concurrency = concurrency or self._max_workers
            run = self._native().start(
                fn,
                kind=_KINDS[cast(Any, kind)],
                concurrency=concurrency,
                chunk_size=chunk_size or 0,
                pending=pending,
                context=self._nesting.context(on_threads=True),
            )
        self._runs.add(run)
        return run, Window(concurrency)

    def _waits_for_executor(self) -> bool:
        return isinstance(self._executor, ThreadPoolExecutor) and self._nesting.level() > 0

    def _native(self) -> _core.BatchEngine:
        if self._engines_pid != os.getpid():
            self._engines, self._engines_pid = {}, os.getpid()
        level = self._nesting.level()
        if level not in self._engines:
            self._engines[level] = _core.BatchEngine(self._max_workers)
        return self._engines[level]

    async def _leave(self, run: Run) -> None:
        if not run.ended:
            run.stop()
            if isinstance(run, LoopRun):
                await run.cancel()
            else:
                self._abandoned |= not run.ended
        run.finish()
        self._runs.discard(run)
        waiting, self._waiting_for_runs = self._waiting_for_runs, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


async def _run_to_end(
    run: Run, items: Items[Any], window: Window, seconds: float | None, progress: bool | ProgressCallback
) -> bool:
    """False when *seconds* passed first."""
    report = ProgressReport(run, known_size(items), progress) if progress else None
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            await feed(run, items, window)
            while not run.ended:
                await run.wait(_NEVER)
    except TimeoutError:
        if not deadline.expired():
            raise
        return False
    finally:
        if report is not None:
            report.close()
    return True


def _settle(
    results: list[Any], errors: dict[int, BaseException], timeout: float | None
) -> dict[int, BaseException]:
    """Give every item without an outcome its error, and sort the errors."""
    for index, value in enumerate(results):
        if value is _PENDING:
            results[index] = None
            if index not in errors:
                errors[index] = TimeoutError(f"item {index} had no outcome after {timeout} s")
    return dict(sorted(errors.items()))


def _how_it_ran(run: Run) -> tuple[str, ThreadUse]:
    if isinstance(run, _core.BatchJob):
        workers, kind, chunks, cpu_seconds, wait_seconds = run.stats()
        return _NAMES[kind], ThreadUse(workers, chunks, cpu_seconds, wait_seconds)
    if isinstance(run, LoopRun):
        return run.kind, ThreadUse(run.most_running, 0, 0.0, 0.0)
    raise TypeError(f"{run!r} is not a run")


def _executor_workers(executor: Executor) -> int:
    workers = getattr(executor, "_max_workers", None)
    return workers if isinstance(workers, int) and workers > 0 else len(os.sched_getaffinity(0))


os.register_at_fork(before=_core._batch_prepare_fork, after_in_child=_core._batch_after_fork_in_child)
