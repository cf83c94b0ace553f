"""The performance endpoints: what they answer, and whom they refuse."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import parser as prometheus
from prometheus_client.openmetrics import parser as openmetrics
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from mcp_performance import (
    CacheStats,
    PerformanceMiddleware,
    PerformanceMonitor,
    SQLitePool,
    performance_app,
)
from mcp_performance.monitor._endpoints import ENDPOINTS

PREFIX = "/api/mcp/performance"
PATHS = ("metrics", "report", "slow-queries", "cache-stats")
TOKEN = "a-long-secret-token"


@dataclass
class FakeCache:
    name: str = "users"

    def stats(self) -> CacheStats:
        return CacheStats(hits=3, misses=1, hit_rate=0.75)


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


def service(**options: Any) -> PerformanceMiddleware:
    monitor = PerformanceMonitor(caches=[FakeCache()], pools=(), tiers=())
    application = Starlette(routes=[Route("/hello", hello), Route(PREFIX + "/metrics", hello)])
    return PerformanceMiddleware(application, monitor=monitor, **options)


async def ask(app: Any, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        return await http.request(method, path, **options)


async def test_nothing_is_served_until_it_is_enabled_and_the_path_is_the_applications() -> None:
    app = service()
    assert (await ask(app, f"{PREFIX}/metrics")).text == "hello"
    assert (await ask(app, f"{PREFIX}/report")).status_code == 404


@pytest.mark.parametrize("path", PATHS)
async def test_every_endpoint_answers_json_that_is_not_stored(path: str) -> None:
    answer = await ask(service(expose=True), f"{PREFIX}/{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert isinstance(answer.json(), dict)


async def test_the_figures_are_those_of_the_service() -> None:
    app = service(expose=True)
    await ask(app, "/hello")
    metrics = (await ask(app, f"{PREFIX}/metrics")).json()
    assert [route["route"] for route in metrics["requests"]["routes"]] == ["/hello"]
    stats = (await ask(app, f"{PREFIX}/cache-stats")).json()
    assert stats["caches"][0] | {"name": "users", "hits": 3} == stats["caches"][0]
    report = (await ask(app, f"{PREFIX}/report")).json()
    assert report["recommendations"] == []
    assert (await ask(app, f"{PREFIX}/slow-queries?limit=5")).json()["queries"] == []


async def test_asking_the_endpoints_does_not_count_as_traffic() -> None:
    app = service(expose=True)
    await ask(app, f"{PREFIX}/metrics")
    assert app.monitor.metrics()["requests"]["count"] == 0


@pytest.mark.parametrize(
    ("accept", "content"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/plain;q=0", "application/json"),
        ("text/plain;q=0.5, application/json", "application/json"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            "application/openmetrics-text;q=0.2,text/plain;q=0.5",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
    ],
)
async def test_metrics_are_prometheus_text_where_it_is_asked_for(accept: str, content: str) -> None:
    answer = await ask(service(expose=True), f"{PREFIX}/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"] == content


HOSTILE = '</script>"\\\n{}\r\u2028#é'


@pytest.mark.parametrize("query", ["", "?workers=each"])
@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("text/plain", prometheus.text_string_to_metric_families),
        ("application/openmetrics-text", openmetrics.text_string_to_metric_families),
    ],
)
async def test_prometheus_own_parsers_read_every_figure_whatever_things_are_called(
    accept: str, parse: Any, query: str
) -> None:
    monitor = PerformanceMonitor(caches=[FakeCache(HOSTILE)], pools=(), tiers=())
    application = Starlette(routes=[Route("/hello", hello)])
    app = PerformanceMiddleware(application, monitor=monitor, expose=True)
    for _ in range(3):
        await ask(app, "/hello")
    for system in ("mcp", "db", "task", "websocket"):
        monitor.requests.operation("call", HOSTILE, system, HOSTILE, 0.1)
    text = (await ask(app, f"{PREFIX}/metrics{query}", headers={"Accept": accept})).text
    families = {family.name: family for family in parse(text)}
    counted = {
        (sample.name, sample.labels.get("http_route")): sample.value
        for sample in families["http_server_request_duration_seconds"].samples
    }
    assert counted["http_server_request_duration_seconds_count", "/hello"] == 3
    for system in ("mcp_server", "db_client", "task", "websocket"):
        (one,) = {
            sample.labels["name"] for sample in families[f"{system}_operation_duration_seconds"].samples
        }
        assert one == HOSTILE
    assert HOSTILE in {sample.labels["cache"] for sample in families["cache_gets"].samples}


async def test_a_histogram_of_the_exposition_is_cumulative_and_complete() -> None:
    app = service(expose=True)
    for _ in range(3):
        await ask(app, "/hello")
    text = (await ask(app, f"{PREFIX}/metrics", headers={"Accept": "text/plain"})).text
    labels = 'http_request_method="GET",http_route="/hello",http_response_status_code="200",url_scheme="http"'
    name = "http_server_request_duration_seconds"
    buckets = [
        line.rpartition(" ") for line in text.splitlines() if line.startswith(f"{name}_bucket{{{labels},le=")
    ]
    assert len(buckets) == 15
    counts = [int(count) for _, _, count in buckets]
    assert counts == sorted(counts)
    assert buckets[-1][0].endswith('le="+Inf"}')
    assert counts[-1] == 3
    assert f"{name}_count{{{labels}}} 3" in text


# ---- who is refused


async def test_a_token_is_needed_where_one_is_set() -> None:
    app = service(token=TOKEN)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = await ask(app, f"{PREFIX}/metrics", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "requests" not in answer.text
    for scheme in ("Bearer", "bearer"):
        headers = {"Authorization": f"{scheme} {TOKEN}"}
        assert (await ask(app, f"{PREFIX}/metrics", headers=headers)).status_code == 200


async def test_expose_beside_a_token_does_not_open_what_the_token_closes() -> None:
    assert (await ask(service(token=TOKEN, expose=True), f"{PREFIX}/report")).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("10.0.0.7", 200),
        ("testserver", 200),
        ("perf.example.com", 200),
        ("PERF.example.com:443", 200),
        ("evil.example.com", 403),
        ("127.0.0.1.evil.com", 403),
        ("localhost.", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
async def test_hosts_that_could_be_rebound_are_refused(host: str, status: int) -> None:
    app = service(expose=True, allow_hosts=["perf.example.com"])
    assert (await ask(app, f"{PREFIX}/metrics", headers={"Host": host})).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("https://board.example.com", 200),
        ("http://localhost:9000", 403),
        ("https://evil.com", 403),
        ("null", 403),
    ],
)
async def test_foreign_origins_are_refused(origin: str, status: int) -> None:
    app = service(expose=True, allow_origins=["https://board.example.com"])
    headers = {"Host": "localhost:8000", "Origin": origin}
    assert (await ask(app, f"{PREFIX}/metrics", headers=headers)).status_code == status


async def test_a_thousand_pollers_are_held_off_with_429() -> None:
    app = service(expose=True, rate_limit=0.001)  # a burst of less than one
    answer = await ask(app, f"{PREFIX}/metrics")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    app = service(expose=True, rate_limit=0.01 + 1 / 5)  # a burst of one
    assert [(await ask(app, f"{PREFIX}/cache-stats")).status_code for _ in range(3)] == [200, 429, 429]


async def test_guessing_tokens_is_held_off_and_locks_nobody_out() -> None:
    app = service(token=TOKEN, rate_limit=0.01 + 1 / 5)
    wrong = {"Authorization": "Bearer guess"}
    answers = [await ask(app, f"{PREFIX}/metrics", headers=wrong) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 429, 429]
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert (await ask(app, f"{PREFIX}/metrics", headers=right)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/metrics/more", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/report", 405),
        ("GET", "/slow-queries?limit=0", 422),
        ("GET", "/slow-queries?limit=many", 422),
        ("GET", "/slow-queries?limit=1001", 422),
        ("GET", "/slow-queries?limit=00000199999", 422),
        ("GET", "/slow-queries?limit=%D9%A3", 422),  # a three, in Arabic
        ("GET", "/slow-queries?limit=99999999999999999999999999", 422),
    ],
)
async def test_what_is_not_there_or_not_understood_is_refused(method: str, path: str, status: int) -> None:
    answer = await ask(service(expose=True), PREFIX + path, method)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert answer.headers["cache-control"] == "no-store"


async def test_head_has_the_headers_and_no_body() -> None:
    answer = await ask(service(expose=True), f"{PREFIX}/cache-stats", "HEAD")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 2
    assert answer.content == b""


async def test_the_prefix_is_the_callers_and_ends_at_a_slash() -> None:
    app = service(expose=True, prefix="/perf/")
    assert (await ask(app, "/perf/metrics")).json()["requests"]["count"] == 0
    assert (await ask(app, "/performance")).status_code == 404
    assert app.monitor.metrics()["requests"]["count"] == 1


async def test_the_endpoints_are_found_behind_a_servers_root_path() -> None:
    transport = httpx.ASGITransport(service(expose=True), root_path="/proxy")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get(f"/proxy{PREFIX}/cache-stats")).json()["caches"]


async def test_the_endpoints_can_be_mounted_in_another_application() -> None:
    monitor = PerformanceMonitor(caches=[FakeCache()], pools=(), tiers=())
    app = Starlette(
        routes=[
            Mount("/open", performance_app(monitor, expose=True)),
            Mount("/closed", performance_app(monitor)),
            Mount("/locked", performance_app(monitor, token=TOKEN)),
        ]
    )
    assert (await ask(app, "/open/cache-stats")).json()["caches"][0]["hits"] == 3
    assert (await ask(app, "/closed/cache-stats")).status_code == 404
    assert (await ask(app, "/locked/cache-stats")).status_code == 401


async def test_the_endpoints_alone_speak_the_lifespan_protocol() -> None:
    incoming = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": next(incoming)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    app = performance_app(PerformanceMonitor(caches=(), pools=(), tiers=()))
    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_the_token_appears_in_no_answer_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app = service(token=TOKEN)
    texts = [repr(app), repr(vars(app)), caplog.text]
    for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"}):
        texts += [(await ask(app, f"{PREFIX}/{path}", headers=headers)).text for path in PATHS]
    assert not [text for text in texts if TOKEN in text]


# ---- POST /analyze


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL)")
        connection.executemany("INSERT INTO orders (customer, total) VALUES (?, ?)", [("a", 1.0)] * 50)
        connection.commit()
    return path


def contents(path: Path) -> bytes:
    return path.read_bytes()


def analyzing(database: Path | None, **options: Any) -> PerformanceMiddleware:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=(), database=database)
    return PerformanceMiddleware(Starlette(), monitor=monitor, expose=True, **options)


async def analyze(app: Any, sql: str) -> httpx.Response:
    return await ask(app, f"{PREFIX}/analyze", "POST", json={"sql": sql})


async def test_a_statement_is_explained_and_the_database_keeps_its_bytes(database: Path) -> None:
    before = contents(database)
    answer = await analyze(analyzing(database), "SELECT * FROM orders WHERE customer = 'CANARY'")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert "full-scan" in {issue["code"] for issue in found["issues"]}
    assert found["fingerprint"]
    assert "CANARY" not in answer.text
    assert (await analyze(analyzing(database), "DELETE FROM orders")).status_code == 200
    assert contents(database) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders; DROP TABLE orders",
        "ATTACH 'other.db' AS other",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('evil')",
        "SELECT * FROM nowhere WHERE name = 'CANARY'",
        "SELECT * FROM orders WHERE customer = 'CANARY",
        "SELECT 1 'CANARY' 'CANARY'",
        "SELECT 12CANARY",
    ],
)
async def test_what_must_not_run_or_cannot_is_refused_without_its_literals(database: Path, sql: str) -> None:
    before = contents(database)
    answer = await analyze(analyzing(database), sql)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert "CANARY" not in answer.text
    assert contents(database) == before


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b'{"sql": "SELECT 1"}', "headers": {"Content-Type": "text/plain"}}, 415),
        ({"content": b'{"sql": "SELECT 1"}'}, 415),
        ({"data": {"sql": "SELECT 1"}}, 415),
        ({"content": b"{not json", "headers": {"Content-Type": "application/json"}}, 422),
        ({"content": b"[" * 60_000, "headers": {"Content-Type": "application/json"}}, 422),
        ({"json": ["SELECT 1"]}, 422),
        ({"json": {"sql": 7}}, 422),
        ({"json": {"sql": "  "}}, 422),
        ({"json": {"sql": "DELETE FROM t\0 WHERE a = 1"}}, 422),
        (
            {"content": rb'{"sql": "SELECT \udc80"}', "headers": {"Content-Type": "application/json"}},
            422,
        ),
        ({"json": {"sql": "SELECT '" + "x" * 65_536 + "'"}}, 413),
        ({"content": b"x" * (10 << 20), "headers": {"Content-Type": "application/json"}}, 413),
    ],
)
async def test_bodies_that_are_too_large_or_not_json_are_refused(
    database: Path, options: dict[str, Any], status: int
) -> None:
    answer = await ask(analyzing(database), f"{PREFIX}/analyze", "POST", **options)
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_a_body_that_grows_past_its_declared_length_is_cut_off(database: Path) -> None:
    asked = 0

    async def endless() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 4096, "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"{PREFIX}/analyze",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", b"2"),
        ],
    }
    await analyzing(database)(scope, endless, send)
    assert sent[0]["status"] == 413
    assert asked == 17


async def test_a_client_that_leaves_half_way_ends_the_analysis(database: Path) -> None:
    async def leaves() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": f"{PREFIX}/analyze", "headers": headers}
    await analyzing(database)(scope, leaves, send)
    assert sent[0]["status"] == 400


async def test_two_analyses_at_once_are_enough(database: Path) -> None:
    waiting = [asyncio.Event(), asyncio.Event()]
    release = asyncio.Event()

    async def slow_body(reading: asyncio.Event) -> dict[str, Any]:
        reading.set()
        await release.wait()
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        return None

    app = analyzing(database)
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": f"{PREFIX}/analyze", "headers": headers}
    tasks = [
        asyncio.create_task(app(dict(scope), functools.partial(slow_body, reading), send))  # type: ignore[arg-type]
        for reading in waiting
    ]
    for reading in waiting:
        await reading.wait()
    assert (await analyze(app, "SELECT 1")).status_code == 429
    release.set()
    await asyncio.gather(*tasks)
    assert (await analyze(app, "SELECT id FROM orders WHERE id = 1")).status_code == 200


async def test_without_a_database_there_is_nothing_to_analyze() -> None:
    assert (await analyze(analyzing(None), "SELECT 1")).status_code == 404


async def test_analyze_is_for_post_and_asks_for_the_token_like_the_others(database: Path) -> None:
    assert (await ask(analyzing(database), f"{PREFIX}/analyze")).status_code == 405
    assert (await analyze(analyzing(database, token=TOKEN), "SELECT 1")).status_code == 401


async def test_a_file_that_is_no_database_is_said_to_be_unreadable(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database at all" * 400)
    assert (await analyze(analyzing(broken), "SELECT 1 FROM orders")).status_code == 503


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_endpoint_is_documented(path: str) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert path in (PerformanceMiddleware.__doc__ or "")
    assert path in readme


# ---- POST /advice


async def advice(app: Any, **options: Any) -> httpx.Response:
    return await ask(app, f"{PREFIX}/advice", "POST", **(options or {"json": {}}))


async def test_indexes_are_tried_for_what_the_pools_saw_and_the_database_keeps_its_bytes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL)")
        connection.executemany(
            "INSERT INTO orders (customer, total) VALUES (?, 1)", ((f"c{n % 700}",) for n in range(7000))
        )
        connection.commit()
    async with SQLitePool(path) as pool:
        for customer in ("CANARY", "c7"):
            await pool.fetch("SELECT total FROM orders WHERE customer = ?", (customer,))
        monitor = PerformanceMonitor(caches=(), pools=(pool,), tiers=())
        app = PerformanceMiddleware(Starlette(), monitor=monitor, expose=True)
        before = contents(path)
        answer = await advice(app)
        again = await advice(app)
        assert contents(path) == before
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (index,) = found["advice"]["indexes"]
    assert index["ddl"] == "CREATE INDEX idx_orders_customer ON orders(customer)"
    assert index["verified"]
    (report,) = found["reports"]
    assert report["plan"][0]["detail"].startswith("SCAN")
    assert "CANARY" not in answer.text
    assert again.json() == found


async def test_advice_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database at all" * 400)
    assert (await advice(analyzing(None))).status_code == 404
    assert (await advice(analyzing(broken), data={"a": "b"})).status_code == 415
    assert (await ask(analyzing(broken), f"{PREFIX}/advice")).status_code == 405
    async with SQLitePool(tmp_path / "sound.db") as pool:
        await pool.fetch("SELECT 1")
        monitor = PerformanceMonitor(caches=(), pools=(pool,), tiers=(), database=broken)
        app = PerformanceMiddleware(Starlette(), monitor=monitor, expose=True)
        assert (await advice(app)).status_code == 503


async def test_health_names_what_is_critical() -> None:
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    app = performance_app(monitor, expose=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/health")).json() == {"status": "ok", "critical": []}
        for _ in range(1000):  # half of the requests fail
            for status in (200, 500):
                await _record(monitor, status)
        answer = (await client.get("/health")).json()
    assert answer["status"] == "critical"
    assert answer["critical"] == [one.code for one in monitor.recommendations() if one.severity == "critical"]


async def _record(monitor: PerformanceMonitor, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "scheme": "http"}
    await PerformanceMiddleware(app, monitor=monitor)(scope, None, send)  # type: ignore[arg-type]


async def test_health_leaves_the_loop_to_others_while_it_looks_for_indexes() -> None:
    monitor, looked = PerformanceMonitor(caches=[], pools=[], tiers=[]), threading.Event()

    def slow() -> list[Any]:
        assert looked.wait(60)  # for what only the loop can do meanwhile
        return []

    monitor.recommendations = slow  # type: ignore[method-assign]
    app = performance_app(monitor, expose=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = asyncio.ensure_future(client.get("/health"))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, looked.set)
        assert (await answer).json()["status"] == "ok"
