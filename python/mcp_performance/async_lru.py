"""What ``async-lru`` has, under the same names: change the import, and the rest of a project stays.

::

    from mcp_performance.async_lru import alru_cache

    @alru_cache(maxsize=32, ttl=60, jitter=5)
    async def page(number): ...

Differences: a result that one event loop has loaded is served on the others too; of several callers whose
load fails, all but the first get a copy of the exception. :func:`mcp_performance.cached` is the faster one,
and can do more.
"""

from __future__ import annotations

from ._core import __version__ as __version__
from .cache._alru import AlruCacheLoopResetWarning, alru_cache

__all__ = ["AlruCacheLoopResetWarning", "alru_cache"]
