"""What a middleware adds to each request of a bare Starlette application, beside other ones.

    python benchmarks/monitoring.py [--record] [--quick] [--requests 2000] [--rounds 15]

The applications are called in process, one request at a time. Rounds are interleaved; the figure is the
median over the rounds of the processor time of the calling thread, which waiting for a core does not
change. "clock" is a pure ASGI wrapper that reads the clock twice and does nothing with it. After each round
every answer is compared with the one that the application gives, and what a middleware has counted with the
number of requests sent. --quick: one small round of what is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import _native
import _peers
from _check import same, within

QUICK = "--quick" in sys.argv
PEERS = ("prometheus-fastapi-instrumentator", "starlette-exporter", "starlette")
_peers.add(*PEERS, install=not QUICK)
if not _peers.has("starlette"):
    sys.exit("starlette is not installed")

from starlette.applications import Starlette  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402

from mcp_performance import PerformanceMiddleware, PerformanceMonitor  # noqa: E402

App = Callable[[Any, Any, Any], Any]


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def bare(**options: Any) -> Starlette:
    return Starlette(routes=[Route("/users/{name}", hello)], **options)


# What an application sends for a request; BaseHTTPMiddleware ends it with a message of its own.
WANTED = [("http.response.start", 200, None), ("http.response.body", None, b"hello")]
ENDED = ("http.response.body", None, b"")


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


def nothing_counted() -> None:
    return None


def sample(name: str, labels: dict[str, str]) -> int:
    """What a counter of prometheus_client says."""
    from prometheus_client import REGISTRY

    return int(REGISTRY.get_sample_value(name, labels) or 0)


def subjects() -> dict[str, tuple[App, Callable[[], int | None]]]:
    """By name: the application, and how many requests its middleware has counted; None if it does not."""
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())

    def counted_here() -> int:
        requests = monitor.metrics()["requests"]
        (route,) = requests["routes"]
        named = [route[key] for key in ("method", "route", "status")]
        same("the route that the monitor names", named, ["GET", "/users/{name}", 200])
        same("requests of the route, beside all", route["count"], requests["count"])
        return int(requests["count"])

    found: dict[str, tuple[App, Callable[[], int | None]]] = {
        "bare": (bare(), nothing_counted),
        "clock": (ClockMiddleware(bare()), nothing_counted),
        "mcp-performance": (PerformanceMiddleware(bare(), monitor=monitor, token="secret"), counted_here),
    }
    labels = {"method": "GET", "handler": "/users/{name}", "status": "2xx"}
    if _peers.has("prometheus_fastapi_instrumentator"):
        from prometheus_fastapi_instrumentator import Instrumentator

        instrumented = bare()
        Instrumentator().instrument(instrumented)
        counted = partial(sample, "http_requests_total", labels)
        found["prometheus-fastapi-instrumentator"] = instrumented, counted
    if _peers.has("starlette_exporter"):
        from starlette_exporter import PrometheusMiddleware

        of_exporter = {
            "method": "GET",
            "path": "/users/{name}",
            "status_code": "200",
            "app_name": "starlette",
        }
        counted = partial(sample, "starlette_requests_total", of_exporter)
        found["starlette-exporter"] = bare(middleware=[Middleware(PrometheusMiddleware)]), counted
    found["empty BaseHTTPMiddleware"] = bare(middleware=[Middleware(EmptyMiddleware)]), nothing_counted
    return found


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def seconds_a_request(what: str, app: App, requests: int) -> float:
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
    sent: list[Any] = []
    keep = sent.append

    async def send(message: Any) -> None:
        keep(message)

    start = time.thread_time()
    for _ in range(requests):
        await app({**base}, receive, send)
    took = time.thread_time() - start
    answers = [(message["type"], message.get("status"), message.get("body")) for message in sent]
    same(what, answers, (WANTED if "BaseHTTP" not in what else [*WANTED, ENDED]) * requests)
    return took / requests


async def measure(requests: int, rounds: int) -> dict[str, float]:
    apps = subjects()
    times: dict[str, list[float]] = {name: [] for name in apps}
    sent = 0

    async def each(count: int, what: str) -> None:
        nonlocal sent
        sent += count
        for name, (app, counted) in apps.items():
            times[name].append(await seconds_a_request(f"{what}, {name}", app, count))
            if (seen := counted()) is not None:
                within(f"{what}, {name}: requests counted", seen, sent, sent)
            gc.collect()

    await each(requests // 10, "warming up")
    for found in times.values():
        found.clear()
    gc.freeze()
    for number in range(rounds):
        await each(requests, f"round {number}")
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
    parser.add_argument("--quick", action="store_true", help="one small round of what is installed")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.rounds = 200, 1
    text = report(asyncio.run(measure(options.requests, options.rounds)))
    print(text)
    if options.record and not options.quick:
        _native.record("monitoring", text)


if __name__ == "__main__":
    main()
