"""Flask applications, and others of WSGI, behind the middleware."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from mcp_performance import ConfigurationError, PerformanceMonitor
from mcp_performance.integrations.flask import PerformanceMiddleware


def measured() -> tuple[flask.Flask, PerformanceMonitor]:
    app = flask.Flask(__name__, static_folder=Path(__file__).parent, static_url_path="/static")
    shop = flask.Blueprint("shop", __name__, url_prefix="/shop")

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        return str(number)

    @shop.route("/items/<path:item>", methods=["GET", "PUT"])
    def item(item: str) -> str:
        return item

    @app.get("/fails")
    def fails() -> str:
        raise KeyError("no")

    @app.get("/streams")
    def streams() -> Any:
        def parts() -> Iterator[str]:
            yield "a"
            yield "b"

        return flask.Response(parts())

    app.register_blueprint(shop)
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    app.wsgi_app = PerformanceMiddleware(app.wsgi_app, monitor=monitor)  # type: ignore[method-assign]
    return app, monitor


def counts(monitor: PerformanceMonitor) -> dict[tuple[str, str, int], int]:
    routes = monitor.metrics()["requests"]["routes"]
    return {(one["method"], one["route"], one["status"]): one["count"] for one in routes}


def test_requests_are_counted_by_the_rule_that_took_them() -> None:
    app, monitor = measured()
    client = app.test_client()
    for path in (
        "/users/7",
        "/users/8",
        "/shop/items/a/b",
        "/static/test_flask.py",
        "/fails",
        "/none",
        "/none2",
    ):
        client.get(path, buffered=True)
    client.put("/shop/items/x", buffered=True)
    client.post("/users/7", buffered=True)
    client.open("/users/7", method="BREW", buffered=True)
    assert client.get("/streams").data == b"ab"
    assert counts(monitor) == {
        ("GET", "/users/<int:number>", 200): 2,
        ("GET", "/shop/items/<path:item>", 200): 1,
        ("PUT", "/shop/items/<path:item>", 200): 1,
        ("GET", "/static/<path:filename>", 200): 1,
        ("GET", "/fails", 500): 1,
        ("GET", "/streams", 200): 1,
        ("POST", "/users/<int:number>", 405): 1,
        ("_OTHER", "/users/<int:number>", 405): 1,
        ("GET", "_UNMATCHED", 404): 2,
    }
    assert monitor.metrics()["requests"]["active"] == 0


def shop() -> flask.Flask:
    app = flask.Flask("shop")

    @app.get("/items/<item>")
    def item(item: str) -> str:
        if item == "broken":
            raise KeyError(item)
        if item == "halfway":
            raise_later: Iterator[str] = (part if part == "a" else {}[part] for part in "ab")
            return flask.Response(raise_later)  # type: ignore[return-value]
        return item

    return app


def mounted() -> Any:
    inner = DispatcherMiddleware(shop().wsgi_app, {"/inner": ProxyFix(shop().wsgi_app)})
    return DispatcherMiddleware(flask.Flask("none").wsgi_app, {"/outer": inner, "/alone": shop()})


@pytest.mark.parametrize(
    ("make", "method", "path", "route", "status", "error"),
    [
        (lambda: ProxyFix(shop().wsgi_app, x_prefix=1), "GET", "/items/a", "/items/<item>", 200, ""),
        (lambda: ProxyFix(shop().wsgi_app, x_prefix=1), "PUT", "/items/a", "/items/<item>", 405, ""),
        (lambda: ProxyFix(shop().wsgi_app), "GET", "/none", "_UNMATCHED", 404, ""),
        (shop, "GET", "/items/broken", "/items/<item>", 500, "KeyError"),
        (shop, "GET", "/items/halfway", "/items/<item>", 200, "KeyError"),
        (mounted, "GET", "/alone/items/a", "/alone/items/<item>", 200, ""),
        (mounted, "GET", "/outer/items/a", "/outer/items/<item>", 200, ""),
        (mounted, "GET", "/outer/inner/items/a", "/outer/inner/items/<item>", 200, ""),
        (mounted, "PUT", "/outer/inner/items/a", "/outer/inner/items/<item>", 405, ""),
        (mounted, "GET", "/outer/inner/items/broken", "/outer/inner/items/<item>", 500, "KeyError"),
        (mounted, "GET", "/outer/none", "_UNMATCHED", 404, ""),
    ],
)
def test_whatever_is_in_between_the_rule_and_the_exception_are_flasks(
    make: Any, method: str, path: str, route: str, status: int, error: str
) -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    client = Client(PerformanceMiddleware(make(), monitor=monitor))
    with contextlib.suppress(KeyError):  # the server's, of a stream that breaks
        # A prefix that a client says of itself is no part of a name.
        client.open(path, method=method, buffered=True, headers={"X-Forwarded-Prefix": "/evil"})
    (one,) = monitor.metrics()["requests"]["routes"]
    assert (one["route"], one["status"], one["error_type"]) == (route, status, error)
    assert monitor.metrics()["requests"]["active"] == 0


def test_a_request_whose_body_the_server_drops_has_ended() -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    app = PerformanceMiddleware(shop().wsgi_app, monitor=monitor)
    Client(app).get("/items/a")  # neither read nor closed
    gc.collect()
    assert counts(monitor) == {("GET", "/items/<item>", 200): 1}
    assert monitor.metrics()["requests"]["active"] == 0


def test_what_is_no_body_is_an_error_of_the_application(recwarn: pytest.WarningsRecorder) -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    app = PerformanceMiddleware(lambda environ, start_response: None, monitor=monitor)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="not iterable"):
        app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    gc.collect()
    assert counts(monitor) == {("GET", "_UNMATCHED", 500): 1}
    assert not recwarn.list


def test_any_application_of_wsgi_is_counted_and_its_errors_are_its_own() -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    closed: list[bool] = []

    class Parts(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/fails":
            raise LookupError("mine")
        environ["mcp_performance.route"] = "/named/{x}"
        start_response("201 Created", [])
        return Parts([b"a", b"b"])

    app = PerformanceMiddleware(application, monitor=monitor)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/named/1", "wsgi.url_scheme": "https"}
    body = app(dict(environ), lambda *_: None)
    assert monitor.metrics()["requests"]["active"] == 1
    assert b"".join(body) == b"ab"
    body.close()  # type: ignore[attr-defined]
    with pytest.raises(LookupError, match="mine"):
        app({**environ, "PATH_INFO": "/fails"}, lambda *_: None)
    assert counts(monitor) == {("GET", "/named/{x}", 201): 1, ("GET", "_UNMATCHED", 500): 1}
    assert closed == [True]
    (failed,) = (one for one in monitor.metrics()["requests"]["routes"] if one["status"] == 500)
    assert (failed["error_type"], failed["scheme"]) == ("LookupError", "https")


PREFIX = "/api/mcp/performance"
TOKEN = {"Authorization": "Bearer secret"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "content", "words"),
    [
        ("GET", "/metrics", TOKEN, 200, "application/json", b'"/items/<item>"'),
        ("GET", "/metrics", {**TOKEN, "Accept": "text/plain"}, 200, "text/plain; version=0.0.4", b"# TYPE"),
        ("GET", "/metrics?workers=none", TOKEN, 422, "application/json", b"workers"),
        ("HEAD", "/metrics", TOKEN, 200, "application/json", b""),
        ("POST", "/metrics", TOKEN, 405, "application/json", b"method not allowed"),
        ("GET", "/report", TOKEN, 200, "application/json", b"recommendations"),
        ("GET", "/metrics", {}, 401, "application/json", b"token"),
        ("GET", "/metrics", {**TOKEN, "Host": "evil.example.org"}, 403, "application/json", b"allow_hosts"),
        ("GET", "/dashboard", {}, 200, "text/html", b"<!doctype html>"),
        ("GET", "/none", TOKEN, 404, "application/json", b"not found"),
        ("POST", "/analyze", TOKEN, 404, "application/json", b"no database"),
    ],
)
def test_the_endpoints_and_the_page_are_served_over_wsgi_and_count_as_no_traffic(
    method: str, path: str, headers: dict[str, str], status: int, content: str, words: bytes
) -> None:
    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    client = Client(PerformanceMiddleware(shop().wsgi_app, monitor=monitor, token="secret"))
    client.get("/items/a", buffered=True)
    body = {"sql": "SELECT 1"} if method == "POST" else None
    answer = client.open(PREFIX + path, method=method, headers=headers, json=body)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith(content)
    assert words in answer.data
    assert bool(answer.data) == (method != "HEAD")
    assert counts(monitor) == {("GET", "/items/<item>", 200): 1}


def test_a_stream_over_wsgi_says_what_there_is_and_ends() -> None:
    client = Client(PerformanceMiddleware(shop().wsgi_app, token="secret"))
    text = client.get(f"{PREFIX}/events?step=1", headers=TOKEN).text
    assert [part.partition("\n")[0] for part in text.strip().split("\n\n")] == [
        "event: history",
        "event: report",
    ]


async def test_an_endpoint_answers_where_a_loop_runs_as_in_an_async_test() -> None:
    client = Client(PerformanceMiddleware(shop().wsgi_app, token="secret"))
    assert client.get(f"{PREFIX}/metrics", headers=TOKEN).status_code == 200


def test_nothing_is_served_until_it_is_enabled() -> None:
    client = Client(PerformanceMiddleware(shop().wsgi_app))
    assert client.get(f"{PREFIX}/dashboard").status_code == 404


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"monitor": 3}, TypeError, "monitor=3"),
        ({"workers": "a/b"}, ConfigurationError, "workers='a/b'"),
        ({"app": None}, TypeError, "app=None"),
        ({"prefix": "none"}, ConfigurationError, "prefix='none'"),
        ({"expose": 3}, TypeError, "expose=3"),
        ({"tokens": "x"}, TypeError, "tokens"),
    ],
)
def test_a_bad_argument_is_an_error_that_names_it(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        PerformanceMiddleware(**{"app": lambda *_: [], **options})


@pytest.mark.parametrize(
    ("status", "counted"),
    [
        ("204 No Content", 204),
        ("204", 204),
        ("no status", 0),
        ("\u0662\u0660\u0664 Arabic", 0),
        (None, 0),
        (204, 0),
    ],
)
def test_what_an_application_calls_a_status_is_for_its_server_to_judge(status: Any, counted: int) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [], exc_info=None)
        return [b"body"]

    seen: list[Any] = []

    def start_response(*args: Any, **named: Any) -> None:
        seen.append((args, named))

    monitor = PerformanceMonitor(caches=(), pools=(), tiers=())
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http"}
    assert list(PerformanceMiddleware(app, monitor=monitor)(environ, start_response)) == [b"body"]
    assert seen == [((status, []), {"exc_info": None})]
    assert list(counts(monitor)) == [("GET", "_UNMATCHED", counted)]
