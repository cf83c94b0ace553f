"""What a load test can be pointed at: a URL, an ASGI app, an async or a sync callable."""

from __future__ import annotations

import inspect
from typing import Any

from ..._base._async_functions import is_async
from ...errors import ConfigurationError
from ._asgi import AsgiTarget
from ._callable import AsyncTarget, SyncTarget
from ._http import HttpTarget
from ._sample import SampleTarget
from ._target import Target, TargetOptions

__all__ = [
    "AsgiTarget",
    "AsyncTarget",
    "HttpTarget",
    "SyncTarget",
    "Target",
    "TargetOptions",
    "make_target",
    "takes_asgi",
]


def make_target(target: Any, options: TargetOptions) -> Target:
    """The target that *target* is: a URL, None, an ASGI app or a callable. Raises ``TypeError``."""
    if options.http2 and not isinstance(target, str):
        raise ConfigurationError("http2=True: expected a URL as the target")
    if target is None:
        return SampleTarget(options)
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return HttpTarget(target, options)
    if not callable(target):
        raise TypeError(f"target={target!r}: expected a URL, an ASGI app or a callable")
    function: Any = target
    if takes_asgi(target):
        return AsgiTarget(function, options)
    for name, value in (("scenario", options.scenario), ("headers", options.headers)):
        if value:
            raise ConfigurationError(
                f"{name}={value!r}: expected none with a callable, which is called without arguments"
            )
    return AsyncTarget(function) if is_async(function, wrapped=True) else SyncTarget(function)


def takes_asgi(target: Any) -> bool:
    """Whether *target* must be called as ``(scope, receive, send)``."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) == 3
