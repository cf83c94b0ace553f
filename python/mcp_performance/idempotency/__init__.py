"""Work that is done once, however often it is asked for: :class:`IdempotencyStore`, :func:`idempotent` and
:class:`IdempotencyMiddleware`."""

from __future__ import annotations

from ._decorator import idempotent
from ._middleware import IdempotencyMiddleware
from ._store import IdempotencyStats, IdempotencyStore

__all__ = ["IdempotencyMiddleware", "IdempotencyStats", "IdempotencyStore", "idempotent"]
