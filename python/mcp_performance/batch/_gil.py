"""Notices functions that compute under the interpreter lock, where threads are of no use."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._base._callers import level_outside

__all__ = ["GilBoundWarning", "ThreadUse", "is_gil_bound", "warn_if_gil_bound"]

_SHORT_SECONDS = 0.25  # batches shorter than this are not worth a word
_PARALLEL = 1.3  # cores kept busy, from which on threads are of use
_STARVED = 0.85  # cores kept busy, below which the machine was busy with something else
_SWITCH_SECONDS = 0.005  # how long CPython lets a thread hold the lock that others wait for
_HELD = 0.4  # of the time that a holder keeps it, waited for by each chunk on average

_warned: weakref.WeakSet[Any] = weakref.WeakSet()


class GilBoundWarning(RuntimeWarning):
    """A batch function computes while it holds the interpreter lock."""


@dataclass(frozen=True, slots=True)
class ThreadUse:
    """What the native threads of one batch did."""

    workers: int
    """Chunks that ran at the same time at most."""
    chunks: int
    cpu_seconds: float
    """Processor time in the function."""
    wait_seconds: float
    """Time that chunks waited for the interpreter lock before they could begin."""


def is_gil_bound(use: ThreadUse, elapsed: float) -> bool:
    """Whether the threads took turns instead of working at the same time.

    Two signs together: all of them kept about one core busy, and each chunk waited for the lock
    about as long as another chunk holds it. On a machine that is busy with something else they do
    not come together.
    """
    if use.workers < 2 or not use.chunks or elapsed < _SHORT_SECONDS:
        return False
    held_seconds = min(use.cpu_seconds / use.chunks, _SWITCH_SECONDS)
    waited = use.wait_seconds / use.chunks
    return _STARVED < use.cpu_seconds / elapsed < _PARALLEL and waited > _HELD * held_seconds


def warn_if_gil_bound(fn: Callable[..., Any], use: ThreadUse, elapsed: float) -> None:
    """Warn once for *fn* where :func:`is_gil_bound` says so."""
    if not is_gil_bound(use, elapsed) or fn in _warned:
        return
    with contextlib.suppress(TypeError):  # not weakly referencable: told each time
        _warned.add(fn)
    name = getattr(fn, "__qualname__", repr(fn))
    warnings.warn(
        f"{name} computes under the interpreter lock: in {elapsed:.2f} s, {use.workers} threads kept "
        f"{use.cpu_seconds / elapsed:.2f} cores busy and waited {use.wait_seconds:.2f} s for the lock. "
        "Threads cannot speed it up. Use BatchProcessor(executor=ProcessPoolExecutor()), or code that "
        "releases the lock (NumPy, hashlib, zlib, native extensions).",
        GilBoundWarning,
        stacklevel=level_outside(),
    )
