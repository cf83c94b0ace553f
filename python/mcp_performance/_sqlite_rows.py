"""Where pickles of rows look for ``_restore`` that were made before rows had a room of their own."""

from __future__ import annotations

from .sqlite._rows import _restore

__all__ = ["_restore"]
