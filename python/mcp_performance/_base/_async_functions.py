"""Which functions have to be awaited."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["COROUTINE_MARK", "is_async", "refuse_awaitable", "refuse_single_use", "tells_async"]

# What asyncio.iscoroutinefunction() looks for, where it does.
COROUTINE_MARK = getattr(asyncio.coroutines, "_is_coroutine", None)

_TELLERS: list[tuple[type, Callable[[Any], bool]]] = []


def tells_async(kind: type, is_one: Callable[[Any], bool]) -> None:
    """Let *is_one* say of objects of a native *kind* whether their calls have to be awaited."""
    _TELLERS.append((kind, is_one))


def is_async(fn: Callable[..., Any], *, wrapped: bool = False) -> bool:
    """Whether calls of *fn* have to be awaited. Sees through partials; knows cached and batched functions.

    Args:
        wrapped: count a wrapper of a coroutine function as one. Most hand its coroutine on, but some run it:
            for callers to whom an answer that cannot be awaited is an error, and one that is not awaited
            would pass for a success.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    for kind, is_one in _TELLERS:
        if isinstance(fn, kind):
            return is_one(fn)
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__):
        return True
    if COROUTINE_MARK is not None and getattr(fn, "_is_coroutine", None) is COROUTINE_MARK:
        return True
    return wrapped and inspect.iscoroutinefunction(getattr(fn, "__wrapped__", None))


def refuse_awaitable(value: object) -> None:
    """Refuse what a function returned in place of its value."""
    if not inspect.isawaitable(value):
        return
    if inspect.iscoroutine(value):
        value.close()  # so that nobody is told that it was never awaited
    kind = type(value).__name__
    raise TypeError(f"the function returned an awaitable, {kind}: make it `async def`, and await that in it")


def refuse_single_use(value: object) -> None:
    """Refuse a result that is to be given out more than once, and cannot be."""
    refuse_awaitable(value)
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise TypeError(f"a result to be repeated is of use only once: {type(value).__name__}; return a list")
