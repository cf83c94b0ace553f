"""Tasks that are timed by a decorator, as queues call them: in any process, sync or not."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

from mcp_performance import ConfigurationError, PerformanceMonitor
from mcp_performance.integrations.tasks import timed

monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])


def seen() -> dict[tuple[str, str], int]:
    return {(one["name"], one["error_type"]): one["count"] for one in monitor.metrics()["operations"]}


@timed(monitor, name="send")
def send(address: str, *, copies: int = 1) -> str:
    """Send it."""
    if not address:
        raise ValueError("no address")
    return address * copies


@timed(monitor)
async def asend(address: str) -> str:
    return address


async def test_a_task_is_itself_and_counted_with_what_it_raised() -> None:
    assert send("a", copies=2) == "aa"
    with pytest.raises(ValueError, match="no address"):
        send("")
    assert await asend("b") == "b"
    assert seen() == {("send", ""): 1, ("send", "ValueError"): 1, (f"{__name__}.asend", ""): 1}
    assert 'task_operation_duration_seconds_count{method="run",name="send"} 1' in monitor.prometheus()


def test_queues_see_the_function() -> None:
    assert (send.__name__, send.__doc__, send.__module__) == ("send", "Send it.", __name__)
    assert list(inspect.signature(send).parameters) == ["address", "copies"]
    assert inspect.isfunction(send)
    assert inspect.iscoroutinefunction(asend)
    assert pickle.loads(pickle.dumps(send)) is send  # RQ finds a task by its name


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"monitor": 3}, TypeError, "monitor=3"),
        ({"name": ""}, ConfigurationError, "name=''"),
        ({"name": 3}, TypeError, "name=3"),
        ({"workers": "a/b"}, ConfigurationError, "workers="),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        timed(**{"monitor": monitor, **options})


def test_a_generator_is_no_task() -> None:
    def stream() -> Any:
        yield 1

    with pytest.raises(TypeError, match="stream"):
        timed(monitor)(stream)
