"""Load tests: of a URL, an ASGI app, a function, from one call, with numbers that can be trusted.

::

    from mcp_performance import LoadTester

    results = await LoadTester("http://127.0.0.1:8000/").run_load_test(num_requests=1000, concurrent_users=10)
    print(results)
"""

from __future__ import annotations

from ._bottleneck import Bottleneck, WindowStats
from ._capacity import Capacity, CapacityStep
from ._command import Command, CommandFailed
from ._compare import Comparison
from ._compare import compare as compare_runs
from ._mcp import McpTool, ToolFailed, mcp_request
from ._merge import merge_results
from ._options import Stage
from ._result import LoadTestResult
from ._scalability import Scalability, ScalabilityLevel
from ._scenario import Request
from ._stats import Percentiles, RequestStats, SecondStats
from ._supervision import Progress
from ._tester import LoadTester
from ._user import User
from ._wire import UserReply

__all__ = [
    "Bottleneck",
    "Capacity",
    "CapacityStep",
    "Command",
    "CommandFailed",
    "Comparison",
    "LoadTestResult",
    "LoadTester",
    "McpTool",
    "Percentiles",
    "Progress",
    "Request",
    "RequestStats",
    "Scalability",
    "ScalabilityLevel",
    "SecondStats",
    "Stage",
    "ToolFailed",
    "User",
    "UserReply",
    "WindowStats",
    "compare_runs",
    "mcp_request",
    "merge_results",
]
