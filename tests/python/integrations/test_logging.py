"""Log records as JSON lines."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from mcp_performance.integrations.logging import JsonFormatter


class Log:
    def __init__(self, **options: Any) -> None:
        self.stream = io.StringIO()
        self.logger = logging.Logger("shop.orders", logging.INFO)
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(JsonFormatter(**options))
        self.logger.addHandler(handler)

    def lines(self) -> list[dict[str, Any]]:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        text = self.stream.getvalue()
        return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_record_is_one_line_with_its_time_level_logger_and_message(log: Log) -> None:
    log.logger.warning("%d of %s", 3, "them", extra={"order": 7, "tags": ["a"]})
    (line,) = log.lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "shop.orders",
        "message": "3 of them",
        "order": 7,
        "tags": ["a"],
    }


def test_an_exception_and_a_stack_are_in_the_line(log: Log) -> None:
    try:
        raise LookupError("no\nsuch")
    except LookupError:
        log.logger.exception("failed", stack_info=True)
    (line,) = log.lines()
    assert "LookupError: no\nsuch" in line["exception"]
    assert line["stack"].startswith("Stack (most recent call last)")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value",
    ["a\nb\r\u2028", "\ud800", b"\x00", float("nan"), float("inf"), {1, 2}, {(1, 2): 3}, object(), CIRCLE],
    ids=["lines", "surrogate", "bytes", "nan", "inf", "set", "key", "object", "circle"],
)
def test_no_value_makes_it_fail_or_adds_a_line(log: Log, value: Any) -> None:
    log.logger.info("message %s", value, extra={"value": value})
    (line,) = log.lines()
    assert line["value"] in (value, repr(value))
    assert line["message"] == f"message {value}"


def test_no_field_takes_the_place_of_what_a_line_always_says() -> None:
    log = Log(fields={"service": "shop", "level": "none"})
    log.logger.info("fine", extra={"time": 3, "trace_id": "mine"})
    (line,) = log.lines()
    assert (line["service"], line["level"], line["level_"], line["time_"], line["trace_id_"]) == (
        *("shop", "INFO", "none", 3, "mine"),
    )
    with pytest.raises(TypeError, match="fields=3"):
        JsonFormatter(3)  # type: ignore[arg-type]


def test_inside_of_a_span_its_trace_is_in_the_line(log: Log) -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("one") as span:
        log.logger.info("inside")
    log.logger.info("outside")
    inside, outside = log.lines()
    context = span.get_span_context()
    assert (int(inside["trace_id"], 16), int(inside["span_id"], 16)) == (context.trace_id, context.span_id)
    assert "trace_id" not in outside
