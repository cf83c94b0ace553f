"""What a miss of a cached coroutine function awaits.

The load is a task of its own: whoever waits for it, the caller that started it too, can be cancelled without
harm to the others. The last one to leave cancels it. Waiters may sit on other event loops.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .. import _core

__all__ = ["load", "load_key"]

# What owner._join() answers: _core's words for them.
ANSWER, RAISE, LEAD, WAIT, INLINE = range(5)


class Owner(Protocol):
    """What loads: a cached function, or a :class:`Cache` with a loader."""

    def _join(self, key: Any, refreshes: bool, /) -> tuple[int, Any]: ...

    def _publish(
        self, flight: Any, key: Any, value: Any, seconds: float, args: Any, kwargs: Any, /
    ) -> None: ...

    def _publish_failure(
        self, flight: Any, key: Any, error: BaseException, seconds: float, args: Any, kwargs: Any, /
    ) -> tuple[bool, Any]: ...

    def _call(self, key: Any, args: Any, kwargs: Any, /) -> Awaitable[Any]: ...


class _KeyLoad:
    """The owner for one call of :meth:`Cache.aget_or_load`."""

    __slots__ = ("_cache", "_loader", "_ttl")

    def __init__(self, cache: _core.CacheBase[Any, Any], loader: Callable[[Any], Any], ttl: Any) -> None:
        self._cache = cache
        self._loader = loader
        self._ttl = ttl

    def _join(self, key: Any, refreshes: bool, /) -> tuple[int, Any]:
        return self._cache._join(key)

    def _publish(self, flight: Any, key: Any, value: Any, seconds: float, args: Any, kwargs: Any, /) -> None:
        self._cache._publish(flight, key, value, self._ttl, seconds)

    def _publish_failure(
        self, flight: Any, key: Any, error: BaseException, seconds: float, args: Any, kwargs: Any, /
    ) -> tuple[bool, Any]:
        self._cache._count_failure(seconds)
        return False, None

    async def _call(self, key: Any, args: Any, kwargs: Any, /) -> Any:
        result = self._loader(key)
        return await result if inspect.isawaitable(result) else result


async def load_key(cache: _core.CacheBase[Any, Any], key: Any, loader: Callable[[Any], Any], ttl: Any) -> Any:
    """The value of *key*, which was not in *cache* a moment ago."""
    return await _load(_KeyLoad(cache, loader, ttl), key, (), {}, False)


async def load(function: Any, key: Any, args: Any, kwargs: Any, refreshes: bool) -> Any:
    """The value of a call: from the cache by now, from a load under way, or from one of our own."""
    value = await _load(function, key, args, kwargs, refreshes)
    copy = function._copy
    return value if copy is None else copy(value)


async def _load(owner: Owner, key: Any, args: Any, kwargs: Any, refreshes: bool) -> Any:
    while True:
        loop = asyncio._get_running_loop()
        if loop is None:  # another framework: tasks are not ours to make
            return await _run_alone(owner, key, args, kwargs)
        step, payload = owner._join(key, refreshes)
        if step == ANSWER:
            return payload
        if step == RAISE:
            raise payload.with_traceback(None)
        if step == INLINE:
            return await owner._call(key, args, kwargs)
        if step == LEAD:
            payload.loop = loop
            payload.task = loop.create_task(_run(owner, payload, key, args, kwargs))
        elif _is_stranded(payload.loop, loop):
            payload.abandon()
            continue
        arrived, value = await _wait(payload, loop)
        if arrived:
            return value
        refreshes = False


async def _run_alone(owner: Owner, key: Any, args: Any, kwargs: Any) -> Any:
    begun = time.perf_counter()
    try:
        value = await owner._call(key, args, kwargs)
    except BaseException as error:
        has_stale, stale = owner._publish_failure(None, key, error, time.perf_counter() - begun, args, kwargs)
        if has_stale:
            return stale
        raise
    owner._publish(None, key, value, time.perf_counter() - begun, args, kwargs)
    return value


async def _run(owner: Owner, flight: Any, key: Any, args: Any, kwargs: Any) -> None:
    """The load itself, in a task of its own. Its result goes to the flight, not to the task."""
    _core._inside_load.set(flight)
    begun = time.perf_counter()
    try:
        try:
            value = await owner._call(key, args, kwargs)
        except BaseException as error:
            has_stale, value = owner._publish_failure(
                flight, key, error, time.perf_counter() - begun, args, kwargs
            )
            if not has_stale:
                raise
        else:
            owner._publish(flight, key, value, time.perf_counter() - begun, args, kwargs)
    except BaseException as error:
        flight.fail(error)
        if not isinstance(error, Exception):
            raise
    else:
        flight.finish(value)
    finally:
        flight.task = None


async def _wait(flight: Any, loop: AbstractEventLoop) -> tuple[bool, Any]:
    """The flight's result; ``(False, None)`` when its leader was interrupted."""
    future: Future[None] = loop.create_future()
    try:
        if flight.add_waiter(future):
            await future
    except asyncio.CancelledError:
        task = flight.task
        if flight.remove_waiter(future) == 0 and task is not None and not flight.done:
            flight.abandon()
            _on_its_loop(flight.loop, task.cancel)
        raise
    flight.remove_waiter(future)
    result: tuple[bool, Any] = flight.result()
    return result


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


_core._set_wake(_wake)
_core._set_async_loader(load)
