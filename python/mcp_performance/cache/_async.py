"""What a miss of a cached coroutine function awaits.

The load is a task of its own: whoever waits for it, the caller that started it too, can be cancelled without
harm to the others. The last one to leave cancels it. Waiters may sit on other event loops.

How it ends is decided natively (``bindings/cache/outcome.h``). A value and an error that is a result (an
``Exception``, or a ``CancelledError`` of the function's own) go to everyone who waits. What ends a loop
(``SystemExit`` and the like) goes to the caller that started the load, or if that has left, out of the loop;
the others try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .. import _core
from .._base._waits import leads_here, name_of, reached_from
from ..errors import LoadTimeout

__all__ = ["load", "load_key"]

_CIRCLE = object()
# Seconds until a waiting task first looks whether it is waited for, and then between looks.
_FIRST_LOOK, _NEXT_LOOK = 0.05, 1.0
_FRESH = 0.01  # seconds that what was seen counts for others who wait for the same load
_last_reached: tuple[int, float, set[int]] = (0, 0.0, set())

# What owner._join() answers.
ANSWER, RAISE, WAIT, INLINE = _core.STEP_ANSWER, _core.STEP_RAISE, _core.STEP_WAIT, _core.STEP_INLINE
LEAD = _core.STEP_LEAD  # and what comes after: LEAD + the cause of the load


class Owner(Protocol):
    """What loads: a cached function, or a :class:`Cache` with a loader."""

    _adapter: Any
    """What holds values behind the cache; ``None`` for nothing."""
    _wait: float | None
    """How long to wait for the load of another, seconds."""

    def _join(self, key: Any, args: Any, kwargs: Any, refreshes: bool, /) -> tuple[int, Any]: ...

    def _settle(self, flight: Any, value: Any, seconds: float, args: Any, kwargs: Any, /) -> Any: ...

    def _settle_failure(
        self,
        flight: Any,
        error: BaseException,
        seconds: float,
        args: Any,
        kwargs: Any,
        refreshes: bool,
        spare: Any,
        /,
    ) -> Any: ...

    def _call(self, key: Any, args: Any, kwargs: Any, /) -> Awaitable[Any]: ...


class _KeyLoad:
    """The owner for one call of :meth:`Cache.aget_or_load`."""

    __slots__ = ("_adapter", "_cache", "_loader", "_ttl", "_wait")

    def __init__(
        self, cache: _core.CacheBase[Any, Any], loader: Callable[[Any], Any], ttl: Any, wait: float | None
    ) -> None:
        self._adapter = None
        self._cache = cache
        self._loader = loader
        self._ttl = ttl
        self._wait = wait

    def __repr__(self) -> str:
        return repr(self._cache)

    def _join(self, key: Any, args: Any, kwargs: Any, refreshes: bool, /) -> tuple[int, Any]:
        return self._cache._join(key)

    def _settle(self, flight: Any, value: Any, seconds: float, args: Any, kwargs: Any, /) -> None:
        self._cache._settle(flight, value, self._ttl, seconds)

    def _settle_failure(
        self,
        flight: Any,
        error: BaseException,
        seconds: float,
        args: Any,
        kwargs: Any,
        refreshes: bool,
        spare: Any,
        /,
    ) -> Any:
        return self._cache._settle_failure(flight, error, seconds)

    async def _call(self, key: Any, args: Any, kwargs: Any, /) -> Any:
        result = self._loader(key)
        return await result if inspect.isawaitable(result) else result


class _Lead:
    """The caller that started a load, as the load's task sees it."""

    __slots__ = ("error", "flight", "waits")

    def __init__(self, flight: Any) -> None:
        self.waits = True
        self.error: BaseException | None = None
        self.flight = flight
        """Until the load runs."""

    def ended(self, task: Any) -> None:
        """Let everyone try again if the task was cancelled before it ran."""
        if self.flight is not None:
            self.flight.retry(True)
            self.flight = None


async def load_key(
    cache: _core.CacheBase[Any, Any], key: Any, loader: Callable[[Any], Any], ttl: Any, wait: float | None
) -> Any:
    """The value of *key*, which was not in *cache* a moment ago."""
    return await _load(_KeyLoad(cache, loader, ttl, wait), key, (), {}, False)


