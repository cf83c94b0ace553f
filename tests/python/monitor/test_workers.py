"""What several workers of one service show: the sum, and each on request; whoever ends, however."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_performance import (
    Cache,
    ConfigurationError,
    PerformanceMiddleware,
    PerformanceMonitor,
    SQLitePool,
    cached,
)

APP = """
import os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from mcp_performance import Cache, PerformanceMiddleware, PerformanceMonitor

cache = Cache(name="users")
cache["known"] = 1

async def pid(request):
    cache.get("known")
    return PlainTextResponse(str(os.getpid()))

async def fails(request):
    return PlainTextResponse("failed", status_code=500)

app = PerformanceMiddleware(Starlette(routes=[Route("/pid", pid), Route("/fails", fails)]),
                            expose=True, rate_limit=10_000)
"""

WORKERS = 2
SERVERS: dict[str, list[str]] = {
    "uvicorn": ["-m", "uvicorn", "service:app", "--workers", str(WORKERS), "--port", "{port}"],
    "gunicorn": [
        *("-m", "gunicorn", "-w", str(WORKERS), "-k", "asgi", "-b", "127.0.0.1:{port}", "service:app"),
    ],
    "gunicorn --preload": [
        *("-m", "gunicorn", "--preload", "-w", str(WORKERS), "-k", "asgi", "-b", "127.0.0.1:{port}"),
        "service:app",
    ],
    "hypercorn": ["-m", "hypercorn", "-w", str(WORKERS), "-b", "127.0.0.1:{port}", "service:app"],
    "granian": [
        *("-m", "granian", "--interface", "asgi", "--workers", str(WORKERS), "--port", "{port}"),
        *("--respawn-failed-workers", "--host", "127.0.0.1", "service:app"),
    ],
}
REPLACES_KILLED_WORKERS = ["uvicorn", "gunicorn", "granian"]
PREFIX = "/api/mcp/performance"
PATIENCE = 100.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Over a connection of its own, so that any worker may take it."""
        return httpx.get(self.url + path, timeout=30, headers={"connection": "close", **headers})

    def metrics(self, query: str = "") -> dict[str, Any]:
        return dict(self.get(f"{PREFIX}/metrics{query}").json())

    def until(self, what: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if found := what():
                    return found
            time.sleep(0.1)
        raise AssertionError("it never came to be")

    def alive(self) -> set[int]:
        return {worker["pid"] for worker in self.metrics()["workers"] if worker["alive"]}


@contextlib.contextmanager
def serving(server: str, directory: Path) -> Iterator[Service]:
    (directory / "service.py").write_text(APP)
    port = free_port()
    command = [sys.executable, *(part.format(port=port) for part in SERVERS[server])]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True)
    service = Service(f"http://127.0.0.1:{port}")
    try:
        service.until(lambda: len(service.alive()) == WORKERS)
        yield service
    except BaseException:
        print((directory / "log").read_text())
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", SERVERS)
def test_every_worker_tells_the_sum_and_each_and_a_killed_one_loses_no_count(
    server: str, tmp_path: Path
) -> None:
    with serving(server, tmp_path) as service:
        each_tells_the_sum(service)
        if server in REPLACES_KILLED_WORKERS:
            killed_in_turn_under_load(service)
            killed_without_load(service)


def each_tells_the_sum(service: Service) -> None:
    before = service.metrics()["requests"]["count"]
    answers = [service.get("/pid").text for _ in range(30)]
    for _ in range(5):
        service.get("/fails")
    for _ in range(10):  # whoever answers
        metrics = service.metrics()
        assert (metrics["requests"]["count"] - before, metrics["requests"]["errors"]) == (35, 5)
        assert {route["route"] for route in metrics["requests"]["routes"]} >= {"/pid", "/fails"}
    each = service.metrics("?workers=each")["workers"]
    assert sum(worker["requests"]["count"] for worker in each) == 35 + before
    for worker in each:
        counts = {route["route"]: route["count"] for route in worker["requests"]["routes"]}
        assert counts.get("/pid", 0) == answers.count(str(worker["pid"]))
    text = service.get(f"{PREFIX}/metrics?workers=each", accept="text/plain").text
    assert text.count("# TYPE http_server_request_duration_seconds histogram") == 1
    assert f'worker="{each[-1]["number"]}"' in text
    service.until(lambda: hits(service.metrics()) == 30)
    assert service.metrics()["caches"][0]["currsize"] == WORKERS
    assert service.get(f"{PREFIX}/metrics?workers=none").status_code == 422


