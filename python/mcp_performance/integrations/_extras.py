"""What to say where a framework is not there."""

from __future__ import annotations

__all__ = ["missing"]


def missing(error: ModuleNotFoundError, package: str, extra: str) -> ModuleNotFoundError:
    """The error to raise from *error* if it is *package* that is not installed; *error* itself otherwise."""
    if error.name is None or error.name.partition(".")[0] != package.partition(".")[0]:
        return error
    said = f"{package} is not installed: pip install 'mcp-performance[{extra}]'"
    return ModuleNotFoundError(said, name=error.name)
