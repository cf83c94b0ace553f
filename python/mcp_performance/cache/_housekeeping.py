"""One daemon thread for all caches: an idle cache gives back the memory of what has expired.

It starts when the first entry that can expire is stored, never at import; sleeps while nothing can expire;
stops at exit; and starts afresh in a forked child.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from types import SimpleNamespace
from typing import Any

from .. import _core

__all__ = ["stop", "watch"]

_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_SLICE = 1000
"""Entries dropped in one hold of the interpreter lock."""


class _Keeper:
    def __init__(self) -> None:
        self._wanted = threading.Condition(threading.Lock())
        self._new: list[weakref.ref[Any]] = []
        self._caches: list[weakref.ref[Any]] = []
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._retry_at = 0.0

    def watch(self, cache: Any) -> bool:
        """Look after *cache*; False if no thread can be started now: the cache asks again."""
        with self._wanted:
            if self._thread is None and not self._stopped and not self._start():
                return False
            self._new.append(weakref.ref(cache))
            self._wanted.notify()
            return True

    def _start(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        thread = threading.Thread(target=self._run, name="mcp-performance-caches", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # a limit of the process or the machine
            self._retry_at = time.monotonic() + _SHORTEST_PAUSE
            return False
        self._thread = thread
        return True

    def stop(self) -> None:
        with self._wanted:
            self._stopped = True
            thread = self._thread
            self._wanted.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def forked(self) -> _Keeper:
        """A fresh keeper of the same caches, for a child process."""
        fresh = _Keeper()
        fresh._caches = [*self._caches, *self._new]
        return fresh

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            with self._wanted:
                if not self._stopped and not self._new:
                    self._wanted.wait(pause)
                if self._stopped:
                    return
                self._caches += self._new
                self._new.clear()
            pause = self.sweep()

    def sweep(self) -> float:
        """Drop what has expired everywhere; seconds until it is worth coming back."""
        due = _LONGEST_PAUSE
        living = []
        for reference in self._caches:
            if (cache := reference()) is None:
                continue
            living.append(reference)
            left = self._expire(cache)
            if left is not None:
                due = min(due, left)
        self._caches = living
        return max(due, _SHORTEST_PAUSE)

    def _expire(self, cache: Any) -> float | None:
        left: float | None = 0.0
        try:
            while left == 0.0 and not self._stopped:
                left = cache._expire(_SLICE)
        except Exception as error:  # a clock of the user's own
            event: Any = SimpleNamespace(
                exc_type=type(error),
                exc_value=error,
                exc_traceback=error.__traceback__,
                err_msg="Exception ignored while dropping expired entries",
                object=cache,
            )
            sys.unraisablehook(event)
        return left


_keeper = _Keeper()


def watch(cache: Any) -> bool:
    """Look after *cache* until it is gone; False if that cannot be now, for want of a thread."""
    return _keeper.watch(cache)


def stop() -> None:
    """End the thread; it does not start again in this process."""
    _keeper.stop()


def _after_fork_in_child() -> None:
    global _keeper
    _keeper = _keeper.forked()
    _core._forget_loads_after_fork()


_core._set_housekeeper(watch)
atexit.register(stop)
os.register_at_fork(after_in_child=_after_fork_in_child)
