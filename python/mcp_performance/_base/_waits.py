"""Who waits for whom outside of this package: threads and tasks, as the interpreter and asyncio show it.

Seen are, from a thread: ``Future.result()``, ``Future.exception()``, ``wait()`` and ``as_completed()`` of
:mod:`concurrent.futures` on work of a ``ThreadPoolExecutor`` or of ``run_coroutine_threadsafe``,
``Thread.join()``, and the main task of a loop that runs on it. From a task: tasks and futures that it awaits,
also through ``gather``, ``wait``, ``wait_for``, ``shield``, ``TaskGroup``, ``run_in_executor`` and
``to_thread``; and the thread of its loop. Not seen are events, queues and locks. A wait for the first of
several counts where there is only one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import concurrent.futures.thread as executor
import sys
import threading
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

__all__ = ["leads_here", "name_of", "reached_from"]

_DEEPEST = 200
_MOST_NODES = 1000
_WORK: CodeType = executor._WorkItem.run.__code__
_RESULT: frozenset[CodeType] = frozenset((futures.Future.result.__code__, futures.Future.exception.__code__))
_WAIT: CodeType = futures.wait.__code__
_AS_COMPLETED: CodeType = futures.as_completed.__code__
_JOIN: CodeType = threading.Thread.join.__code__
_RUN: CodeType = asyncio.BaseEventLoop.run_until_complete.__code__
_AIO_WAIT: CodeType = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]
_WAIT_FOR: CodeType = asyncio.wait_for.__code__
# Callbacks by which one future waits for another, and the variable that holds that one.
_CHAINS = {
    "_chain_future.<locals>._call_check_cancel": "source",
    "shield.<locals>._outer_done_callback": "inner",
}
_QUEUED = "run_coroutine_threadsafe.<locals>.callback"


def leads_here(start: Any, blocks: bool) -> bool:
    """Whether *start*, a task or the number of a thread, waits for the caller, so that it would never end.

    Args:
        start: who is asked about.
        blocks: whether the caller stops its thread, and with it every task of the loop that runs there;
            otherwise it is the running task that waits.
    """
    caller = threading.get_ident() if blocks else _running_task()
    return caller is not None and name_of(caller) in reached_from(start)


def name_of(node: Any) -> int:
    """What :func:`reached_from` calls a task or the number of a thread."""
    if isinstance(node, _Loop):
        return -node.thread
    return -node if isinstance(node, int) else id(node)


def reached_from(start: Any) -> set[int]:
    """The names of all that *start* waits for, and its own."""
    seen: set[tuple[int, bool]] = set()
    pending = [start]
    walk = _Walk()
    while pending and len(seen) < _MOST_NODES:
        node = pending.pop()
        name = (name_of(node), isinstance(node, _Loop))
        if node is not None and name not in seen:
            seen.add(name)
            pending.extend(walk.awaits(node))
    return {name for name, _ in seen}


class _Loop(NamedTuple):
    """The turns of a loop, for which each of its tasks waits. They come while the thread waits in the loop
    itself, whatever the loop was started for; a call that blocks the thread keeps them away."""

    thread: int


def _running_task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class _Walk:
    """The frames of all threads, taken when the first thread is asked about. They go with the walk: a frame
    that is held keeps what is in it alive, leases of loads among that."""

    def __init__(self) -> None:
        self._frames: dict[int, FrameType] | None = None
        self._workers: dict[int, int] = {}

    def awaits(self, node: Any) -> Iterator[Any]:
        """What *node*, a thread or a task or a future, waits for."""
        if isinstance(node, (int, _Loop)):
            thread = node if isinstance(node, int) else node.thread
            frame = None if thread == threading.get_ident() else self._look().get(thread)
            if frame is not None:  # of another thread: this one runs
                yield from _of_thread(frame, turns=isinstance(node, _Loop))
        elif isinstance(node, futures.Future):
            yield from self._of_result(node)
        elif asyncio.isfuture(node):
            yield from getattr(node, "_children", ())  # gather
            yield from _chained(getattr(node, "_callbacks", None))
            if isinstance(node, asyncio.Task):
                yield from _of_task(node)

    def _look(self) -> dict[int, FrameType]:
        if self._frames is None:
            self._frames = sys._current_frames()
            self._workers = {
                id(one.f_locals["self"].future): ident
                for ident, frame in self._frames.items()
                for one in _stack(frame)
                if one.f_code is _WORK
            }
            del self._frames[threading.get_ident()]  # which holds the walk, and so would hold them all
        return self._frames

    def _of_result(self, future: Any) -> Iterator[Any]:
        self._look()
        worker = self._workers.get(id(future))
        if worker is not None:
            yield worker
        yield from _chained(future._done_callbacks)
        loop = asyncio._get_running_loop()
        for handle in list(getattr(loop, "_ready", ())):  # a coroutine that has yet to begin, here
            if any(cell is future for cell in _cells(getattr(handle, "_callback", None), _QUEUED).values()):
                yield threading.get_ident()


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_DEEPEST):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _of_thread(frame: FrameType, *, turns: bool) -> Iterator[Any]:
    """What the innermost wait in the stack of *frame* is for; with *turns*, up to where its loop runs."""
    for one in _stack(frame):
        if turns and one.f_code is _RUN:
            return
        if one.f_code in _RESULT:
            yield one.f_locals.get("self")
        elif one.f_code is _JOIN:
            yield one.f_locals["self"].ident or 0
        elif one.f_code is _RUN:
            yield one.f_locals.get("future")
        elif one.f_code is _WAIT:
            yield from _all_of(one.f_locals.get("fs", ()), one.f_locals.get("return_when"))
        elif one.f_code is _AS_COMPLETED:
            yield from _all_of(one.f_locals.get("pending", ()), None)
        else:
            continue
        return


def _of_task(task: asyncio.Task[Any]) -> Iterator[Any]:
    waiter = getattr(task, "_fut_waiter", None)
    if waiter is not None:
        yield waiter
    thread = getattr(task.get_loop(), "_thread_id", None)
    if thread is not None:
        yield _Loop(thread)
    inner: Any = task.get_coro()
    for _ in range(_DEEPEST):
        frame = getattr(inner, "cr_frame", None)
        if frame is None:
            return
        yield from _of_coroutine(frame)
        inner = inner.cr_await


def _of_coroutine(frame: FrameType) -> Iterator[Any]:
    if frame.f_code is _AIO_WAIT:
        yield from _all_of(frame.f_locals.get("fs", ()), frame.f_locals.get("return_when"))
    elif frame.f_code is _WAIT_FOR:
        yield frame.f_locals.get("fut")
    elif frame.f_code.co_name in ("__aexit__", "_aexit"):  # a TaskGroup, asyncio's or anyio's
        tasks = getattr(frame.f_locals.get("self"), "_tasks", ())
        if isinstance(tasks, set):
            yield from list(tasks)


def _all_of(awaited: Iterable[Any], return_when: Any) -> list[Any]:
    every = list(awaited)
    return every if return_when == futures.ALL_COMPLETED or len(every) == 1 else []


def _chained(callbacks: Any) -> Iterator[Any]:
    """The futures whose results a future takes over, by its callbacks."""
    for each in list(callbacks or ()):
        callback = each[0] if isinstance(each, tuple) else each
        for name, variable in _CHAINS.items():
            cells = _cells(callback, name)
            if variable in cells:
                yield cells[variable]


def _cells(callback: Any, name: str) -> dict[str, Any]:
    """What the closure *callback* holds by name, if it is the function called *name*."""
    if getattr(callback, "__qualname__", None) != name:
        return {}
    found = {}
    for variable, cell in zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=True):
        try:
            found[variable] = cell.cell_contents
        except ValueError:  # not yet, or no longer
            continue
    return found
