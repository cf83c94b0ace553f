"""What PerformanceMiddleware promises an ASGI application and its operator."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Mount, Route, Router

from mcp_performance import ConfigurationError, PerformanceMiddleware, PerformanceMonitor


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def fail(request: Request) -> Response:
    raise KeyError("nothing here")


def measured(app: Any, **options: Any) -> PerformanceMiddleware:
    return PerformanceMiddleware(app, monitor=PerformanceMonitor(caches=(), pools=(), tiers=()), **options)


def client(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def get(app: Any, *paths: str, method: str = "GET") -> list[httpx.Response]:
    async with client(app) as http:
        return [await http.request(method, path) for path in paths]


def series(app: PerformanceMiddleware) -> dict[tuple[str, str, int], dict[str, Any]]:
    routes = app.monitor.metrics()["requests"]["routes"]
    return {(entry["method"], entry["route"], entry["status"]): entry for entry in routes}


def names(app: PerformanceMiddleware) -> set[str]:
    return {route for _, route, _ in series(app)}


async def test_requests_are_counted_by_method_route_template_and_status() -> None:
    app = measured(Starlette(routes=[Route("/users/{name}", hello), Route("/fails", fail)]))
    await get(app, "/users/1", "/users/2", "/fails")
    assert series(app)[("GET", "/users/{name}", 200)]["count"] == 2
    failed = series(app)[("GET", "/fails", 500)]
    assert (failed["count"], failed["error_type"], failed["scheme"]) == (1, "KeyError", "http")
    requests = app.monitor.metrics()["requests"]
    assert (requests["count"], requests["errors"], requests["active"]) == (3, 1, 0)


async def test_whatever_no_route_takes_is_one_bucket() -> None:
    app = measured(Starlette(routes=[Route("/users/{name}", hello)]))
    await get(app, "/a", "/b/c", "/wp-login.php")
    assert series(app).keys() == {("GET", "_UNMATCHED", 404)}


async def test_an_unknown_method_is_one_label() -> None:
    app = measured(Starlette(routes=[Route("/", hello)]))
    await get(app, "/", method="BREW")
    assert series(app).keys() == {("_OTHER", "/", 405)}


async def test_mounts_keep_the_prefix_of_their_route() -> None:
    deep = Router([Route("/items/{item}", hello)])
    inner = Starlette(routes=[Route("/", hello), Route("/users/{name}", hello), Mount("/deep", deep)])
    app = measured(Starlette(routes=[Mount("/v1", inner), Mount("/tenants/{tenant}", inner)]))
    await get(
        app, "/v1/", "/v1/users/7", "/v1/deep/items/3", "/tenants/42/users/7", "/tenants/v1/deep/items/3"
    )
    assert names(app) == {
        "/v1/",
        "/v1/users/{name}",
        "/v1/deep/items/{item}",
        "/tenants/{tenant}/users/{name}",
        "/tenants/{tenant}/deep/items/{item}",
    }


async def test_a_mounted_application_without_routes_is_one_template() -> None:
    async def files(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("file")(scope, receive, send)

    app = measured(Starlette(routes=[Mount("/static", files)]))
    await get(app, "/static/a.css", "/static/b/c.js")
    assert names(app) == {"/static/{path}"}


async def test_hosts_and_a_servers_root_path_do_not_get_in_the_way() -> None:
    inner = Router([Mount("/v1", Router([Route("/users/{name}", hello)]))])
    app = measured(Starlette(routes=[Host("localhost", inner)]))
    transport = httpx.ASGITransport(app, root_path="/behind/a/proxy")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/behind/a/proxy/v1/users/7")).status_code == 200
    assert names(app) == {"/v1/users/{name}"}


async def test_fastapi_routers_keep_the_prefixes_they_were_included_with() -> None:
    inner, outer = APIRouter(), APIRouter(prefix="/shop")

    @inner.get("/{item}")
    async def item(item: int) -> int:
        return item

    outer.include_router(inner, prefix="/items")
    application = FastAPI()
    application.include_router(outer, prefix="/v1")
    application.include_router(outer, prefix="/v2")
    application.mount("/other", Starlette(routes=[Route("/users/{name}", hello)]))

    @application.get("/plain/{name}")
    async def plain(name: str) -> str:
        return name

    app = measured(application)
    answers = await get(
        app,
        "/v1/shop/items/1",
        "/v2/shop/items/2",
        "/plain/x",
        "/other/users/7",
        "/v1/nothing",
        "/v1/shop/items/word",
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 404, 422]
    assert names(app) == {
        "/v1/shop/items/{item}",
        "/v2/shop/items/{item}",
        "/plain/{name}",
        "/other/users/{name}",
        "_UNMATCHED",
    }


async def test_routes_added_later_are_known_by_their_own_names() -> None:
    application = Starlette(routes=[Route("/a", hello)])
    app = measured(application)
    await get(app, "/a")
    application.router.routes[:] = [Route("/b", hello)]
    gc.collect()
    await get(app, "/b")
    assert names(app) == {"/a", "/b"}


async def test_first_byte_last_byte_and_return_are_timed_apart() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        yield b"last"

    async def cleans_up() -> None:
        await asyncio.sleep(0)

    async def streams(request: Request) -> Response:
        return StreamingResponse(body(), background=BackgroundTask(cleans_up))

    app = measured(Starlette(routes=[Route("/", streams)]))
    await get(app, "/")
    (times,) = series(app).values()
    assert 0 < times["first_byte_mean_seconds"] < times["mean_seconds"] < times["returned_mean_seconds"]


async def test_the_applications_own_error_comes_through_as_it_is() -> None:
    failure = KeyError("mine")

    async def raises(scope: Any, receive: Any, send: Any) -> None:
        raise failure

    app = measured(raises)
    with pytest.raises(KeyError) as caught:
        await app({"type": "http", "method": "GET", "path": "/"}, None, None)  # type: ignore[arg-type]
    assert caught.value is failure
    assert series(app)[("GET", "_UNMATCHED", 500)]["error_type"] == "KeyError"


async def test_a_cancelled_request_is_counted_as_closed_by_its_client_not_as_an_error() -> None:
    started = asyncio.Event()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    app = measured(hangs)
    request = asyncio.ensure_future(app({"type": "http", "method": "GET", "path": "/"}, None, None))  # type: ignore[arg-type]
    await started.wait()
    assert app.monitor.metrics()["requests"]["active"] == 1
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert series(app).keys() == {("GET", "_UNMATCHED", 499)}
    requests = app.monitor.metrics()["requests"]
    assert (requests["active"], requests["errors"]) == (0, 0)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"type": "http.response.unknown"}, 500),
        ({"type": "http.response.start"}, 0),
        ({"type": "http.response.start", "status": "200"}, 0),
        ({"type": "http.response.start", "status": None}, 0),
        ({"type": "http.response.start", "status": 10**30}, 0),
        ({"type": "http.response.start", "status": -1}, 0),
        ({"status": 200}, 500),
        ("no mapping", 500),
        (None, 500),
    ],
)
async def test_an_application_that_sends_nonsense_gets_its_own_servers_error_not_ours(
    message: Any, status: int
) -> None:
    sent: list[Any] = []

    async def nonsense(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    async def send(message: Any) -> None:
        sent.append(message)

    app = measured(nonsense)
    await app({"type": "http", "method": "GET", "path": "/"}, None, send)  # type: ignore[arg-type]
    assert sent == [message]
    assert list(series(app)) == [("GET", "_UNMATCHED", status)]


async def test_a_route_that_cannot_be_named_masks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", complaints.append)

    class Strange:
        @property
        def path(self) -> str:
            raise RuntimeError("no name")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = Strange()

    app = measured(application)
    await app({"type": "http", "method": "GET", "path": "/"}, None, None)  # type: ignore[arg-type]
    assert names(app) == {"_OTHER"}
    assert "no name" in str(complaints[0].exc_value)


async def test_a_scope_of_any_mapping_type_is_served() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})

    async def send(message: Any) -> None:
        return None

    app = measured(application)
    scope = collections.UserDict({"type": "http", "method": "GET", "path": "/"})
    await app(scope, None, send)  # type: ignore[arg-type]
    assert series(app).keys() == {("_OTHER", "_UNMATCHED", 204)}


async def test_websockets_pass_through_uncounted() -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    app = measured(application)
    scope = {"type": "websocket", "path": "/api/mcp/performance/metrics"}
    receive, send = object(), object()
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert seen == [(scope, receive, send)]
    assert series(app) == {}


async def test_many_raw_paths_never_become_many_series() -> None:
    class Route:
        def __init__(self, path: str) -> None:
            self.path = path

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = Route(scope["path"])

    app = measured(application)
    for number in range(2000):
        await app({"type": "http", "method": "GET", "path": f"/{number}"}, None, None)  # type: ignore[arg-type]
    metrics = app.monitor.metrics()["requests"]
    assert len(metrics["routes"]) <= 512
    assert metrics["count"] == 2000


# ---- lifespan


class Resource:
    def __init__(self, name: str, events: list[str], error: Exception | None = None) -> None:
        self._name, self._events, self._error = name, events, error

    def close(self) -> None:
        self._events.append(self._name)
        if self._error is not None:
            raise self._error


class AsyncResource(Resource):
    async def close(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().close()


class Server:
    """The server's half of a lifespan conversation."""

    def __init__(self, app: Any) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.ensure_future(app({"type": "lifespan"}, self._to_app.get, self.answers.put))

    async def say(self, what: str) -> dict[str, Any]:
        await self._to_app.put({"type": f"lifespan.{what}"})
        return await self.answers.get()


