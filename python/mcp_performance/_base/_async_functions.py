"""Which functions have to be awaited."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .. import _core

__all__ = ["is_async"]


def is_async(fn: Callable[..., Any], *, wrapped: bool = False) -> bool:
    """Whether calls of *fn* have to be awaited. Sees through partials; knows cached and batched functions.

    Args:
        wrapped: count a wrapper of a coroutine function as one. Most hand its coroutine on, but some run it:
            for callers to whom an answer that cannot be awaited is an error, and one that is not awaited
            would pass for a success.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, _core.Batched) or (isinstance(fn, _core.CachedFunction) and fn._is_async):
        return True
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__):
        return True
    return wrapped and inspect.iscoroutinefunction(getattr(fn, "__wrapped__", None))