async def load(function: Any, key: Any, args: Any, kwargs: Any, refreshes: bool) -> Any:
    """The value of a call: from the cache by now, from a load under way, or from one of our own."""
    value = await _load(function, key, args, kwargs, refreshes)
    copy = function._copy
    return value if copy is None else copy(value)


async def _load(owner: Owner, key: Any, args: Any, kwargs: Any, refreshes: bool) -> Any:
    _refuse_trio(owner)
    while True:
        loop = asyncio._get_running_loop()
        step, payload = owner._join(key, args, kwargs, refreshes)
        if step == ANSWER:
            return payload
        if step == RAISE:
            try:
                raise payload
            finally:
                del payload
        if step == INLINE:
            return await owner._call(key, args, kwargs)
        lead = None
        if step >= LEAD:
            lead = _Lead(payload)
            run = _run(owner, payload, lead, key, args, kwargs, step - LEAD, refreshes)
            if loop is None:  # no framework that we know: in this very coroutine
                del payload
                return await run
            payload.loop = loop
            task = payload.task = loop.create_task(run)
            task.add_done_callback(lead.ended)
            del run, task
        elif loop is None:
            return await owner._call(key, args, kwargs)
        elif _is_stranded(payload.loop, loop):
            payload.abandon()
            continue
        waiting = _wait_for(owner, key, payload, lead, loop)
        del payload, lead  # an exception that passes here must not hold what holds it
        arrived, value = await waiting
        if arrived is _CIRCLE:
            return await owner._call(key, args, kwargs)
        if arrived:
            return value
        refreshes = False


async def _run(
    owner: Owner, flight: Any, lead: _Lead, key: Any, args: Any, kwargs: Any, cause: int, refreshes: bool
) -> Any:
    """The load itself. Under asyncio it is a task, and its result goes to the flight alone."""
    lead.flight = None
    token = _core._inside_load.set(flight)
    loop: Any = flight.loop
    try:
        value = await _end(owner, flight, key, args, kwargs, cause, refreshes)
    except BaseException as error:
        if loop is None:
            flight.fail(error)
            raise
        if asyncio._get_running_loop() is not loop:  # ended by the collector: the loop is closed
            flight.retry(False)
            raise
        if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
            flight.retry(True)
        elif isinstance(error, (Exception, asyncio.CancelledError)):
            flight.fail(error)
        else:
            if lead.waits:
                lead.error = error
            else:
                _stop(loop, error)
            flight.retry(False)
        return None
    else:
        flight.finish(value)
        return value if loop is None else None
    finally:
        with contextlib.suppress(ValueError):  # ended by the collector, in a context that is not ours
            _core._inside_load.reset(token)
        flight.task = None
        del flight, lead, token


async def _end(
    owner: Owner, flight: Any, key: Any, args: Any, kwargs: Any, cause: int, refreshes: bool
) -> Any:
    lease = None
    try:
        adapter = owner._adapter
        if adapter is not None:
            is_there, found, is_stale, lease = await adapter.alook(key, cause)
            if is_there and not is_stale:
                return found
        begun = time.perf_counter()
        try:
            value = await owner._call(key, args, kwargs)
        except BaseException as error:
            took = time.perf_counter() - begun
            spare: Any = None if adapter is None else ...
            instead = owner._settle_failure(flight, error, took, args, kwargs, refreshes, spare)
            if instead is ... and adapter is not None:
                is_there, found = await adapter.alook_again(key, lease)
                spare = (found,) if is_there else None
                instead = owner._settle_failure(flight, error, took, args, kwargs, refreshes, spare)
            if instead is None:
                raise
            return instead[0]
        terms = owner._settle(flight, value, time.perf_counter() - begun, args, kwargs)
        if terms is not None and adapter is not None:
            flight.storing = True
            try:
                await adapter.astore(key, value, terms, lease)
            finally:
                flight.storing = False
            if flight.fenced:
                await adapter.aforget(key, lease)
        return value
    finally:
        del flight, lease


