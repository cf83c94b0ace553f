"""``alru_cache`` of the package ``async-lru``, over the native cache."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import warnings
from collections.abc import Callable, Coroutine, Hashable
from functools import _make_key
from types import CoroutineType
from typing import Any, Generic, TypedDict, TypeVar, overload

from .._base._async_functions import COROUTINE_MARK
from .._base._checks import function
from .._base._durations import nanoseconds
from .._base._stats import CacheInfo
from .._core import CachedFunction
from ._key import compile_plan, functools_plan
from ._options import finish, name_of, private_cache

__all__ = ["AlruCacheLoopResetWarning", "alru_cache"]

R = TypeVar("R")
AsyncFunction = Callable[..., Coroutine[Any, Any, R]]
Decorated = AsyncFunction[R] | functools.partial[Coroutine[Any, Any, R]] | functools.partialmethod[Any]


class AlruCacheLoopResetWarning(UserWarning):
    """Never given: a value that one event loop has loaded is served on any other."""


class _Parameters(TypedDict):
    typed: bool
    maxsize: int | None
    tasks: int
    closed: bool


class _Load:
    """A load that is under way; it has a task from the tick after its beginning on."""

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.task: asyncio.Task[Any] | None = None


class _AlruCache(Generic[R]):
    """A coroutine function whose results are kept; loads of one key at one time are one."""

    __wrapped__: AsyncFunction[R]

    def __init__(
        self,
        function: Decorated[R],
        maxsize: int | None,
        typed: bool,
        ttl: float | None,
        jitter: float | None,
        key: Callable[..., Hashable] | None,
    ) -> None:
        origin: Any = function
        while isinstance(origin, (functools.partial, functools.partialmethod)):
            origin = origin.func
        if not inspect.iscoroutinefunction(origin):
            raise RuntimeError(f"Coroutine function is required, got {function!r}")
        called: Any = function
        if isinstance(function, functools.partialmethod):
            called = _unbound(function)
        functools.update_wrapper(self, called)
        self._maxsize = None if maxsize is None else max(maxsize, 0)
        self._typed = typed
        self._key = key
        self._closed = False
        self._started = 0  # loads since the last cache_clear()
        self._loading: dict[Hashable, _Load] = {}  # those that a new caller would join
        self._loads: set[_Load] = set()
        self._cached = self._make(called, ttl, jitter)
        if COROUTINE_MARK is not None:
            self._is_coroutine = COROUTINE_MARK
        mark = getattr(inspect, "markcoroutinefunction", None)  # CPython 3.12 and newer
        if mark is not None:
            mark(self)

    def _make(self, function: AsyncFunction[R], ttl: float | None, jitter: float | None) -> Any:
        name = name_of(function)
        if self._key is None:
            plan = functools_plan(name, self._typed)
        else:
            plan = compile_plan(name, None, typed=False, key=self._key, ignore=(), prefix=None)
        ttl_ns = nanoseconds("ttl", ttl)
        ttl_of: Callable[[Any], int | None] | None = None
        if ttl is not None and jitter:
            at_least, most = ttl, jitter
            ttl_of = lambda _: nanoseconds("ttl", at_least + random.uniform(0, most))  # noqa: E731
        terms = (ttl_ns, 0.0, 0, 0, 0.0, None, ttl_of, None, None, None, True)

        async def load(*args: Any, **kwargs: Any) -> R:
            key = self._key_of(args, kwargs)
            loading = self._loading.get(key)
            if loading is None or loading.task is not None:  # out of date: this one is another
                loading = self._begin(key)
            loading.task = asyncio.current_task()
            try:
                return await function(*args, **kwargs)
            finally:
                self._end(loading)

        functools.update_wrapper(load, function)
        made = CachedFunction(load, private_cache(self._maxsize, "lru"), plan, terms, {}, None, True, False)
        return finish(made, load, name)

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        return _make_key(args, kwargs, self._typed) if self._key is None else self._key(*args, **kwargs)

    async def __call__(self, /, *args: Any, **kwargs: Any) -> R:
        if self._closed:
            raise RuntimeError(f"alru_cache is closed for {self}")
        if self._maxsize == 0:  # nothing is kept, and nobody joins
            self._started += 1
            return await self.__wrapped__(*args, **kwargs)
        answer = self._cached(*args, **kwargs)
        if type(answer) is not CoroutineType:  # a hit
            result: R = await answer
            return result
        key = self._key_of(args, kwargs)
        begun = None if key in self._loading else self._begin(key)
        try:
            result = await answer
        finally:
            if begun is not None and begun.task is None:  # was left before it ran
                self._end(begun)
        return result

    def _begin(self, key: Hashable) -> _Load:
        load = _Load(key)
        self._started += 1
        self._loads.add(load)
        self._loading[key] = load
        return load

    def _end(self, load: _Load) -> None:
        self._loads.discard(load)
        if self._loading.get(load.key) is load:
            del self._loading[load.key]

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else _AlruMethod(self, instance)

    def cache_contains(self, /, *args: Any, **kwargs: Any) -> bool:
        """Whether the call is kept, or is being loaded. Counts as no use."""
        return self._key_of(args, kwargs) in self._loading or bool(
            self._cached.cache_contains(*args, **kwargs)
        )

    def cache_invalidate(self, /, *args: Any, **kwargs: Any) -> bool:
        """Forget one call; whether there was one. A load that is under way is kept nowhere."""
        loading = self._loading.pop(self._key_of(args, kwargs), None) is not None
        return bool(self._cached.cache_invalidate(*args, **kwargs)) or loading

    def cache_clear(self) -> None:
        """Forget all calls, and the figures."""
        self._loading.clear()
        self._cached.cache_clear()
        self._started = 0

    async def cache_close(
        self, *, wait: bool = False, cancel: bool = False, return_exceptions: bool = True
    ) -> None:
        """Refuse calls from here on, and end the loads that are under way.

        Args:
            wait: let them finish, instead of cancelling them.
        """
        if cancel or return_exceptions is not True:
            warnings.warn(
                "cancel and return_exceptions are deprecated: use wait", DeprecationWarning, stacklevel=2
            )
        self._closed = True
        if any(load.task is None for load in self._loads):
            await asyncio.sleep(0)
        tasks = [load.task for load in self._loads if load.task is not None]
        if not wait:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cache_info(self) -> CacheInfo:
        """Hits, which count the callers that joined a load, misses, capacity, and the calls that are kept."""
        info = self._cached.cache_info()
        asked = info.hits + info.misses if self._maxsize != 0 else self._started
        return CacheInfo(
            asked - self._started, self._started, self._maxsize, info.currsize + len(self._loading)
        )

    def cache_parameters(self) -> _Parameters:
        """The settings, the number of loads under way, and whether it was closed."""
        return _Parameters(
            typed=self._typed, maxsize=self._maxsize, tasks=len(self._loads), closed=self._closed
        )


class _AlruMethod(Generic[R]):
    """One of an instance; all instances of a class share the cache."""

    def __init__(self, cache: _AlruCache[R], instance: object) -> None:
        functools.update_wrapper(self, cache)
        self.__wrapped__ = cache.__wrapped__
        self._cache = cache
        self._instance = instance

    async def __call__(self, /, *args: Any, **kwargs: Any) -> R:
        return await self._cache(self._instance, *args, **kwargs)

    def cache_contains(self, /, *args: Any, **kwargs: Any) -> bool:
        return self._cache.cache_contains(self._instance, *args, **kwargs)

    def cache_invalidate(self, /, *args: Any, **kwargs: Any) -> bool:
        return self._cache.cache_invalidate(self._instance, *args, **kwargs)

    def cache_clear(self) -> None:
        self._cache.cache_clear()

    async def cache_close(
        self, *, wait: bool = False, cancel: bool = False, return_exceptions: bool = True
    ) -> None:
        await self._cache.cache_close(wait=wait, cancel=cancel, return_exceptions=return_exceptions)

    def cache_info(self) -> CacheInfo:
        return self._cache.cache_info()

    def cache_parameters(self) -> _Parameters:
        return self._cache.cache_parameters()


def _unbound(method: functools.partialmethod[Any]) -> AsyncFunction[Any]:
    async def call(self: object, /, *args: Any, **kwargs: Any) -> Any:
        return await method.func(self, *method.args, *args, **{**method.keywords, **kwargs})

    return functools.update_wrapper(call, method.func)


@overload
def alru_cache(
    maxsize: int | None = 128,
    typed: bool = False,
    *,
    ttl: float | None = None,
    jitter: float | None = None,
    key: Callable[..., Hashable] | None = None,
) -> Callable[[Decorated[R]], _AlruCache[R]]: ...
@overload
def alru_cache(maxsize: Decorated[R], /) -> _AlruCache[R]: ...
def alru_cache(
    maxsize: Any = 128,
    typed: bool = False,
    *,
    ttl: float | None = None,
    jitter: float | None = None,
    key: Callable[..., Hashable] | None = None,
) -> Any:
    """Keep the results of a coroutine function, the last used *maxsize* of them.

    Keys are the arguments as they were written, as :func:`functools.lru_cache` makes them. Errors are not
    kept.

    Args:
        typed: tell 1 from 1.0.
        ttl: seconds that a result is kept.
        jitter: seconds, up to which chance adds to *ttl*.
        key: makes the key of the arguments.

    Raises:
        RuntimeError: not a coroutine function.
        ValueError: *jitter* without *ttl* or below 0, *typed* together with *key*.
    """
    if jitter is not None and ttl is None:
        raise ValueError(f"jitter requires ttl to be set: jitter={jitter!r}")
    if jitter is not None and jitter < 0:
        raise ValueError(f"jitter must be non-negative: jitter={jitter!r}")
    if key is not None and not callable(key):
        raise TypeError(f"key={key!r}: must be callable")
    if key is not None:
        function("key", key)
    if key is not None and typed:
        raise ValueError("typed=True: is ignored when a key is given")
    if maxsize is None or isinstance(maxsize, int):
        return lambda function: _AlruCache(function, maxsize, typed, ttl, jitter, key)
    if callable(maxsize) or isinstance(maxsize, functools.partialmethod):
        decorated: Any = maxsize
        return _AlruCache(decorated, 128, False, None, None, None)
    raise NotImplementedError(f"{maxsize!r} decorating is not supported")