async def test_shutdown_closes_sync_and_async_resources_after_the_application() -> None:
    events: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        events.append("up")
        yield
        events.append("down")

    app = measured(
        Starlette(lifespan=lifespan),
        resources=[Resource("opened first", events), AsyncResource("opened last", events)],
    )
    server = Server(app)
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    assert events == ["up"]
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
    await server.task
    assert events == ["up", "down", "opened last", "opened first"]


async def test_a_resource_that_cannot_be_closed_is_reported_and_keeps_no_other_open() -> None:
    events: list[str] = []
    app = measured(Starlette(), resources=[Resource("a", events), Resource("b", events, OSError("disk"))])
    server = Server(app)
    await server.say("startup")
    answer = await server.say("shutdown")
    await server.task
    assert events == ["b", "a"]
    assert answer["type"] == "lifespan.shutdown.failed"
    assert "disk" in answer["message"]


@pytest.mark.parametrize("speaks", ["raises", "returns", "receives and raises"])
async def test_an_application_without_lifespan_has_its_resources_closed_all_the_same(speaks: str) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if speaks == "receives and raises":
            await receive()
        if speaks != "returns":
            raise ValueError(f"no {scope['type']} here")

    events: list[str] = []
    server = Server(measured(application, resources=[Resource("pool", events)]))
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
    await server.task
    assert events == ["pool"]


async def test_a_failed_startup_stays_the_applications_and_closes_resources() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    events: list[str] = []
    server = Server(measured(Starlette(lifespan=lifespan), resources=[Resource("pool", events)]))
    answer = await server.say("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "no database" in answer["message"]
    with pytest.raises(RuntimeError, match="no database"):
        await server.task
    assert events == ["pool"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"prefix": "performance"}, ConfigurationError, "prefix='performance'"),
        ({"prefix": "/"}, ConfigurationError, "prefix='/'"),
        ({"prefix": 3}, TypeError, "prefix=3"),
        ({"expose": "yes"}, TypeError, "expose='yes'"),
        ({"token": ""}, ConfigurationError, "token: expected"),
        ({"token": "schlüssel"}, ConfigurationError, "token: expected"),
        ({"rate_limit": 0}, ConfigurationError, "rate_limit=0"),
        ({"allow_hosts": "example.com"}, TypeError, "expected a list"),
        ({"resources": [object()]}, TypeError, "neither aclose"),
    ],
)
def test_a_bad_argument_is_an_error_that_names_it(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        measured(Starlette(), **options)
