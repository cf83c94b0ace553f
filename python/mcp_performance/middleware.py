"""The public path of the monitor's ASGI middleware and endpoints."""

from __future__ import annotations

from .monitor._middleware import PerformanceMiddleware, performance_app

__all__ = ["PerformanceMiddleware", "performance_app"]
