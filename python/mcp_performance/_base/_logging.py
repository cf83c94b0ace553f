"""Carries the native core's log records to :mod:`logging`, under ``mcp_performance.<room>``.

Native threads cannot call Python's logging; they write into a bounded queue. One daemon thread,
started by the first object that owns native threads, empties it.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading

from .. import _core

__all__ = ["deliver_native_logs"]

_logger = logging.getLogger("mcp_performance")
_logger.addHandler(logging.NullHandler())

_lock = threading.Lock()
_thread: threading.Thread | None = None


def deliver_native_logs() -> None:
    """Make sure that records of native threads reach :mod:`logging`, from the level that it has now and
    from each that it is given later.

    Cheap to call again.
    """
    global _thread
    _pass_level_on()
    if _thread is not None:
        return
    with _lock:
        if _thread is None:
            _core._reopen_log()
            thread = threading.Thread(target=_run, name="mcp-performance-log", daemon=True)
            thread.start()  # may fail: the next object tries again
            _thread = thread


def _pass_level_on() -> None:
    _core._set_log_level(max(_lowest_level(), logging.DEBUG))


class _Levels(dict[int, bool]):
    """What the logger remembers of levels that are enabled. :mod:`logging` clears it whenever any logger is
    given a level, which is the only word of that there is."""

    def clear(self) -> None:
        super().clear()
        _pass_level_on()


_logger._cache = _Levels()  # type: ignore[attr-defined]


def _lowest_level() -> int:
    prefix = _logger.name + "."
    rooms = [name for name in list(logging.root.manager.loggerDict) if name.startswith(prefix)]
    return min(logging.getLogger(name).getEffectiveLevel() for name in (_logger.name, *rooms))


def _run() -> None:
    closed = False
    while not closed:
        records, dropped, closed = _core._wait_log(3600.0)
        for level, room, message in records:
            _logger.getChild(room).log(level, "%s", message)
        if dropped:
            _logger.warning("%d native log records were dropped", dropped)


def _stop() -> None:
    global _thread
    thread, _thread = _thread, None
    if thread is not None:
        _core._close_log()
        thread.join(timeout=5.0)


def _after_fork_in_child() -> None:
    global _thread, _lock
    _thread, _lock = None, threading.Lock()
    _core._after_fork_in_child()


atexit.register(_core._close_gil_gate)
atexit.register(_stop)
# Registered first of all handlers of this package: it holds the thread states when the others, which
# may wait for threads, have done so.
os.register_at_fork(
    before=_core._hold_thread_states_before_fork,
    after_in_parent=_core._free_thread_states_after_fork,
    after_in_child=_after_fork_in_child,
)
