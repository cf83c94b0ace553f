"""The main job, end to end: a real service over real data, load-tested before and after.

``mcp-performance demo`` runs it; ``mcp-performance demo --serve`` leaves the service running.
"""

from .run import main

__all__ = ["main"]