def kill(service: Service, victim: int) -> None:
    """Until another worker is there in its place."""
    os.kill(victim, signal.SIGKILL)
    service.until(lambda: victim not in (now := service.alive()) and len(now) == WORKERS)


def killed_in_turn_under_load(service: Service) -> None:
    first = service.metrics()["requests"]["count"]
    done = threading.Event()
    answered, broken = [0] * 4, [0] * 4

    def load(number: int) -> None:
        while not done.wait(0.01):  # leaves the new workers some of the processor
            try:
                answered[number] += service.get("/pid").status_code == 200
            except httpx.TransportError:
                broken[number] += 1

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for victim in sorted(service.alive()):
            kill(service, victim)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    counted = service.metrics()["requests"]["count"] - first
    assert sum(answered) <= counted <= sum(answered) + sum(broken)


def hits(metrics: dict[str, Any]) -> int:
    return sum(cache["hits"] for cache in metrics["caches"])


def killed_without_load(service: Service) -> None:
    """Not one more, not one less, of requests and of the lookups that they made."""
    before = service.metrics()
    for _ in range(20):
        service.get("/pid")
    kill(service, min(service.alive()))
    after = service.metrics()
    assert after["requests"]["count"] == before["requests"]["count"] + 20
    assert hits(after) == hits(before) + 20


def count(monitor: PerformanceMonitor) -> int:
    return int(monitor.metrics()["requests"]["count"])


async def ask(app: PerformanceMiddleware, times: int) -> None:
    for _ in range(times):
        await app({"type": "http", "method": "GET", "path": "/"}, None, None)  # type: ignore[arg-type]


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    return None


def files(name: str) -> list[Path]:
    return [
        path
        for place in ("/dev/shm", "/tmp")
        for path in Path(place).glob(f"mcp-performance-*-{name}.metrics")
    ]


def sizes_and_modes(name: str) -> list[tuple[int, int]]:
    return [(path.stat().st_size, path.stat().st_mode) for path in files(name)]


@pytest.fixture
def name() -> Iterator[str]:
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    for path in files(name):
        path.unlink()


async def test_processes_that_share_a_name_count_together(name: str) -> None:
    one, other = (PerformanceMiddleware(nothing, workers=name, monitor=PerformanceMonitor()) for _ in "12")
    await ask(one, 2)
    await ask(other, 3)
    assert (count(one.monitor), count(other.monitor)) == (5, 5)
    service = one.monitor.metrics()["service"]
    assert (service["name"], service["workers"]) == (name, 2)
    ((size, mode),) = sizes_and_modes(name)
    assert size == service["segment_bytes"]
    assert mode & 0o077 == 0


async def test_a_service_that_wants_none_shares_nothing() -> None:
    app = PerformanceMiddleware(nothing, workers="off")
    await ask(app, 2)
    assert app.monitor.metrics()["service"] == {"name": None, "workers": 1, "segment_bytes": 0}


async def test_a_process_that_nobody_started_as_a_worker_counts_for_itself() -> None:
    one, other = PerformanceMiddleware(nothing), PerformanceMiddleware(nothing)
    await ask(one, 1)
    assert (count(one.monitor), count(other.monitor)) == (1, 0)
    assert one.monitor.metrics()["service"] == {"name": None, "workers": 1, "segment_bytes": 0}


