"""Compiles a function's signature into the plan by which the native core keys its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from .. import _core
from ..errors import ConfigurationError

__all__ = ["compile_plan", "functools_plan", "signature_of"]

# KeyPlan::Shape in bindings/cache/key_plan.h.
NONE, ONE, FIXED, VARIADIC, FUNCTOOLS, CALLABLE = range(6)

Plan = tuple[Any, ...]


def signature_of(function: Callable[..., Any], *, method: bool = False) -> inspect.Signature | None:
    """The signature without ``self`` for a *method*; ``None`` where the interpreter knows none."""
    try:
        signature = inspect.signature(function)
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
    return (FUNCTOOLS, (), (), 0, 0, (), True, True, name, None, None, typed)


def compile_plan(
    name: str,
    signature: inspect.Signature | None,
    *,
    typed: bool,
    key: Callable[..., Any] | None,
    ignore: Iterable[str],
    prefix: str | None,
) -> Plan:
    """The plan of a function called *name*.

    Raises:
        ConfigurationError: *ignore* names no parameter, or comes together with *key*.
    """
    ignored = _ignored(ignore)
    if key is not None:
        if not callable(key):
            raise TypeError(f"key={key!r}: expected a callable or None")
        if ignored:
            raise ConfigurationError(f"ignore={ignored!r}: expected nothing when key= makes the key")
        return (CALLABLE, (), (), 0, 0, (), True, True, name, prefix, key, typed)
    if signature is None:
        if ignored:
            raise ConfigurationError(f"ignore={ignored!r}: {name}() has no signature to look at")
        return (VARIADIC, (), (), 0, 0, (), True, True, name, prefix, None, typed)
    return _from_signature(name, signature, typed, ignored, prefix)


def _ignored(ignore: Iterable[str]) -> tuple[str, ...]:
    if isinstance(ignore, str):
        raise TypeError(f"ignore={ignore!r}: expected a sequence of parameter names, not one str")
    ignored = tuple(ignore)
    for item in ignored:
        if not isinstance(item, str):
            raise TypeError(f"ignore={ignored!r}: expected parameter names, not {item!r}")
    return ignored


def _from_signature(
    name: str, signature: inspect.Signature, typed: bool, ignored: tuple[str, ...], prefix: str | None
) -> Plan:
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
    if more or keywords:
        shape = VARIADIC
    elif prefix is None and not ignored and len(fixed) < 2:
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
        None,
        typed,
    )
