"""The decorators: :func:`cached`, :func:`cached_method` and :func:`lru_cache`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

from .. import _core
from .._base._async_functions import is_async, tells_async
from .._base._durations import nanoseconds
from .._base._stats import CacheInfo, CacheStats, Ttl
from .._core import CachedFunction, CachedMethod
from ._backend import CacheBackend
from ._cache import Cache, Policy
from ._key import functools_plan
from ._options import DESCRIPTORS, Options, finish, private_cache

__all__ = ["cached", "cached_method", "lru_cache"]

P = ParamSpec("P")
R = TypeVar("R")

Tags: TypeAlias = Iterable[str] | Callable[..., Iterable[str]]
TtlOption: TypeAlias = Ttl | Callable[[Any], Ttl] | EllipsisType

_core._set_figure_types(CacheInfo, CacheStats)
_core._set_ttl_parser(nanoseconds)
tells_async(CachedFunction, lambda function: function._is_async)
tells_async(CachedMethod, lambda method: is_async(method.__wrapped__))


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
        condition: ``condition(result)`` decides whether it is stored; a result of MCP's that says ``isError``
            never is.
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
            what is in this process, and in a :class:`TieredCache` ends what this function stored in Redis.
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
        TypeError: an option has the wrong type; the function is registered with an MCP server already (put
            the decorator below the server's); or it is one whose results cannot be shared: a generator, or a
            ``classmethod``, ``staticmethod`` or ``property`` (put the decorator below). A function that
            returns an awaitable without being ``async def`` raises it at its first call.
    """
    if _is_function(maxsize):
        return Options(1024, False).decorate(maxsize)
    chosen = Options(maxsize, typed, **options)
    return lambda function: chosen.decorate(function)  # as deep as above, see refuse_registered()


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
        return _make_method(maxsize, Options(1024, False))
    for option in ("cache", "as_function"):
        if option in options:
            raise TypeError(f"{option}={options[option]!r}: cached_method has no such option")
    chosen = Options(maxsize, typed, **options)
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
    return isinstance(first, DESCRIPTORS) or (callable(first) and not isinstance(first, int))


def _make_lru(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    if not callable(function):
        raise TypeError("the first argument must be callable")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    parameters = {"maxsize": maxsize, "typed": typed}
    plan = functools_plan(name, typed)
    terms = (None, 0.0, 0, 0, 0.0, None, None, None, None, None, True)
    made = CachedFunction(function, private_cache(maxsize, "lru"), plan, terms, parameters, None, False, True)
    return finish(made, function, name)


def _make_method(function: Callable[..., Any], options: Options) -> Any:
    prototype = options.make(function, method=True)
    slot = f"_cached_{prototype.__name__}_{id(prototype):x}"
    make_cache = functools.partial(private_cache, options.maxsize, options.policy)
    made: Any = _core.CachedMethod(prototype, make_cache, slot)
    return functools.update_wrapper(made, function)
