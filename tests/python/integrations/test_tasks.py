"""Tasks that are timed by a decorator, as queues call them: in any process, sync or not."""

from __future__ import annotations

import functools
import inspect
import pickle
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, Retries

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


def test_a_real_queue_runs_them_and_each_message_is_counted_once() -> None:
    broker = StubBroker(middleware=[Retries(min_backoff=1, max_backoff=1, max_retries=2), AsyncIO()])
    broker.emit_after("process_boot")  # as its own workers do, for the loop of coroutines
    own = PerformanceMonitor(caches=[], pools=[], tiers=[])

    @dramatiq.actor(broker=broker)
    @timed(own, name="double")
    def double(number: int) -> int:
        return 2 * number

    @dramatiq.actor(broker=broker)
    @timed(own, name="later")
    async def later(number: int) -> int:
        return number

    @dramatiq.actor(broker=broker)
    @timed(own, name="broken")
    def broken() -> None:
        raise LookupError("no")

    worker = dramatiq.Worker(broker, worker_threads=2)
    worker.start()
    try:
        for number in range(20):
            double.send(number)
            later.send(number)
        broken.send()
        broker.join("default", fail_fast=False)
        worker.join()
    finally:
        worker.stop()
        broker.close()
    found = {(one["name"], one["error_type"]): one["count"] for one in own.metrics()["operations"]}
    assert found == {("double", ""): 20, ("later", ""): 20, ("broken", "LookupError"): 3}


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


def stream() -> Any:
    yield 1


async def stream_later() -> Any:
    yield 1


class Stream:
    def __call__(self) -> Any:
        yield 1


@pytest.mark.parametrize("function", [stream, stream_later, Stream(), functools.partial(stream_later)])
def test_a_generator_is_no_task(function: Any) -> None:
    with pytest.raises(TypeError, match=r"(?i)stream"):
        timed(monitor)(function)
