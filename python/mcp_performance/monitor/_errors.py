"""What a failure is counted as."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from .. import _core

__all__ = ["CLIENT_LEFT", "client_left", "error_name", "status_of"]

CLIENT_LEFT = frozenset(_core.CLIENT_LEFT)
"""What is raised where a client went away: no failure of the server."""


def error_name(raised: BaseException) -> str:
    """The class of *raised*; of a group whose members are all of one class, that class."""
    if isinstance(raised, BaseExceptionGroup):
        kinds = {type(one).__name__ for one in _members(raised)}
        if len(kinds) == 1:
            return kinds.pop()
    return type(raised).__name__


def _members(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _members(one)
        else:
            yield one


def status_of(sent: int | None, error: str) -> int:
    """What a response counts as: the status that was *sent*, whatever was raised after it; without one 500,
    or 499, nginx's, where the client had left."""
    if error in CLIENT_LEFT and (sent is None or sent >= 500):
        return 499
    return 500 if sent is None else sent


def client_left(receive: Any) -> str:
    """Of an application that returned without an answer: ``"ClientDisconnect"`` if its client is known to be
    gone, else nothing. Never waits."""
    try:
        asked = receive()
    except Exception:  # the server's own affair
        return ""
    if not inspect.iscoroutine(asked):
        return ""
    try:
        asked.send(None)
    except StopIteration as answered:
        message = answered.value
        gone = isinstance(message, dict) and message.get("type") == "http.disconnect"
        return "ClientDisconnect" if gone else ""
    except Exception:
        return ""
    finally:
        asked.close()
    return ""
