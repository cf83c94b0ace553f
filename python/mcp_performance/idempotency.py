"""Work that is done once, however often it is asked for: :class:`IdempotencyStore`, :func:`idempotent` and
:class:`IdempotencyMiddleware`."""

from __future__ import annotations

from ._idempotency_middleware import IdempotencyMiddleware
from ._idempotency_store import IdempotencyStats, IdempotencyStore
from ._idempotent import idempotent

__all__ = ["IdempotencyMiddleware", "IdempotencyStats", "IdempotencyStore", "idempotent"]
