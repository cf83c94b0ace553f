"""How pydantic, and with it FastMCP, sees a cached function: as the function that it caches.

Pydantic knows functions by their type, and asks everything else for its schema. Nothing is imported from it.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from .._core import CachedFunction

__all__: list[str] = []


def _with_descriptions(function: Any) -> Any:
    """*function* for its signature alone, with ``Annotated[T, "text"]`` as FastMCP means it: described."""
    if not inspect.isfunction(function):
        return function
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # a name that only the type checker knows
        return function
    described: dict[str, Any] = {}
    for name, hint in hints.items():
        texts = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, str)]
        if len(texts) == 1 == len(hint.__metadata__):
            from pydantic import Field

            hint = typing.Annotated[hint.__origin__, Field(description=texts[0])]
        described[name] = hint
    twin = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__dict__.update(function.__dict__)
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__annotations__ = described
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    return twin


def _schema(self: Any, source: Any, handler: Callable[..., Any], /) -> Any:
    """__get_pydantic_core_schema__(self, source: Any, handler: Callable[..., Any], /) -> Any

    The schema of a call of the function, which calls this.
    """
    function = _with_descriptions(self.__wrapped__)
    if not inspect.isroutine(function) and not isinstance(function, functools.partial | type):
        function = function.__call__  # of an object that can be called
        if inspect.ismethod(function):
            function = types.MethodType(_with_descriptions(function.__func__), function.__self__)
    instance = self._instance
    seen = function if instance is None else types.MethodType(function, instance)
    schema = handler.generate_schema(seen)  # type: ignore[attr-defined]
    call = schema
    while call.get("type") != "call":  # inside of definitions, for example
        call = call["schema"]
    call["function"] = self
    return schema


CachedFunction.__get_pydantic_core_schema__ = _schema  # type: ignore[method-assign]
