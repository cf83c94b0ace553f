"""The performance layer of a Python service: caches, a SQLite pool, a query analyzer, batches,
load tests and monitoring over one native core.

Everything public is exposed here.
"""

from __future__ import annotations

from . import config

# The native core finds its libraries first.
from ._base import _sqlite_library as _sqlite_library

# isort: split
# Native log records and the interpreter lock's gate are wired first.
from ._base import _interpreter as _interpreter
from ._base import _logging as _logging
from ._core import __version__

# batch
from .batch import Batched, BatchedFuture, BatchItem, BatchProcessor, BatchResult, GilBoundWarning, batched

# cache
from .cache import Cache, CacheBackend, CacheInfo, CacheStats, cached, cached_method, lru_cache

# errors
from .errors import (
    BackendUnavailable,
    BatchError,
    CacheError,
    ConfigurationError,
    ConversionError,
    DatabaseCorrupt,
    DatabaseError,
    DataError,
    Error,
    HttpError,
    HttpTimeout,
    IdempotencyError,
    InProgress,
    IntegrityError,
    KeyReused,
    LoadTestError,
    LoadTimeout,
    PoolClosed,
    PoolTimeout,
    ProgrammingError,
    ProtocolError,
    QueryError,
    SerializationError,
    TargetRefused,
    TextError,
)

# HTTP
from .http_client import HttpClient, HttpReply, HttpRequest

# idempotency
from .idempotency import IdempotencyMiddleware, IdempotencyStats, IdempotencyStore, idempotent

# JSON-RPC
from .jsonrpc import JsonRpcDispatcher, JsonRpcError

# load
from .load import (
    Bottleneck,
    Capacity,
    CapacityStep,
    Command,
    CommandFailed,
    Comparison,
    LoadTester,
    LoadTestResult,
    McpTool,
    Percentiles,
    Progress,
    Request,
    RequestStats,
    Scalability,
    ScalabilityLevel,
    SecondStats,
    Stage,
    ToolFailed,
    User,
    UserReply,
    WindowStats,
    compare_runs,
    mcp_request,
    merge_results,
)

# monitoring
from .middleware import PerformanceMiddleware, performance_app
from .monitor import PerformanceMonitor, Recommendation

# query
from .query import (
    Advice,
    DropAdvice,
    IndexAdvice,
    Issue,
    PlanStep,
    QueryAnalyzer,
    QueryReport,
    Rewrite,
    StatementEffect,
    StatisticsAdvice,
    WorkloadStatistics,
    analyze_untrusted,
    fingerprint,
    read_workload,
)

# sqlite
from .sqlite import IndexReport, NamedRow, PoolStats, QueryStats, SlowQuery, SQLitePool

# tiers
from .tiers import RedisTier, SQLiteTier, TieredCache, TierStats

__all__ = [
    "Advice",
    "BackendUnavailable",
    "BatchError",
    "BatchItem",
    "BatchProcessor",
    "BatchResult",
    "Batched",
    "BatchedFuture",
    "Bottleneck",
    "Cache",
    "CacheBackend",
    "CacheError",
    "CacheInfo",
    "CacheStats",
    "Capacity",
    "CapacityStep",
    "Command",
    "CommandFailed",
    "Comparison",
    "ConfigurationError",
    "ConversionError",
    "DataError",
    "DatabaseCorrupt",
    "DatabaseError",
    "DropAdvice",
    "Error",
    "GilBoundWarning",
    "HttpClient",
    "HttpError",
    "HttpReply",
    "HttpRequest",
    "HttpTimeout",
    "IdempotencyError",
    "IdempotencyMiddleware",
    "IdempotencyStats",
    "IdempotencyStore",
    "InProgress",
    "IndexAdvice",
    "IndexReport",
    "IntegrityError",
    "Issue",
    "JsonRpcDispatcher",
    "JsonRpcError",
    "KeyReused",
    "LoadTestError",
    "LoadTestResult",
    "LoadTester",
    "LoadTimeout",
    "McpTool",
    "NamedRow",
    "Percentiles",
    "PerformanceMiddleware",
    "PerformanceMonitor",
    "PlanStep",
    "PoolClosed",
    "PoolStats",
    "PoolTimeout",
    "ProgrammingError",
    "Progress",
    "ProtocolError",
    "QueryAnalyzer",
    "QueryError",
    "QueryReport",
    "QueryStats",
    "Recommendation",
    "RedisTier",
    "Request",
    "RequestStats",
    "Rewrite",
    "SQLitePool",
    "SQLiteTier",
    "Scalability",
    "ScalabilityLevel",
    "SecondStats",
    "SerializationError",
    "SlowQuery",
    "Stage",
    "StatementEffect",
    "StatisticsAdvice",
    "TargetRefused",
    "TextError",
    "TierStats",
    "TieredCache",
    "ToolFailed",
    "User",
    "UserReply",
    "WindowStats",
    "WorkloadStatistics",
    "__version__",
    "analyze_untrusted",
    "batched",
    "cached",
    "cached_method",
    "compare_runs",
    "config",
    "fingerprint",
    "idempotent",
    "lru_cache",
    "mcp_request",
    "merge_results",
    "performance_app",
    "read_workload",
]
