"""Which functions have to be awaited."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__ = [
    "COROUTINE_MARK",
    "is_async",
    "refuse_awaitable",
    "refuse_single_use",
    "returns_value",
    "tells_async",
]

# What asyncio.iscoroutinefunction() looks for, where it does.
COROUTINE_MARK = getattr(asyncio.coroutines, "_is_coroutine", None)

_TELLERS: list[tuple[type, Callable[[Any], bool]]] = []


def tells_async(kind: type, is_one: Callable[[Any], bool]) -> None:
    """Let *is_one* say of objects of a native *kind* whether their calls have to be awaited."""
    _TELLERS.append((kind, is_one))


def _function_of(fn: Any) -> Any:
    """What *fn* calls, where it is a partial or a method of a class that is looked at without one."""
    while True:
        if isinstance(fn, functools.partial | functools.partialmethod):
            fn = fn.func
        elif isinstance(fn, staticmethod | classmethod):
            fn = fn.__func__
        else:
            return fn


def _runs_a(fn: Any, is_kind: Callable[[Any], bool]) -> bool:
    """Whether a call of *fn* runs a function that *is_kind*: it, its ``__call__``, or that of a partial."""
    fn = _function_of(fn)
    return is_kind(fn) or is_kind(_function_of(inspect.getattr_static(type(fn), "__call__", None)))


def is_async(fn: Callable[..., Any], *, wrapped: bool = False) -> bool:
    """Whether calls of *fn* have to be awaited. Sees through partials; knows cached and batched functions.

    Args:
        wrapped: count a wrapper of a coroutine function as one. Most hand its coroutine on, but some run it:
            for callers to whom an answer that cannot be awaited is an error, and one that is not awaited
            would pass for a success.
    """
    fn = _function_of(fn)
    for kind, is_one in _TELLERS:
        if isinstance(fn, kind):
            return is_one(fn)
    if _runs_a(fn, inspect.iscoroutinefunction):
        return True
    if COROUTINE_MARK is not None and getattr(fn, "_is_coroutine", None) is COROUTINE_MARK:
        return True
    return wrapped and inspect.iscoroutinefunction(getattr(fn, "__wrapped__", None))


def returns_value(fn: Callable[..., Any], *, makes_many: bool = False) -> bool:
    """Whether what a call of *fn* returns is no awaitable and no generator; with *makes_many*, it may be a
    generator that is no async one."""
    if is_async(fn) or _runs_a(fn, inspect.isasyncgenfunction):
        return False
    return makes_many or not _runs_a(fn, inspect.isgeneratorfunction)


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
