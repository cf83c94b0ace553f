"""Many awaiting callers, one call with their items."""

from __future__ import annotations

import asyncio
import functools
import math
from asyncio import AbstractEventLoop, Task
from collections.abc import Awaitable, Callable, Hashable, Iterable, MutableMapping
from contextvars import Context
from typing import Any, TypeVar, cast, overload

from .. import _core
from .._base._checks import integer
from .._core import Batched, BatchedFuture
from ..errors import BatchError, ConfigurationError

__all__ = ["Batched", "BatchedFuture", "batched"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_Function = Callable[[list[Any]], Awaitable[Iterable[Any]]]


async def _call(function: _Function, items: list[Any], futures: list[BatchedFuture[Any]]) -> None:
    try:
        results = list(await function(items))
        if len(results) != len(futures):
            name = getattr(function, "__qualname__", repr(function))
            raise BatchError(f"{name} returned {len(results)} results for {len(futures)} items")
    except asyncio.CancelledError:
        _core._batched_settle(futures, None)
        raise
    except Exception as error:
        _core._batched_settle(futures, error)
    else:
        _core._batched_settle(futures, results)


def _start_call(
    loop: AbstractEventLoop,
    function: _Function,
    items: list[Any],
    futures: list[BatchedFuture[Any]],
    context: Context,
    ended: Callable[[Task[None]], None],
) -> Task[None]:
    coroutine = _call(function, items, futures)
    try:
        call = loop.create_task(coroutine, context=context.copy())
    except BaseException:
        coroutine.close()
        raise
    call.add_done_callback(functools.partial(_end_call, ended), context=context)
    return call


def _end_call(ended: Callable[[Task[None]], None], call: Task[None]) -> None:
    ended(call)
    if not call.cancelled() and (error := call.exception()) is not None:
        raise error  # a SystemExit or the like; the loop reports it


def _bind(unbound: Batched[Any, Any], instance: object, owner: type | None) -> Batched[Any, Any]:
    """On a method: each instance has queues of its own."""
    bound = _make(
        cast(Any, unbound.__wrapped__).__get__(instance, owner),
        unbound.max_size,
        unbound.max_wait,
        unbound._key,
        unbound.max_concurrency,
    )
    # The instance's own attribute wins over the descriptor from now on.
    name = vars(unbound).get("_attribute", bound.__name__)
    return cast("Batched[Any, Any]", vars(instance).setdefault(name, bound))


def _drop_closed(queues: MutableMapping[AbstractEventLoop, object]) -> None:
    """Items that still wait on a closed loop would keep it alive for ever."""
    for loop in [loop for loop in queues if loop.is_closed()]:
        queues.pop(loop, None)


def _make(
    function: _Function,
    max_size: int,
    max_wait: float,
    key: Callable[[Any], Hashable] | None,
    max_concurrency: int | None,
) -> Batched[Any, Any]:
    made: Batched[Any, Any] = Batched(
        function, max_size=max_size, max_wait=max_wait, key=key, max_concurrency=max_concurrency
    )
    functools.update_wrapper(cast(Any, made), function)
    made.__qualname__ = getattr(function, "__qualname__", repr(function))
    return made


_core._set_batched_call(_start_call)
_core._set_batched_helpers(_bind, _drop_closed)


@overload
def batched(
    function: Callable[[list[_T]], Awaitable[Iterable[_R | BaseException]]], /
) -> Batched[_T, _R]: ...
@overload
def batched(
    *,
    max_size: int = 100,
    max_wait: float = 0.002,
    key: Callable[[Any], Hashable] | None = None,
    max_concurrency: int | None = None,
) -> Callable[[Callable[[list[_T]], Awaitable[Iterable[_R | BaseException]]]], Batched[_T, _R]]: ...
def batched(
    function: Callable[[list[Any]], Awaitable[Iterable[Any]]] | None = None,
    /,
    *,
    max_size: int = 100,
    max_wait: float = 0.002,
    key: Callable[[Any], Hashable] | None = None,
    max_concurrency: int | None = None,
) -> Any:
    """Gather the items of many awaiting callers into calls of ``async def function(items) -> results``.

    A call starts when *max_size* items wait, or *max_wait* seconds after the first of them came.
    Items go in the order in which they came. Equal keys that wait together are one item, and every
    caller gets its result. An item whose callers were all cancelled is left out.

    The function returns one result an item, in their order; a result that is an exception is raised
    at the callers of that item alone. What the function raises is raised at all its callers, and a
    wrong number of results is a :class:`BatchError` at all of them.

    Args:
        max_size: items in one call at most.
        max_wait: seconds that an item waits for company at most; 0: until the loop's next turn.
        key: what makes two items the same; the item itself when ``None``. Items whose key is not
            hashable are never the same.
        max_concurrency: calls at a time on each loop. While they are at their limit, the tasks that
            queue items take turns, so that one with many items does not shut out the others.

    Raises:
        ConfigurationError: an option is out of its range.
        TypeError: the function, or an option, is of the wrong type.
    """
    integer("max_size", max_size, 1, 1_000_000)
    if max_concurrency is not None:
        integer("max_concurrency", max_concurrency, 1, 1_000_000)
    if isinstance(max_wait, bool) or not isinstance(max_wait, int | float):
        raise TypeError(f"max_wait={max_wait!r}: expected seconds")
    if not 0 <= max_wait < math.inf:
        raise ConfigurationError(f"max_wait={max_wait!r}: expected seconds, 0 or more")

    def decorate(target: Callable[[list[Any]], Awaitable[Iterable[Any]]]) -> Batched[Any, Any]:
        if not callable(target):
            raise TypeError(f"function={target!r}: expected an async function of a list of items")
        return _make(target, max_size, max_wait, key, max_concurrency)

    return decorate if function is None else decorate(function)
