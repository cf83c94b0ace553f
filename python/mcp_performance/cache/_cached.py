"""The decorators: :func:`cached`, :func:`cached_method` and :func:`lru_cache`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Callable, Iterable
from datetime import timedelta
from types import EllipsisType
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

from .. import _core, config
from .._base import _registry
from .._base._checks import choice, flag, function, number
from .._base._durations import nanoseconds
from .._base._stats import CacheInfo, CacheStats, Ttl
from .._core import CachedFunction, CachedMethod
from . import _backend
from ._backend import CacheBackend
from ._cache import Cache, Policy, check_maxsize
from ._key import Plan, compile_plan, functools_plan, signature_of
from ._tags import tag_maker

__all__ = ["cached", "cached_method", "lru_cache"]

P = ParamSpec("P")
R = TypeVar("R")

Tags: TypeAlias = Iterable[str] | Callable[..., Iterable[str]]
TtlOption: TypeAlias = Ttl | Callable[[Any], Ttl] | EllipsisType

_core._set_figure_types(CacheInfo, CacheStats)

# What becomes a function only when it is looked up on a class.
_DESCRIPTORS = (classmethod, staticmethod, property, functools.cached_property, functools.partialmethod)

# What asyncio.iscoroutinefunction() looks for, where it does.
_COROUTINE_MARK = getattr(asyncio.coroutines, "_is_coroutine", None)


@overload
def cached(maxsize: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def cached(
    maxsize: int | None = 1024,
    typed: bool = False,
    *,
    ttl: TtlOption = ...,
    policy: Policy = "adaptive",
    key: Callable[..., Any] | None = None,
    ignore: Iterable[str] = (),
    tags: Tags = (),
    condition: Callable[[Any], object] | None = None,
    negative_ttl: Ttl = None,
    stale_ttl: Ttl = None,
    refresh_ahead: float | None = None,
    jitter: float = 0.0,
    copy: Callable[[Any], Any] | None = None,
    vary: Iterable[Callable[[], Any]] = (),
    wait_timeout: Ttl = None,
    cache: Cache[Any, Any] | CacheBackend | None = None,
    name: str | None = None,
    as_function: bool = False,
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
def cached(maxsize: Any = 1024, typed: bool = False, **options: Any) -> Any:
    """Cache the results of a function, sync or async: ``@cached`` or ``@cached(...)``.

    ``f(1)``, ``f(x=1)`` and a default of 1 are one entry; arguments compare as keys of a ``dict``.
    Concurrent misses of one call run the function once, whichever threads and event loops they come from; a
    call that would wait for itself, directly or through others, runs the function inline. An exception
    reaches every caller that waits, each as one of its own, and is not stored; so does a ``CancelledError``
    that the function raises. ``SystemExit`` and the like reach the caller that runs the function, and the
    others call it again. An invalidation wins over a load that began before it: nobody who calls later gets
    its result, and nothing of it is stored.

    Args:
        maxsize: entries held; ``None`` for no bound, 0 for none.
        typed: whether arguments of different types differ, 1 and 1.0 for example.
        ttl: lifetime of a result: seconds, a ``timedelta``, ``"5m"``, ``None`` for ever, or a callable of
            the result (which may answer 0: do not store). ``config.CACHE_TTL`` unless given; with *cache*,
            that cache's own.
        policy: as of :class:`Cache`.
        key: ``key(*args, **kwargs)`` makes the key. Whatever else the function reads must be in it: for one
            that asks ``current_user``, a context variable, ``key=lambda page: (current_user.get(), page)``.
        ignore: names of parameters that are no part of the key.
        tags: strings for :meth:`Cache.invalidate_tags`; ``"user:{id}"`` is filled from the arguments when
            the call begins; or a callable of the arguments, asked when the function has returned.
        condition: ``condition(result)`` decides whether it is stored.
        negative_ttl: how long an ``Exception`` is remembered and raised again; not at all unless given.
            What is kept is a copy without its frames, in this process only.
        stale_ttl: how long past its *ttl* a result is still served, to all but the one caller that
            refreshes it, and to that one when the function fails.
        refresh_ahead: 0 to 1; a hit near its expiry may refresh early, by chance, the earlier the longer
            the function takes (XFetch; 1 is the published beta).
        jitter: 0 to 1; share of the *ttl* that chance may take away, so that entries do not expire together.
        copy: ``copy(result)`` makes what each caller gets, for results that callers change.
        vary: callables without arguments whose values are part of the key, asked at each call:
            ``vary=(current_user.get,)``.
        wait_timeout: how long a call waits for one that is at work for the same key; :class:`LoadTimeout`
            then. Needed where a function waits for a thread or a task that calls it with the same
            arguments: such a wait is noticed, and the function run inline, only on
            ``concurrent.futures`` and ``Thread.join()``.
        cache: a :class:`Cache` to share, or a :class:`CacheBackend` such as :class:`TieredCache`, in place
            of a cache of its own; *maxsize* and *policy* are then the cache's. ``cache_clear()`` empties
            what is in this process.
        name: what reports call it; also parts the functions that share a *cache*. The qualified name unless
            given.
        as_function: give back a real function, for frameworks that insist on one; a hit then costs a Python
            frame, and ``cache_invalidate()`` and the like of a method take the instance first.

    Returns:
        A callable with the function's signature, and ``cache_info()``, ``cache_clear()``,
        ``cache_parameters()``, ``cache_key()``, ``cache_contains()``, ``cache_invalidate()``,
        ``cache_refresh()``, ``stats()`` and ``cache``.

    Raises:
        ConfigurationError: an option is out of range; the message names it.
        TypeError: an option has the wrong type, or the function is one whose results cannot be shared: a
            generator, or a ``classmethod``, ``staticmethod`` or ``property`` (put the decorator below). A
            function that returns an awaitable without being ``async def`` raises it at its first call.
    """
    if _is_function(maxsize):
        return _Options(1024, False).decorate(maxsize)
    return _Options(maxsize, typed, **options).decorate


@overload
def cached_method(maxsize: Callable[Concatenate[Any, P], R], /) -> CachedMethod[P, R]: ...
@overload
def cached_method(
    maxsize: int | None = 1024,
    typed: bool = False,
    *,
    ttl: TtlOption = ...,
    policy: Policy = "adaptive",
    key: Callable[..., Any] | None = None,
    ignore: Iterable[str] = (),
    tags: Tags = (),
    condition: Callable[[Any], object] | None = None,
    negative_ttl: Ttl = None,
    stale_ttl: Ttl = None,
    refresh_ahead: float | None = None,
    jitter: float = 0.0,
    copy: Callable[[Any], Any] | None = None,
    vary: Iterable[Callable[[], Any]] = (),
    wait_timeout: Ttl = None,
    name: str | None = None,
) -> Callable[[Callable[Concatenate[Any, P], R]], CachedMethod[P, R]]: ...
def cached_method(maxsize: Any = 1024, typed: bool = False, **options: Any) -> Any:
    """:func:`cached` for methods: each instance has a cache of its own, which dies with it.

    The options are those of :func:`cached`, without ``cache`` and ``as_function``; *maxsize* counts per
    instance. ``instance.method.cache_info()`` and the like speak of that instance. The instance needs no
    hash, but a ``__dict__`` and weak references, as ordinary classes have.
    """
    if _is_function(maxsize):
        return _make_method(maxsize, _Options(1024, False))
    for option in ("cache", "as_function"):
        if option in options:
            raise TypeError(f"{option}={options[option]!r}: cached_method has no such option")
    chosen = _Options(maxsize, typed, **options)
    return lambda function: _make_method(function, chosen)


@overload
def lru_cache(maxsize: Callable[P, R], /, typed: bool = False) -> CachedFunction[P, R]: ...
@overload
def lru_cache(
    maxsize: int | None = 128, typed: bool = False
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
def lru_cache(maxsize: Any = 128, typed: bool = False) -> Any:
    """:func:`functools.lru_cache`, faster: its contract and nothing else.

    No lifetime, no single-flight, keys as the arguments were written (keyword order counts), a negative
    *maxsize* is 0.
    """
    if callable(maxsize) and isinstance(typed, bool):
        return _make_lru(maxsize, 128, typed)
    if maxsize is not None and not isinstance(maxsize, int):
        raise TypeError("Expected first argument to be an integer, a callable, or None")
    size = None if maxsize is None else max(int(maxsize), 0)
    return lambda function: _make_lru(function, size, bool(typed))


def _is_function(first: Any) -> bool:
    """Whether the first argument of a decorator is what it decorates, rather than its first option."""
    return isinstance(first, _DESCRIPTORS) or (callable(first) and not isinstance(first, int))


def _make_lru(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    if not callable(function):
        raise TypeError("the first argument must be callable")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    parameters = {"maxsize": maxsize, "typed": typed}
    plan = functools_plan(name, typed)
    terms = (None, 0.0, 0, 0, 0.0, None, None, None, None, None, True)
    made = CachedFunction(
        function, _private_cache(maxsize, "lru"), plan, terms, parameters, None, False, True
    )
    return _finish(made, function, name)


class _Options:
    """The options of one decoration, checked."""

    def __init__(
        self,
        maxsize: Any,
        typed: Any,
        *,
        ttl: Any = ...,
        policy: Any = "adaptive",
        key: Any = None,
        ignore: Any = (),
        tags: Any = (),
        condition: Any = None,
        negative_ttl: Any = None,
        stale_ttl: Any = None,
        refresh_ahead: Any = None,
        jitter: Any = 0.0,
        copy: Any = None,
        vary: Any = (),
        wait_timeout: Any = None,
        cache: Any = None,
        name: Any = None,
        as_function: Any = False,
    ) -> None:
        flag("typed", typed)
        flag("as_function", as_function)
        for option, hook in (("condition", condition), ("copy", copy)):
            if hook is not None:
                function(option, hook)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name={name!r}: expected a str or None")
        choice("policy", policy, _core.CACHE_POLICIES)
        if cache is not None and not isinstance(cache, (Cache, CacheBackend)):
            raise TypeError(f"cache={cache!r}: expected a Cache, a CacheBackend such as TieredCache, or None")
        self.maxsize = check_maxsize(maxsize)
        self.typed = typed
        self.policy = policy
        self.key = key
        self.ignore = ignore
        self.tags = tags
        self.condition = condition
        self.copy = copy
        self.vary = vary
        self.wait_ns = nanoseconds("wait_timeout", wait_timeout)
        self.cache: Cache[Any, Any] | CacheBackend | None = cache
        self.name = name
        self.as_function = as_function
        self.ttl_of: Callable[[Any], int | None] | None = None
        self.ttl_ns: int | None = None
        self._set_ttl(ttl)
        self.ttl = ttl
        self.negative_ns = nanoseconds("negative_ttl", negative_ttl) or 0
        self.stale_ns = nanoseconds("stale_ttl", stale_ttl) or 0
        self.refresh_ahead = _share("refresh_ahead", refresh_ahead)
        self.jitter = _share("jitter", jitter)
        if cache is not None and not isinstance(cache, Cache):
            _backend.check_options(cache, self)

    def _set_ttl(self, ttl: Any) -> None:
        if callable(ttl):
            self.ttl_of = functools.partial(_ttl_of_result, ttl)
        elif ttl is not ...:
            self.ttl_ns = nanoseconds("ttl", ttl)
        elif isinstance(self.cache, Cache):
            self.ttl_ns = self.cache._ttl_nanoseconds()
        elif isinstance(self.cache, _backend.LifetimeBackend):
            self.ttl_ns = nanoseconds("ttl", self.cache.ttl)
        else:
            self.ttl_ns = nanoseconds("ttl", config.CACHE_TTL)

    def decorate(self, function: Callable[..., Any]) -> Any:
        made = self.make(function, method=False)
        return _as_function(made, function) if self.as_function else made

    def make(self, function: Callable[..., Any], *, method: bool) -> Any:
        is_async = _check_function(function)
        name = _name_of(function)
        signature = signature_of(function, method=method)
        prefix = None
        if self.cache is not None:
            if self.name is None and not hasattr(function, "__qualname__"):
                raise TypeError(
                    f"name=None: {function!r} has none of its own to tell it from others in the cache"
                )
            prefix = self.name or f"{getattr(function, '__module__', '')}.{name}"
        plan = compile_plan(
            name,
            signature,
            typed=self.typed,
            key=self.key,
            ignore=self.ignore,
            prefix=prefix,
            vary=self.vary,
        )
        cache, adapter = self._storage()
        made = CachedFunction(
            function, cache, plan, self._terms(signature), self._parameters(), adapter, is_async, False
        )
        if self.cache is not None and not isinstance(self.cache, Cache):
            _backend.attach(made, self.cache)
        return _finish(made, function, self.name or name, register=self.cache is None and not method)

    def _storage(self) -> tuple[Cache[Any, Any], Any]:
        if self.cache is None:
            return _private_cache(self.maxsize, self.policy), None
        if isinstance(self.cache, Cache):
            return self.cache, None
        memory = self.cache.memory
        if memory is None:  # for the failures that are remembered, and nothing else
            memory = _private_cache(self.maxsize if self.negative_ns else 0, self.policy)
        return memory, _backend.make_adapter(self.cache, self)

    def _terms(self, signature: inspect.Signature | None) -> Plan:
        tags_of, are_early = tag_maker(self.tags, signature)
        return (
            self.ttl_ns,
            self.jitter,
            self.negative_ns,
            self.stale_ns,
            self.refresh_ahead,
            self.wait_ns,
            self.ttl_of,
            self.condition,
            self.copy,
            tags_of,
            are_early,
        )

    def _parameters(self) -> dict[str, Any]:
        ttl = self.ttl if self.ttl_of is not None or self.ttl_ns is None else self.ttl_ns / 1e9
        if isinstance(self.cache, Cache):
            return {
                "maxsize": self.cache.maxsize,
                "typed": self.typed,
                "ttl": ttl,
                "policy": self.cache.policy,
            }
        return {"maxsize": self.maxsize, "typed": self.typed, "ttl": ttl, "policy": self.policy}


def _share(option: str, value: Any) -> float:
    if value is None:
        return 0.0
    return number(option, value, 0, 1)


def _ttl_of_result(ttl: Callable[[Any], Any], result: Any) -> int | None:
    answer = ttl(result)
    if isinstance(answer, timedelta):
        answer = answer.total_seconds()
    is_number = isinstance(answer, (int, float)) and not isinstance(answer, bool)
    if is_number and not math.isnan(answer) and answer <= 0:
        return 0
    return nanoseconds("ttl", answer)


def _check_function(function: Any) -> bool:
    """Whether *function* is a coroutine function."""
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    if isinstance(target, _DESCRIPTORS):
        raise TypeError(f"{function!r}: put the decorator below @{type(target).__name__}")
    if not callable(function):
        raise TypeError(f"expected a function, not {function!r}")
    call = target if inspect.isroutine(target) or isinstance(target, type) else type(target).__call__
    for candidate in (target, call):
        if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(f"{function!r} is a generator: what it yields can be consumed only once")
    return any(
        inspect.iscoroutinefunction(candidate)
        or (_COROUTINE_MARK is not None and getattr(candidate, "_is_coroutine", None) is _COROUTINE_MARK)
        for candidate in (target, call)
    )


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name


def _private_cache(maxsize: int | None, policy: Policy) -> Cache[Any, Any]:
    """A cache that reports know only through its function."""
    made: Cache[Any, Any] = Cache.__new__(Cache)
    made._name = None
    made._policy = policy
    made._configure(maxsize, policy, None, None, None, None, None)
    return made


def _finish(made: Any, function: Callable[..., Any], name: str, *, register: bool = True) -> Any:
    functools.update_wrapper(made, function)
    if not hasattr(made, "__qualname__"):
        made.__qualname__ = _name_of(function)
        made.__name__ = made.__qualname__.rpartition(".")[2]
    made.name = name
    if made._is_async:
        if _COROUTINE_MARK is not None:
            made._is_coroutine = _COROUTINE_MARK
        mark = getattr(inspect, "markcoroutinefunction", None)  # CPython 3.12 and newer
        if mark is not None:
            mark(made)
    if register:
        _registry.register_cache(made)
    return made


def _as_function(made: Any, function: Callable[..., Any]) -> Any:
    """A real function in front of *made*, with the same attributes."""
    if made._is_async:

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await made(*args, **kwargs)

        wrapper: Any = call_async
    else:

        def call(*args: Any, **kwargs: Any) -> Any:
            return made(*args, **kwargs)

        wrapper = call
    functools.update_wrapper(wrapper, function)
    for attribute in (
        "cache",
        "cache_clear",
        "cache_contains",
        "cache_info",
        "cache_invalidate",
        "cache_key",
        "cache_parameters",
        "cache_refresh",
        "name",
        "stats",
    ):
        setattr(wrapper, attribute, getattr(made, attribute))
    return wrapper


def _make_method(function: Callable[..., Any], options: _Options) -> Any:
    prototype = options.make(function, method=True)
    slot = f"_cached_{prototype.__name__}_{id(prototype):x}"
    make_cache = functools.partial(_private_cache, options.maxsize, options.policy)
    made: Any = _core.CachedMethod(prototype, make_cache, slot)
    return functools.update_wrapper(made, function)
