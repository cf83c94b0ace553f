"""Which functions have to be awaited."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .. import _core

__all__ = ["is_async"]


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calls of *fn* have to be awaited. Sees through partials; knows cached and batched functions."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, _core.Batched) or (isinstance(fn, _core.CachedFunction) and fn._is_async):
        return True
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)