async def _wait_for(
    owner: Owner, key: Any, flight: Any, lead: _Lead | None, loop: AbstractEventLoop
) -> tuple[object, Any]:
    """The flight's result; ``(False, None)`` when its leader was interrupted, and ``_CIRCLE`` for whom it
    waits itself."""
    try:
        future: Future[None] = loop.create_future()
        patience = None
        try:
            if flight.add_waiter(future):
                if lead is None:
                    patience = _Patience(flight, future, owner._wait, loop)
                await future
        except BaseException:  # cancelled, or closed
            if lead is not None:
                lead.waits = False
            _leave(flight, future)
            raise
        finally:
            if patience is not None:
                patience.end()
        if not flight.done:
            _leave(flight, future)
            if patience is not None and patience.closes_circle:
                return _CIRCLE, None
            raise LoadTimeout(
                f"{getattr(owner, '__qualname__', owner)}: waited {owner._wait} seconds (wait_timeout) for "
                f"the load of {key!r} that another caller began"
            )
        flight.remove_waiter(future)
        if lead is not None and lead.error is not None:
            raise lead.error
        result: tuple[object, Any] = flight.result(lead is not None)
        if not result[0] and flight.cancelled and flight.loop is loop:
            raise asyncio.CancelledError
        return result
    finally:
        del flight, lead


class _Patience:
    """Completes *future*, by which a task waits for *flight*, where that would not end or takes too long."""

    __slots__ = ("_flight", "_future", "_limit", "_look", "_task", "closes_circle")

    def __init__(
        self, flight: Any, future: Future[None], seconds: float | None, loop: AbstractEventLoop
    ) -> None:
        self.closes_circle = False
        self._flight = flight
        self._future = future
        self._task = asyncio.current_task()
        self._look = loop.call_later(_FIRST_LOOK, self._looks)
        self._limit = None if seconds is None else loop.call_later(seconds, _complete, future)

    def end(self) -> None:
        self._look.cancel()
        if self._limit is not None:
            self._limit.cancel()
        self._flight = self._task = None

    def _looks(self) -> None:
        """The graph of waits can change: look again and again."""
        if self._task is None:
            return
        if name_of(self._task) in _reached(self._flight, self._future.get_loop()):
            self.closes_circle = True
            _complete(self._future)
        else:
            self._look = self._future.get_loop().call_later(_NEXT_LOOK, self._looks)


def _reached(flight: Any, loop: AbstractEventLoop) -> set[int]:
    """For whom the leader of *flight* waits; thousands who ask in one tick are told together."""
    global _last_reached
    now, number = loop.time(), id(flight)
    known, at, names = _last_reached
    if known != number or not at <= now < at + _FRESH:
        names = reached_from(flight.leader)
        _last_reached = number, now, names
    return names


def _leave(flight: Any, future: Future[None]) -> None:
    task = flight.task
    if flight.remove_waiter(future) == 0 and task is not None and not flight.done:
        flight.abandon()
        _on_its_loop(flight.loop, task.cancel)


def _is_being_cancelled() -> bool:
    """Whether the running task was told to end, rather than made up its mind itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _stop(loop: Any, error: BaseException) -> None:
    """Hand an error that nobody waits for to *loop*, as a task's own goes."""

    def throw() -> None:
        raise error

    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        loop.call_soon(throw)
    else:
        loop.call_exception_handler({"message": "a load that nobody waits for ended", "exception": error})


def _refuse_trio(owner: Owner) -> None:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        raise RuntimeError(
            f"{getattr(owner, '__qualname__', owner)}: cached coroutine functions load under asyncio "
            "(also through anyio), not under trio. Cache a sync function, or run anyio on asyncio"
        )


def _is_stranded(owner: AbstractEventLoop | None, loop: AbstractEventLoop) -> bool:
    """Whether a load on loop *owner* will never move again: its loop is closed, or stands still."""
    return owner is not None and owner is not loop and (owner.is_closed() or not owner.is_running())


def _on_its_loop(loop: AbstractEventLoop, call: Any, *args: Any) -> None:
    if asyncio._get_running_loop() is loop:
        call(*args)
        return
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        return  # closed: nobody waits there any more


def _complete(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wake(futures: list[Future[None]]) -> None:
    for future in futures:
        _on_its_loop(future.get_loop(), _complete, future)


_core._set_load_hooks(_wake, asyncio.CancelledError, LoadTimeout, leads_here)
_core._set_async_loader(load)
