"""What a tracer of an application has to offer a monitor; ``integrations.opentelemetry`` has one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from .._base._asgi import Scope

__all__ = ["Ended", "Spans"]


class Ended(Protocol):
    """Says how a request ended, inside of its span."""

    def __call__(self, route: str, status: int, error_type: str, seconds: float) -> None: ...


class Spans(Protocol):
    """Makes the spans of requests and operations."""

    def request(self, scope: Scope) -> AbstractContextManager[Ended]:
        """The span of an HTTP request, current inside."""
        ...

    def operation(self, method: str, name: str, system: str) -> AbstractContextManager[Callable[[str], None]]:
        """The span of a tool, a task or the like, current inside; one that raises has failed, and one whose
        failure is said."""
        ...

    def statement(self, dialect: str, name: str, error_type: str, seconds: float) -> None:
        """The span of a statement that has just ended."""
        ...
