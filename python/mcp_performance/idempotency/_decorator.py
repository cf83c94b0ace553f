"""The decorator for functions that must not do their work twice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from .._base._async_functions import is_async, refuse_single_use
from .._base._checks import flag, instance, optional_text
from .._base._checks import function as checked_function
from .._base._templates import check_template
from ..tiers._keys import encode_key
from ._store import IdempotencyStore, Replay, fingerprint_of

__all__ = ["idempotent"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_default_store: IdempotencyStore | None = None


def idempotent(
    *,
    key: str | Callable[..., str],
    store: IdempotencyStore | None = None,
    scope: str | None = None,
    payload: Callable[..., object] | None = None,
    wait: bool = True,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a sync or a coroutine function run once for each key; repeats get the first result.

    A call that raises leaves no record: a repeat runs again. Calls with one key at the same time run once.

    Args:
        key: a template filled from the arguments, such as ``"order:{order_id}"``, or a callable of them.
        store: where results are kept; one in this process's memory, shared by all, if not given.
        scope: what the key is unique in; the function's full name if not given.
        payload: what must be the same for a repeat, from the arguments; all of them but ``self`` if not
            given. Of plain values.
        wait: wait for a call under way in this process, rather than raise.

    Raises:
        KeyReused: from a call, when its key was used with another payload.
        InProgress: from a call, when another process runs it, or (unless *wait*) this one does.
        SerializationError: from a call, when payload or result are not of plain values. In memory, results
            may be anything.
        ConfigurationError: a template that names no parameter.
    """
    _check_options(key, store, scope, payload, wait)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        inside = f"{function.__module__}.{function.__qualname__}" if scope is None else scope
        signature = inspect.signature(function)
        if isinstance(key, str):
            check_template("key", key, signature)

        def identify(*args: Any, **kwargs: Any) -> tuple[str, str]:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            own = key.format(**bound.arguments) if isinstance(key, str) else key(*args, **kwargs)
            if not isinstance(own, str):
                raise TypeError(f"key= made {own!r}: expected str")
            same = payload(*args, **kwargs) if payload is not None else _plain(bound)
            return fingerprint_of(inside.encode(), own.encode()), fingerprint_of(encode_key(same))

        if is_async(function):
            coroutine_function = cast(Callable[..., Awaitable[Any]], function)

            @functools.wraps(function)
            async def arun(*args: Any, **kwargs: Any) -> Any:
                kept = store or _shared_store()
                found = await kept.abegin(*identify(*args, **kwargs), wait=wait)
                if isinstance(found, Replay):
                    return kept.unpack(found.result)
                try:
                    result = await coroutine_function(*args, **kwargs)
                    refuse_single_use(result)
                    packed = kept.pack(result)
                except BaseException:
                    await found.arelease()
                    raise
                await found.acomplete(packed)
                return result

            return cast(Callable[_P, _R], arun)

        @functools.wraps(function)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            kept = store or _shared_store()
            found = kept.begin(*identify(*args, **kwargs), wait=wait)
            if isinstance(found, Replay):
                return cast(_R, kept.unpack(found.result))
            try:
                result = function(*args, **kwargs)
                refuse_single_use(result)
                packed = kept.pack(result)
            except BaseException:
                found.release()
                raise
            found.complete(packed)
            return result

        return run

    return decorate


def _check_options(key: Any, store: Any, scope: Any, payload: Any, wait: Any) -> None:
    if store is not None:
        instance("store", store, IdempotencyStore, "an IdempotencyStore or None")
    if not (isinstance(key, str) or callable(key)):
        raise TypeError(f"key={key!r}: expected a template or a callable")
    if not isinstance(key, str):
        checked_function("key", key)
    optional_text("scope", scope)
    if payload is not None:
        checked_function("payload", payload)
    flag("wait", wait)


def _shared_store() -> IdempotencyStore:
    global _default_store
    if _default_store is None:
        _default_store = IdempotencyStore()
    return _default_store


def _plain(bound: inspect.BoundArguments) -> tuple[Any, ...]:
    """The arguments as a key of plain values, without the instance or class of a method."""
    found: list[Any] = []
    for position, (name, value) in enumerate(bound.arguments.items()):
        if position == 0 and name in ("self", "cls"):
            continue
        found.append((name, _freeze(value)))
    return tuple(found)


def _freeze(value: Any) -> Any:
    """*value* with lists, sets and dicts as tuples that say what they were."""
    if type(value) is dict:
        items = sorted(
            ((encode_key(key), _freeze(item)) for key, item in value.items()), key=lambda pair: pair[0]
        )
        return ("dict", tuple(items))
    if type(value) in (list, tuple):
        return (type(value).__name__, tuple(map(_freeze, value)))
    if type(value) in (set, frozenset):
        return ("set", tuple(sorted(encode_key(_freeze(item)) for item in value)))
    return value
