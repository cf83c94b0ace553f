"""Where earlier pickles of rows look for ``_restore``, and the bindings for ``row_class``."""

from __future__ import annotations

from .sqlite._rows import _restore, row_class

__all__ = ["_restore", "row_class"]
