"""Who waits for whom outside of the caches: on executors and threads, as the interpreter shows it."""

from __future__ import annotations

import concurrent.futures as futures
import concurrent.futures.thread as executor
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

__all__ = ["leads_here"]

_DEEPEST = 200
_WORK: CodeType = executor._WorkItem.run.__code__
_RESULT: frozenset[CodeType] = frozenset((futures.Future.result.__code__, futures.Future.exception.__code__))
_WAIT: CodeType = futures.wait.__code__
_JOIN: CodeType = threading.Thread.join.__code__


def leads_here(thread: int) -> bool:
    """Whether *thread* waits for this one, directly or through other threads, so that it would never end.

    Seen are ``Future.result()``, ``Future.exception()`` and ``wait()`` of :mod:`concurrent.futures` on work
    of a ``ThreadPoolExecutor``, and ``Thread.join()``.
    """
    frames = sys._current_frames()
    here = threading.get_ident()
    workers = {id(work): ident for ident, frame in frames.items() for work in _works_on(frame)}
    asked: set[int] = set()
    pending = [thread]
    while pending:
        ident = pending.pop()
        if ident == here:
            return True
        if ident in asked or ident not in frames:
            continue
        asked.add(ident)
        for awaited in _awaits(frames[ident]):
            if isinstance(awaited, threading.Thread):
                pending.append(awaited.ident or 0)
            elif id(awaited) in workers:
                pending.append(workers[id(awaited)])
    return False


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_DEEPEST):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _works_on(frame: FrameType) -> Iterator[Any]:
    """The futures whose work runs in the stack of *frame*."""
    for one in _stack(frame):
        if one.f_code is _WORK:
            yield one.f_locals["self"].future


def _awaits(frame: FrameType) -> Iterator[Any]:
    """What the innermost frames of the stack wait for: futures and threads."""
    for one in _stack(frame):
        if one.f_code in _RESULT or one.f_code is _JOIN:
            yield one.f_locals.get("self")
            return
        if one.f_code is _WAIT:
            yield from one.f_locals.get("fs", ())
            return
