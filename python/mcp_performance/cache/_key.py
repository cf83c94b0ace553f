"""Compiles a function's signature into the plan by which the native core keys its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from .. import _core
from .._base._async_functions import returns_value
from .._base._checks import function, texts
from ..errors import ConfigurationError

__all__ = ["compile_plan", "functools_plan", "signature_of"]

# KeyPlan::Shape in bindings/cache/key_plan.h.
NONE, ONE, FIXED = _core.KEY_NONE, _core.KEY_ONE, _core.KEY_FIXED
VARIADIC, FUNCTOOLS, CALLABLE = _core.KEY_VARIADIC, _core.KEY_FUNCTOOLS, _core.KEY_CALLABLE

Plan = tuple[Any, ...]


def signature_of(
    function: Callable[..., Any], *, method: bool = False, follow: bool = True
) -> inspect.Signature | None:
    """The signature without ``self`` for a *method*; ``None`` where the interpreter knows none.

    *follow* to the function that a decorator wraps.
    """
    try:
        signature = inspect.signature(function, follow_wrapped=follow)
    except (TypeError, ValueError):
        return None
    if not method:
        return signature
    parameters = list(signature.parameters.values())
    first = parameters[:1]
    if not first or first[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise TypeError(f"{function!r} takes no self: cached_method is for methods")
    return signature.replace(parameters=parameters[1:])


def functools_plan(name: str, typed: bool) -> Plan:
    """The keys of :func:`functools.lru_cache`: arguments as they were written."""
    return (FUNCTOOLS, (), (), 0, 0, (), True, True, name, None, None, typed, ())


def compile_plan(
    name: str,
    signature: inspect.Signature | None,
    *,
    typed: bool,
    key: Callable[..., Any] | None,
    ignore: Iterable[str],
    prefix: str | None,
    vary: Iterable[Callable[[], Any]] = (),
) -> Plan:
    """The plan of a function called *name*.

    Raises:
        ConfigurationError: *ignore* names no parameter, or comes together with *key*.
        TypeError: *vary* is no sequence of callables.
    """
    ignored = _ignored(ignore)
    varying = _varying(vary)
    if key is not None:
        function("key", key)
        if ignored:
            raise ConfigurationError(f"ignore={ignored!r}: expected nothing when key= makes the key")
        return _from_signature(name, signature, typed, (), prefix, key, varying)
    if signature is None and ignored:
        raise ConfigurationError(f"ignore={ignored!r}: {name}() has no signature to look at")
    return _from_signature(name, signature, typed, ignored, prefix, None, varying)


def _varying(vary: Any) -> tuple[Callable[[], Any], ...]:
    expected = "expected a sequence of callables that take no argument"
    if callable(vary) or isinstance(vary, (str, bytes, Set, Mapping)) or not isinstance(vary, Iterable):
        raise TypeError(f"vary={vary!r}: {expected}")
    varying = tuple(vary)
    for one in varying:
        if not callable(one):
            raise TypeError(f"vary={varying!r}: {expected}, not {one!r}")
        if not returns_value(one):
            raise TypeError(
                f"vary={varying!r}: {one!r} must return its value, not an awaitable or a generator"
            )
        signature = signature_of(one)
        if signature is None:
            continue
        try:
            signature.bind()
        except TypeError as error:
            raise TypeError(
                f"vary={varying!r}: {one!r} cannot be called without arguments: {error}"
            ) from None
    return varying


def _ignored(ignore: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts("ignore", ignore))


def _from_signature(
    name: str,
    signature: inspect.Signature | None,
    typed: bool,
    ignored: tuple[str, ...],
    prefix: str | None,
    key: Callable[..., Any] | None,
    vary: tuple[Callable[[], Any], ...],
) -> Plan:
    if signature is None:
        shape = VARIADIC if key is None else CALLABLE
        return (shape, (), (), 0, 0, (), True, True, name, prefix, key, typed, vary)
    parameters = signature.parameters.values()
    kinds = {kind: [p for p in parameters if p.kind is kind] for kind in inspect._ParameterKind}
    only = kinds[inspect.Parameter.POSITIONAL_ONLY]
    positional = only + kinds[inspect.Parameter.POSITIONAL_OR_KEYWORD]
    fixed = positional + kinds[inspect.Parameter.KEYWORD_ONLY]
    more = bool(kinds[inspect.Parameter.VAR_POSITIONAL])
    keywords = bool(kinds[inspect.Parameter.VAR_KEYWORD])
    known = {p.name for p in fixed}
    for item in ignored:
        if item not in known:
            raise ConfigurationError(f"ignore={ignored!r}: {name}() has no parameter {item!r} to ignore")
    if key is not None:
        shape = CALLABLE
    elif more or keywords:
        shape = VARIADIC
    elif prefix is None and not ignored and not vary and len(fixed) < 2:
        shape = ONE if fixed else NONE
    else:
        shape = FIXED
    names = tuple(p.name for p in fixed)
    defaults = tuple(_core._KEYWORDS if p.default is inspect.Parameter.empty else p.default for p in fixed)
    return (
        shape,
        names,
        defaults,
        len(positional),
        len(only),
        ignored,
        more,
        keywords,
        name,
        prefix,
        key,
        typed,
        vary,
    )


_ANYTHING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _refuse(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise the TypeError of a call that does not fit the signature of the cached *function*.

    Where a decorator below takes other arguments than the signature that it passes on says, its own count,
    unless they are ``*args`` and ``**kwargs``, which say nothing.
    """
    wrapped, is_method = function.__wrapped__, function._is_method
    told = signature_of(wrapped, method=is_method)
    own = signature_of(wrapped, method=is_method, follow=False)
    if told is None or own is None:
        return
    if not any(parameter.kind in _ANYTHING for parameter in own.parameters.values()):
        told = own
    try:
        told.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{function.__qualname__}() {error}") from None


_core._set_call_refuser(_refuse)
