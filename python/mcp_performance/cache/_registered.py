"""Whether a function is a tool of an MCP server already: calls over MCP then go past its cache."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["has_frameworks", "refuse_registered", "says_error"]

_FRAMEWORKS = ("fastmcp", "mcp")
_HOLDERS = ("fn", "raw_function")  # the names under which they keep it


def has_frameworks() -> bool:
    """Whether there can be tools in this process."""
    return any(name in sys.modules for name in _FRAMEWORKS)


def _references(function: Any) -> int:
    return sys.getrefcount(function)


def _refuse(function: Any) -> int:
    return _references(function)


def _decorate(function: Any) -> int:
    return _refuse(function)


def _cached(function: Any) -> int:
    return _decorate(function)


# Of a function that is handed on as often as it is to refuse_registered(), and that nobody else has.
_FRESH = _cached(lambda: None)


def refuse_registered(function: Callable[..., Any]) -> None:
    """Raise :class:`TypeError` for a function that FastMCP or the MCP SDK has registered.

    Asking who holds it takes some 20 ms, so it is done where somebody does besides the callers.
    """
    if not has_frameworks() or _references(function) <= _FRESH:
        return
    for holder in gc.get_referrers(function):
        if isinstance(holder, dict) and any(holder.get(name) is function for name in _HOLDERS):
            raise TypeError(
                f"{function!r} is registered with an MCP server already, whose calls would not be cached:"
                " put @cached below the server's decorator"
            )


def says_error(result: Any) -> bool:
    """Whether *result* is one of MCP's that says ``isError``."""
    if isinstance(result, dict):
        return result.get("isError") is True and "content" in result
    if not any(
        cls.__module__.partition(".")[0] in ("fastmcp", "mcp", "mcp_types") for cls in type(result).__mro__
    ):
        return False
    return any(getattr(result, name, False) is True for name in ("is_error", "isError"))
