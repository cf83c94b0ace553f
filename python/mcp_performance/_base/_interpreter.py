"""What this package needs of its interpreter: a native module that it can load, and the lock.

A free-threaded build turns the lock on for a module that does not say it can do without. Only
``PYTHON_GIL=0`` and ``-X gil=0`` keep it off, and then two threads could tear any cache apart.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__: list[str] = []


def _why_absent(package: str) -> str:
    """Why there is no native module in the folder *package*, and what to do."""
    if not Path(package).is_dir():
        return (
            f"mcp_performance has a native module, which cannot be loaded from inside an archive: {package}; "
            "unpack it, or make the archive with a tool that unpacks it when it starts (shiv, pex)"
        )
    built = sorted(file.name for file in Path(package).glob("_core.*") if file.suffix != ".pyi")
    return (
        f"mcp_performance has no native module for {sys.implementation.cache_tag} on {sys.platform} in "
        f"{package}, only {', '.join(built) or 'its Python files'}; install it with the interpreter that "
        f"runs it: {sys.executable or 'python'} -m pip install --force-reinstall mcp-performance"
    )


def _has_lock() -> bool:
    asked = getattr(sys, "_is_gil_enabled", None)  # CPython 3.13
    return asked is None or bool(asked())


try:
    from .. import _core as _core
except ImportError:
    from importlib.util import find_spec

    if find_spec("mcp_performance._core") is not None:
        raise  # it is there, and says itself what it lacks
    raise ImportError(_why_absent(str(Path(__file__).parents[1])), name="mcp_performance._core") from None

if not _has_lock():
    raise ImportError(
        "mcp_performance relies on the interpreter lock, which PYTHON_GIL=0 or -X gil=0 keeps off: "
        "run without them"
    )
