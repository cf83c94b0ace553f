"""Which copy of SQLite the native core of a wheel is linked with.

A build from source uses the system's library. A wheel has a choice, because two copies in one process
that open one file corrupt it: a copy that the interpreter shows all its libraries, or the ``libsqlite3`` that
Python's own ``sqlite3`` has loaded, where that is new enough; otherwise the copy inside the wheel.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["OLDEST", "choose", "load"]

OLDEST = 3_037_000
"""SQLite 3.37, of 2021: what the core was written for."""

_FOLDER = Path(__file__).parents[1] / "_sqlite"


def _version_in(library: Any) -> int | None:
    try:
        return int(library.sqlite3_libversion_number())
    except AttributeError:
        return None


def choose(interpreter: int | None, shared: int | None) -> str:
    """Where the core finds SQLite, given the versions that are there: one of the folders of the wheel.

    Args:
        interpreter: of a SQLite that the interpreter's program shows to all libraries.
        shared: of the ``libsqlite3.so.0`` that is loaded.

    Raises:
        ImportError: the interpreter shows one that is too old. It would be used whatever we load.
    """
    if interpreter is not None:
        if interpreter < OLDEST:
            raise ImportError(
                f"the SQLite inside this Python ({interpreter}) is older than 3.37, and cannot be replaced: "
                "use another build of Python"
            )
        return "global"
    return "shared" if shared is not None and shared >= OLDEST else "bundled"


def load() -> None:
    """Load the copy that the core will be linked with. REQUIRES: before ``_core`` is imported."""
    if not _FOLDER.is_dir():  # not a wheel
        return
    import _sqlite3  # noqa: F401  loads its library
    import ctypes

    try:
        loaded = _version_in(ctypes.CDLL("libsqlite3.so.0", mode=os.RTLD_NOLOAD | os.RTLD_NOW))
    except OSError:
        loaded = None
    kind = choose(_version_in(ctypes.CDLL(None)), loaded)
    ctypes.CDLL(str(_FOLDER / kind / "libmcp_sqlite3.so"), mode=os.RTLD_NOW)


load()
