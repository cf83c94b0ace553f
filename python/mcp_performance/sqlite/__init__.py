"""An asynchronous SQLite pool at the speed of the library itself, with results that are never stale.

One connection writes, the others read, over write-ahead logging. Statements that are known to be short run
on the caller's thread; all else runs on native threads that need no interpreter lock. Results of SELECTs
are kept, and served only while it is proven that no commit, by whomever, has changed the tables they read.
"""

from __future__ import annotations

from ._indexes import IndexReport
from ._pool import SQLitePool
from ._rows import NamedRow
from ._rows import _restore as _restore  # pickles of rows name it here
from ._stats import PoolStats, QueryStats, SlowQuery

__all__ = [
    "IndexReport",
    "NamedRow",
    "PoolStats",
    "QueryStats",
    "SQLitePool",
    "SlowQuery",
]
