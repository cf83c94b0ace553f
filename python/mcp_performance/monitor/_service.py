"""Which service this process is a worker of, and where its workers meet."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import re
import sys
import tempfile
import weakref
from typing import Any, Protocol

from .. import _core
from .._base._checks import text

__all__ = ["Service", "checked_workers"]

_logger = logging.getLogger("mcp_performance.monitor")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EXPECTED = '"auto", "off" or a name of letters, digits, ".", "_" and "-", at most 64'
_numbers = itertools.count()


def checked_workers(workers: Any) -> str:
    """*workers* if it is what a middleware's option of that name may be."""
    return text("workers", workers, _EXPECTED, fits=lambda one: _NAME.fullmatch(one) is not None)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _birth(pid: int) -> str:
    """What tells the process from a later one of the same number."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[19].decode() if len(fields) > 19 else "0"


def _is_worker() -> bool:
    """Whether a server started this process as one of several: by :mod:`multiprocessing` (uvicorn,
    hypercorn, granian), or by a fork (gunicorn), which leaves both with one command line."""
    if multiprocessing.parent_process() is not None or "gunicorn.arbiter" in sys.modules:
        return True
    own = _read("/proc/self/cmdline")
    return own != b"" and own == _read(f"/proc/{os.getppid()}/cmdline")


def _directory() -> str:
    memory = "/dev/shm"
    return memory if os.path.isdir(memory) and os.access(memory, os.W_OK) else tempfile.gettempdir()


class _Counts(Protocol):
    def join(self, path: str, /) -> int: ...


class Service:
    """Joins *requests* to the workers of its service, in each process once.

    ``"auto"`` names the service by the process that started its workers; a process that nobody started as
    a worker stays by itself. What was counted before is taken along.
    """

    def __init__(self, requests: _Counts) -> None:
        self._requests = requests
        self._number = next(_numbers)
        self._workers: str | None = None
        self._joined: str | None = None
        self._asked = False
        _services.add(self)

    @property
    def joined(self) -> bool:
        """Whether there is a segment that other workers share."""
        return self._joined is not None

    @property
    def name(self) -> str | None:
        """The service's name in the segment's file name."""
        return self._joined

    def join(self, workers: str) -> None:
        """Join, unless this has been asked for in this process before. Cheap to call again."""
        if self._asked:
            return
        checked_workers(workers)
        self._asked = True
        if self._workers is None:
            self._workers = workers
        name = self._workers
        if name == "off" or (name == "auto" and not _is_worker()):
            return
        directory, user = _directory(), f"mcp-performance-{os.geteuid()}-"
        if name == "auto":
            _core.sweep_segments(directory, user + "auto.")
            parent = os.getppid()
            name = f"auto.{parent}.{_birth(parent)}.{self._number}"
        try:
            self._requests.join(os.path.join(directory, f"{user}{name}.metrics"))
        except ValueError as refused:
            _logger.warning("this worker counts for itself: %s", refused)
        else:
            self._joined = name

    def after_fork(self) -> None:
        """A child asks again: it is a worker of its own."""
        if self._joined is None:
            self._asked = False


_services: weakref.WeakSet[Service] = weakref.WeakSet()


def _after_fork() -> None:
    for service in list(_services):
        service.after_fork()


os.register_at_fork(after_in_child=_after_fork)
