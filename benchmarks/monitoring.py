"""What a middleware adds to each request of a bare Starlette application, beside other ones.

    python benchmarks/monitoring.py [--record] [--requests 2000] [--rounds 15]

The applications are called in process, one request at a time. Rounds are interleaved; the figure is the
median over the rounds of the processor time of the calling thread, which waiting for a core does not
change. "clock" is a pure ASGI wrapper that reads the clock twice and does nothing with it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import _native
import _peers

PEERS = ("prometheus-fastapi-instrumentator", "starlette-exporter", "starlette")
_peers.add(*PEERS)

from prometheus_fastapi_instrumentator import Instrumentator  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402
from starlette_exporter import PrometheusMiddleware  # noqa: E402

from mcp_performance import PerformanceMiddleware, PerformanceMonitor  # noqa: E402

App = Callable[[Any, Any, Any], Any]


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def bare(**options: Any) -> Starlette:
    return Starlette(routes=[Route("/users/{name}", hello)], **options)


class ClockMiddleware:
    def __init__(self, app: App) -> None:
        self.app = app
        self.last = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = time.perf_counter()
        try:
            await self.app(scope, receive, send)
        finally:
            self.last = time.perf_counter() - start


class EmptyMiddleware(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


def subjects() -> dict[str, App]:
    instrumented = bare()
    Instrumentator().instrument(instrumented)
    return {
        "bare": bare(),
        "clock": ClockMiddleware(bare()),
        "mcp-performance": PerformanceMiddleware(
            bare(), monitor=PerformanceMonitor(caches=(), pools=(), tiers=()), token="secret"
        ),
        "prometheus-fastapi-instrumentator": instrumented,
        "starlette-exporter": bare(middleware=[Middleware(PrometheusMiddleware)]),
        "empty BaseHTTPMiddleware": bare(middleware=[Middleware(EmptyMiddleware)]),
    }


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    return None


async def seconds_a_request(app: App, requests: int) -> float:
    headers = [(b"host", b"localhost"), (b"accept", b"*/*"), (b"user-agent", b"benchmark")]
    base = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/users/7",
        "raw_path": b"/users/7",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 8000),
    }
    start = time.thread_time()
    for _ in range(requests):
        await app({**base}, receive, send)
    return (time.thread_time() - start) / requests


async def measure(requests: int, rounds: int) -> dict[str, float]:
    apps = subjects()
    times: dict[str, list[float]] = {name: [] for name in apps}
    for name, app in apps.items():
        await seconds_a_request(app, requests // 10)
        print(f"warmed up: {name}", flush=True)
    gc.freeze()
    for _ in range(rounds):
        for name, app in apps.items():
            times[name].append(await seconds_a_request(app, requests))
    return {name: statistics.median(found) for name, found in times.items()}


def report(medians: dict[str, float]) -> str:
    base = medians["bare"]
    added = {name: median - base for name, median in medians.items()}
    ours = added["mcp-performance"]
    lines = [
        "## Monitoring: cost a request",
        "",
        f"{_native.machine()}; " + ", ".join(_peers.version(name) for name in PEERS),
        "",
        "| middleware | us of CPU a request | added to the bare application | of it, ours |",
        "|---|---:|---:|---:|",
    ]
    for name, median in medians.items():
        cost = added[name]
        share = f"{ours / cost:.2f}" if cost > 0 and name != "mcp-performance" else ""
        lines.append(f"| {name} | {median * 1e6:.2f} | {cost * 1e6:+.2f} | {share} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write the table to benchmarks/RESULTS.md")
    parser.add_argument("--requests", type=int, default=2000, help="requests a round")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    text = report(asyncio.run(measure(options.requests, options.rounds)))
    print(text)
    if options.record:
        _native.record("monitoring", text)


if __name__ == "__main__":
    main()
