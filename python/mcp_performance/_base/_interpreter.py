"""What this package needs of its interpreter: the lock, which the native module has turned on by now.

A free-threaded build turns it on for a module that does not say it can do without. Only ``PYTHON_GIL=0``
and ``-X gil=0`` keep it off, and then two threads could tear any cache apart.
"""

from __future__ import annotations

import sys

from .. import _core as _core

__all__: list[str] = []


def _has_lock() -> bool:
    asked = getattr(sys, "_is_gil_enabled", None)  # CPython 3.13
    return asked is None or bool(asked())


if not _has_lock():
    raise ImportError(
        "mcp_performance relies on the interpreter lock, which PYTHON_GIL=0 or -X gil=0 keeps off: "
        "run without them"
    )
