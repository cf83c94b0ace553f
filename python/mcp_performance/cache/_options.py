"""The options of one decoration, checked, and what they make of a function."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .. import _core, config
from .._base import _registry
from .._base._async_functions import COROUTINE_MARK, is_async
from .._base._checks import choice, flag, function, number, optional_text
from .._base._durations import nanoseconds
from .._core import CachedFunction
from . import _backend, _pydantic  # noqa: F401  (pydantic finds what the latter sets)
from ._backend import CacheBackend
from ._cache import Cache, Policy, check_maxsize
from ._key import Plan, compile_plan, signature_of
from ._registered import has_frameworks, refuse_registered, says_error
from ._tags import tag_maker

__all__ = ["DESCRIPTORS", "Options", "finish", "name_of", "private_cache"]

# What becomes a function only when it is looked up on a class.
DESCRIPTORS = (classmethod, staticmethod, property, functools.cached_property, functools.partialmethod)


class Options:
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
        self.name = optional_text("name", name)
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
            self.ttl_of = functools.partial(_ttl_of_result, function("ttl", ttl))
        elif ttl is not ...:
            self.ttl_ns = nanoseconds("ttl", ttl)
        elif isinstance(self.cache, Cache):
            self.ttl_ns = self.cache._ttl_nanoseconds()
        elif isinstance(self.cache, _backend.LifetimeBackend):
            self.ttl_ns = nanoseconds("ttl", self.cache.ttl)
        else:
            self.ttl_ns = nanoseconds("ttl", config.CACHE_TTL)

    def decorate(self, function: Callable[..., Any]) -> Any:
        refuse_registered(function)
        made = self.make(function, method=False)
        return _as_function(made, function) if self.as_function else made

    def make(self, function: Callable[..., Any], *, method: bool) -> Any:
        is_async = _check_function(function)
        name = name_of(function)
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
        cache, adapter = self._storage(prefix or name)
        made = CachedFunction(
            function, cache, plan, self._terms(signature), self._parameters(), adapter, is_async, False
        )
        if self.cache is not None and not isinstance(self.cache, Cache):
            _backend.attach(made, self.cache, adapter)
        return finish(made, function, self.name or name, register=self.cache is None and not method)

    def _storage(self, scope: str) -> tuple[Cache[Any, Any], Any]:
        if self.cache is None:
            return private_cache(self.maxsize, self.policy), None
        if isinstance(self.cache, Cache):
            return self.cache, None
        memory = self.cache.memory
        if memory is None:  # for the failures that are remembered, and nothing else
            memory = private_cache(self.maxsize if self.negative_ns else 0, self.policy)
        return memory, _backend.make_adapter(self.cache, self, scope)

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
            _condition(self.condition),
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


def _condition(given: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
    """*given*, and where there can be results of MCP's, that they are no errors."""
    if not has_frameworks():
        return given
    return lambda result: not says_error(result) and (given is None or given(result))


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
    if isinstance(target, DESCRIPTORS):
        raise TypeError(f"{function!r}: put the decorator below @{type(target).__name__}")
    if not callable(function):
        raise TypeError(f"expected a function, not {function!r}")
    call = target if inspect.isroutine(target) or isinstance(target, type) else type(target).__call__
    for candidate in (target, call):
        if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(f"{function!r} is a generator: what it yields can be consumed only once")
    return is_async(target)


def name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name


def private_cache(maxsize: int | None, policy: Policy) -> Cache[Any, Any]:
    """A cache that reports know only through its function."""
    made: Cache[Any, Any] = Cache.__new__(Cache)
    made._name = None
    made._policy = policy
    made._configure(maxsize, policy, None, None, None, None, None)
    return made


def finish(made: Any, function: Callable[..., Any], name: str, *, register: bool = True) -> Any:
    functools.update_wrapper(made, function)
    if not hasattr(made, "__qualname__"):
        made.__qualname__ = name_of(function)
        made.__name__ = made.__qualname__.rpartition(".")[2]
        call = getattr(function, "__call__", None)  # noqa: B004  (its text, not whether it is there)
        if made.__doc__ is None and inspect.ismethod(call):
            made.__doc__ = call.__doc__
    made.name = name
    if made._is_async:
        if COROUTINE_MARK is not None:
            made._is_coroutine = COROUTINE_MARK
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


# A framework that makes another function of a bound method's parts (FastMCP, of its annotations) gets one
# that asks the cache.
_core._set_plain_maker(lambda made: _as_function(made, made.__wrapped__))
