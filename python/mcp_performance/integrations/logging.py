"""Log records as JSON lines: ``handler.setFormatter(JsonFormatter())``.

Where OpenTelemetry has a span, its trace is in the line.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["JsonFormatter"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SHOWN = frozenset({"time", "level", "logger", "message", "exception", "stack", "trace_id", "span_id"})


class JsonFormatter(logging.Formatter):
    """Makes one line of JSON of a record: ``time`` (UTC, RFC 3339), ``level``, ``logger``, ``message``,
    ``exception`` and ``stack`` if there are any, ``trace_id`` and ``span_id`` inside of a span of
    OpenTelemetry, and what ``extra=`` said.

    No value makes it fail or adds a line: what JSON cannot say is told as its ``repr()``.

    Args:
        fields: what every line says besides, the name of the service for example.

    Raises:
        TypeError: *fields* is no mapping of names.
    """

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if fields is not None and not (
            isinstance(fields, Mapping) and all(isinstance(name, str) for name in fields)
        ):
            raise TypeError(f"fields={fields!r}: expected a mapping of names to values, or None")
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        said = {**self._fields, **_extra(record)}
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_trace(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        for name, value in said.items():
            line[f"{name}_" if name in _SHOWN else name] = value
        try:
            return json.dumps(line, default=repr, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # names that are no text, NaN, circles
            return json.dumps({name: _plain(value) for name, value in line.items()})


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: Any) -> str | int | bool | None:
    return value if value is None or isinstance(value, str | int) else repr(value)


def _trace() -> dict[str, str]:
    trace = sys.modules.get("opentelemetry.trace")
    context = trace.get_current_span().get_span_context() if trace is not None else None
    if context is None or not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
