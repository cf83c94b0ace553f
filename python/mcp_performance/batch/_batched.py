"""Many awaiting callers, one call with their items."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from asyncio import AbstractEventLoop, Task
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Mapping,
    MappingView,
    MutableMapping,
    Set,
    Sized,
)
from contextvars import Context
from itertools import islice
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast, overload

from .. import _core
from .._base._async_functions import is_async, tells_async
from .._base._checks import function as checked_function
from .._base._checks import integer, number
from .._core import Batched, BatchedFuture
from ..errors import BatchError
from ._nesting import NO_LEVELS, Levels, deepest, levels

__all__ = ["Batched", "BatchedFuture", "batched"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_Key = Callable[[Any], Hashable]
_Results = Iterable[_R] | AsyncIterable[_R] | Mapping[Any, _R]
_Function = Callable[[list[Any]], Awaitable[_Results[Any]]]


class _WrongResults(BatchError, TypeError):
    """What a batched function returned cannot be told apart into one result an item."""


class _NoResult(BatchError, KeyError):
    """A batched function returned a mapping without the key of an item."""

    __str__ = Exception.__str__


async def _call(
    function: _Function, key: _Key | None, items: list[Any], futures: list[BatchedFuture[Any]]
) -> None:
    outcome: list[Any] | BaseException
    try:
        answer = await function(items)
        if type(answer) is list and len(answer) == len(futures):
            outcome = answer
        else:
            outcome = await _one_result_each(function, key, items[: len(futures)], answer)
    except asyncio.CancelledError:
        _core._batched_settle(futures, None)
        raise
    except BaseException as error:  # what ends the program does so at one of the callers
        outcome = error
    _core._batched_settle(futures, outcome)


async def _one_result_each(function: _Function, key: _Key | None, items: list[Any], answer: Any) -> list[Any]:
    name = getattr(function, "__qualname__", repr(function))
    if isinstance(answer, Mapping):
        return [_result_of(name, answer, item, key) for item in items]
    unordered = isinstance(answer, Set) and not isinstance(answer, MappingView)
    if unordered or isinstance(answer, str | bytes | bytearray | memoryview):
        raise _WrongResults(
            f"{name} returned a {type(answer).__name__}: expected one result an item, in order"
        )
    if isinstance(answer, Sized):
        size = f"{len(answer)}"
        results = list(cast("Iterable[Any]", answer)) if len(answer) == len(items) else []
    else:
        results = await _up_to(len(items) + 1, name, answer)
        size = f"{len(results)}" if len(results) <= len(items) else f"more than {len(items)}"
    if len(results) != len(items) or size != f"{len(items)}":
        raise BatchError(f"{name} returned {size} results for {len(items)} items")
    return results


async def _up_to(most: int, name: str, answer: Any) -> list[Any]:
    """What a generator yields, which may be without end."""
    if isinstance(answer, AsyncIterable):
        results: list[Any] = []
        async for result in answer:
            results.append(result)
            if len(results) == most:
                break
        return results
    if not isinstance(answer, Iterable):
        raise _WrongResults(f"{name} returned {answer!r}: expected one result an item")
    return list(islice(answer, most))


def _result_of(name: str, results: Mapping[Any, Any], item: Any, key: _Key | None) -> Any:
    try:
        return results[item if key is None else key(item)]
    except KeyError:
        return _NoResult(f"{name} returned no result for item {item!r}")
    except TypeError as error:
        told = _NoResult(f"{name} returned a mapping, which has no result for item {item!r}: {error}")
        told.__cause__ = error
        return told


def _start_call(
    loop: AbstractEventLoop,
    function: _Function,
    key: _Key | None,
    items: list[Any],
    futures: list[BatchedFuture[Any]],
    context: Context,
    inside: Levels | None,
    ended: Callable[[Task[None]], None],
) -> Task[None]:
    coroutine = _call(function, key, items, futures)
    context = context.copy()
    if inside is not None:
        queue = cast(Any, ended).__self__
        context.run(levels.set, MappingProxyType({**inside, queue: 1}))
    try:
        call = loop.create_task(coroutine, context=context)
    except BaseException:
        coroutine.close()
        raise
    call.add_done_callback(ended, context=context)
    return call


def _bind(unbound: Batched[Any, Any], instance: object, owner: type | None) -> Batched[Any, Any]:
    """On a method: each instance has queues of its own, which it holds in its ``__dict__``."""
    if isinstance(instance, type):
        raise TypeError(
            f"{unbound.__qualname__} is batched by instance and cannot be a class method: "
            "batch a function, or a static method, of items that name the class"
        )
    held = getattr(instance, "__dict__", None)
    if held is None:
        raise TypeError(
            f"{type(instance).__name__} has no __dict__ to hold the queue of {unbound.__qualname__}: "
            "add '__dict__' to its __slots__"
        )
    bound = _make(
        cast(Any, unbound.__wrapped__).__get__(instance, owner),
        unbound.max_size,
        unbound.max_wait,
        unbound._key,
        unbound.max_concurrency,
    )
    # The instance's own attribute wins over the descriptor from now on.
    name = vars(unbound).get("_attribute", bound.__name__)
    return cast("Batched[Any, Any]", held.setdefault(name, bound))


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


_core._set_batched_call(_start_call, levels, NO_LEVELS, deepest)
_core._set_batched_helpers(_bind, _drop_closed)
_core._set_batch_error(BatchError)
tells_async(Batched, lambda _: True)
cast(Any, Coroutine).register(BatchedFuture)


# Each kind of results by itself: mypy looks for their type in the first part of a union alone.
_Items = Callable[[list[_T]], Awaitable[Iterable[_R | BaseException] | AsyncIterable[_R | BaseException]]]
_ByItem = Callable[[list[_T]], Awaitable[Mapping[Any, _R | BaseException]]]
_ItemsMethod = Callable[
    [Any, list[_T]], Awaitable[Iterable[_R | BaseException] | AsyncIterable[_R | BaseException]]
]
_ByItemMethod = Callable[[Any, list[_T]], Awaitable[Mapping[Any, _R | BaseException]]]


class _Decorator(Protocol):
    @overload
    def __call__(self, function: _ByItem[_T, _R], /) -> Batched[_T, _R]: ...
    @overload
    def __call__(self, function: _ByItemMethod[_T, _R], /) -> Batched[_T, _R]: ...
    @overload
    def __call__(self, function: _Items[_T, _R], /) -> Batched[_T, _R]: ...
    @overload
    def __call__(self, function: _ItemsMethod[_T, _R], /) -> Batched[_T, _R]: ...


@overload
def batched(function: _ByItem[_T, _R], /) -> Batched[_T, _R]: ...
@overload
def batched(function: _ByItemMethod[_T, _R], /) -> Batched[_T, _R]: ...
@overload
def batched(function: _Items[_T, _R], /) -> Batched[_T, _R]: ...
@overload
def batched(function: _ItemsMethod[_T, _R], /) -> Batched[_T, _R]: ...
@overload
def batched(
    *,
    max_size: int = 100,
    max_wait: float = 0.002,
    key: Callable[[Any], Hashable] | None = None,
    max_concurrency: int | None = None,
) -> _Decorator: ...
def batched(
    function: Callable[..., Awaitable[_Results[Any]]] | None = None,
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

    The function returns one result an item, in their order: a list, or anything that is iterated once.
    A mapping holds the results by item, or by what *key* makes of the item; an item that it lacks is
    a :class:`BatchError`, which is a ``KeyError`` too, at the callers of that item alone, and so is a
    result that is an exception. What the function raises is raised at all its callers. A wrong
    number of results, a set, a string and what is not iterable are a :class:`BatchError` at all of
    them. Each caller gets an exception of its own. What ends the program (``SystemExit``,
    ``KeyboardInterrupt``) reaches one of them, the others get a :class:`BatchError`.

    What a call returns is awaited, or given to ``asyncio.create_task``, ``TaskGroup``, ``gather``,
    ``wait_for``, ``shield``, ``ensure_future``. A cancelled caller leaves the others alone; with its
    last caller an item leaves the queue. A call that was started goes on.

    Args:
        max_size: items in one call at most.
        max_wait: seconds that an item waits for company at most; 0: until the loop's next turn.
        key: what makes two items the same; the item itself when ``None``. Items whose key is not
            hashable are never the same.
        max_concurrency: calls at a time on each loop. While they are at their limit, the tasks that
            queue items take turns, so that one with many items does not shut out the others. What a
            call itself waits for does not wait for that call to end.

    Raises:
        ConfigurationError: an option is out of its range.
        TypeError: the function is not ``async def``, or an option is of the wrong type.
    """
    integer("max_size", max_size, 1, 1_000_000)
    if max_concurrency is not None:
        integer("max_concurrency", max_concurrency, 1, 1_000_000)
    number("max_wait", max_wait, 0, sys.float_info.max, unit="seconds")
    if key is not None:
        checked_function("key", key)

    def decorate(target: _Function) -> Batched[Any, Any]:
        if not (callable(target) and (is_async(target) or is_async(inspect.unwrap(target)))):
            raise TypeError(f"function={target!r}: expected an `async def` function of a list of items")
        return _make(target, max_size, max_wait, key, max_concurrency)

    return decorate if function is None else decorate(function)