async def test_percentiles_are_those_of_all_workers_together(name: str) -> None:
    fast, slow = PerformanceMonitor(), PerformanceMonitor()
    for monitor, seconds, times in ((fast, 0.001, 97), (slow, 1.0, 3)):
        monitor.join(name)
        for _ in range(times):
            monitor.requests.begin()
            monitor.requests.end("GET", "/", "http", 200, "", seconds, seconds, seconds)
    requests = fast.metrics()["requests"]
    assert requests["count"] == 100
    assert requests["p50_seconds"] == pytest.approx(0.001, rel=0.01)
    assert requests["p95_seconds"] == pytest.approx(0.001, rel=0.01)  # an average would say 0.5
    assert requests["p99_seconds"] == pytest.approx(1.0, rel=0.01)


def quiet(**sources: Any) -> PerformanceMonitor:
    return PerformanceMonitor(**{"caches": [], "pools": [], "tiers": [], **sources})


def test_caches_and_pools_are_told_with_each_operation_and_not_only_once_a_second(
    name: str, tmp_path: Path
) -> None:
    @cached(name="function")
    def double(number: int) -> int:
        return 2 * number

    cache: Cache[str, int] = Cache(name="cache")
    pool = SQLitePool(tmp_path / "a.db", name="pool")
    pool.blocking.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
    worker, other = quiet(caches=[cache, double], pools=[pool]), quiet()
    for monitor in (worker, other):
        monitor.join(name)
    worker.metrics()  # what there is, is known once somebody has looked, or the second is over
    cache["a"] = 1
    for _ in range(3):
        cache.get("a")
        cache.get("b")
        double(7)
        pool.blocking.fetch("SELECT id FROM users")
    worker.requests.operation("run", "task", "task", "", 0.1)
    seen = other.metrics()
    figures = {one["name"]: one for one in seen["caches"]}
    assert (figures["cache"]["hits"], figures["cache"]["misses"], figures["cache"]["hit_rate"]) == (3, 3, 0.5)
    assert (figures["function"]["hits"], figures["function"]["loads"]) == (2, 1)
    assert figures["function"]["misses_cold"] == 1
    (told,) = seen["pools"]
    assert (told["reads"], told["cache"]["hits"], told["cache"]["misses"]) == (1, 2, 1)
    assert told["database_seconds"] > 0
    pool.blocking.close()


GONE = """
import sys
from mcp_performance import Cache, PerformanceMonitor

cache = Cache(name="short-lived")
worker, other = PerformanceMonitor(), PerformanceMonitor(caches=[])
for monitor in (worker, other):
    monitor.join(sys.argv[1])
worker.metrics()
cache.get("a")
worker.requests.operation("run", "task", "task", "", 0.1)
del cache
for _ in range(2):
    worker.requests.operation("run", "task", "task", "", 0.1)
print(*((one["name"], one["misses"]) for one in other.metrics()["caches"]))
"""


def run(script: str, name: str) -> str:
    """What *script* prints, in a process of its own that has no other cache."""
    return subprocess.run(
        [sys.executable, "-c", script, name], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_what_a_cache_had_counted_stays_when_it_is_gone(name: str) -> None:
    assert run(GONE, name) == "('short-lived', 1)"


FORKS = """
import os, sys
from mcp_performance import Cache, PerformanceMonitor

cache = Cache(name="shared")
monitor = PerformanceMonitor(caches=[cache], pools=[], tiers=[])
monitor.join(sys.argv[1])
monitor.metrics()
def ask(times):
    for _ in range(times):
        cache.get("a")
        monitor.requests.operation("run", "task", "task", "", 0.1)
ask(3)
child = os.fork()
if child == 0:
    ask(2)  # into a slot of its own, and never into its parent's
    os._exit(0)
os.waitpid(child, 0)
workers = monitor.metrics(each=True)["workers"]
mine = [one for one in workers if one["pid"] == os.getpid()]
print(mine[0]["caches"][0]["misses"], sum(o["count"] for one in workers for o in one["operations"]))
"""


def test_a_forked_child_counts_into_no_row_of_its_parent(name: str) -> None:
    assert run(FORKS, name) == "3 5"


@pytest.mark.parametrize(
    ("workers", "error"),
    [("", ConfigurationError), ("../x", ConfigurationError), ("a" * 65, ConfigurationError), (4, TypeError)],
)
def test_a_bad_name_is_an_error_that_names_it(workers: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="workers="):
        PerformanceMiddleware(nothing, workers=workers)
