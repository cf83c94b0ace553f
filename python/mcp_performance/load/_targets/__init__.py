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
from ._session import McpCall, WebSocketCall, split_url
from ._target import Target, TargetOptions, TargetSpec
from ._users import UserTarget

__all__ = [
    "AsgiTarget",
    "AsyncTarget",
    "HttpTarget",
    "McpCall",
    "SyncTarget",
    "Target",
    "TargetOptions",
    "TargetSpec",
    "UserTarget",
    "WebSocketCall",
    "make_target",
    "split_url",
    "takes_asgi",
    "takes_user",
]


def make_target(target: Any, options: TargetOptions) -> Target:
    """The target that *target* is: a URL, None, an ASGI app or a callable. Raises ``TypeError``."""
    made = _made(target, options)
    if options.http2 and not made.http:
        raise ConfigurationError("http2=True: expected a URL as the target")
    return made


def _made(target: Any, options: TargetOptions) -> Target:
    if options.url is not None and not takes_user(target):
        raise ConfigurationError(f"url={options.url!r}: expected none without a function of a user")
    if isinstance(target, TargetSpec):
        return target.target(options)
    if target is None:
        _refuse_what_users_have(options)
        return SampleTarget(options)
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return HttpTarget(target, options)
    if not callable(target):
        raise TypeError(f"target={target!r}: expected a URL, an ASGI app or a callable")
    function: Any = target
    if takes_user(target):
        return UserTarget(function, options)
    _refuse_what_users_have(options)
    if takes_asgi(target):
        return AsgiTarget(function, options)
    for name, value in (("scenario", options.scenario), ("headers", options.headers)):
        if value:
            raise ConfigurationError(
                f"{name}={value!r}: expected none with a callable, which is called without arguments"
            )
    return AsyncTarget(function) if is_async(function, wrapped=True) else SyncTarget(function)


def _refuse_what_users_have(options: TargetOptions) -> None:
    for name, value in options.of_users.items():
        raise ConfigurationError(f"{name}={value!r}: expected a URL as the target, or a function of a user")


def takes_asgi(target: Any) -> bool:
    """Whether *target* must be called as ``(scope, receive, send)``."""
    return _required(target) == 3


def takes_user(target: Any) -> bool:
    """Whether *target* is an async function of one argument, a user."""
    return _required(target) == 1 and is_async(target, wrapped=True)


def _required(target: Any) -> int | None:
    """Positional arguments that *target* has to be given."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return None
    return sum(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )
