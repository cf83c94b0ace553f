"""What counts as a failed request: a status from 500 on, or whatever was raised, also after a response had
begun; never a client that went away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mcp_performance import PerformanceMiddleware, PerformanceMonitor
from mcp_performance.integrations.flask import PerformanceMiddleware as WsgiMiddleware

Handler = Callable[[Request], Awaitable[Response]]


class Outcome(NamedTuple):
    status: int
    error_type: str
    errors: int


def outcome(monitor: PerformanceMonitor) -> Outcome:
    """Of the one request that there was."""
    requests = monitor.metrics()["requests"]
    (route,) = requests["routes"]
    assert requests["count"] == requests["last_minute"]["count"] == 1
    assert requests["active"] == 0
    assert requests["errors"] == requests["last_minute"]["errors"] == route["errors"]
    return Outcome(route["status"], route["error_type"], route["errors"])


def quiet() -> PerformanceMonitor:
    return PerformanceMonitor(caches=(), pools=(), tiers=())


async def answered(request: Request) -> Response:
    return PlainTextResponse("fine")


async def refused(request: Request) -> Response:
    return PlainTextResponse("no", status_code=422)


async def unavailable(request: Request) -> Response:
    return PlainTextResponse("later", status_code=503)


async def raises(request: Request) -> Response:
    raise KeyError("no")


async def times_out(request: Request) -> Response:
    async with asyncio.timeout(0):
        await asyncio.sleep(60)
    raise AssertionError


async def cancelled(request: Request) -> Response:
    raise asyncio.CancelledError


async def a_group_of_one_kind(request: Request) -> Response:
    raise ExceptionGroup("some", [ValueError("a"), ExceptionGroup("more", [ValueError("b")])])


async def a_group_of_several(request: Request) -> Response:
    raise ExceptionGroup("some", [ValueError("a"), KeyError("b")])


async def reads_from_one_that_left(request: Request) -> Response:
    await request.body()
    raise AssertionError


async def breaks_off(request: Request) -> Response:
    async def parts() -> Any:
        yield b"a"
        raise OSError("upstream")

    return StreamingResponse(parts())


def broken() -> None:
    raise LookupError("later")


async def async_broken() -> None:
    raise LookupError("later")


async def fails_behind(request: Request) -> Response:
    return PlainTextResponse("fine", background=BackgroundTask(broken))


async def several_behind(request: Request) -> Response:
    tasks = BackgroundTasks()
    tasks.add_task(async_broken)
    return PlainTextResponse("made", status_code=201, background=tasks)


async def left_in_the_background(request: Request) -> Response:
    async def wait() -> None:
        raise ClientDisconnect

    return PlainTextResponse("fine", background=BackgroundTask(wait))


OUTCOMES: dict[Handler, Outcome] = {
    answered: Outcome(200, "", 0),
    refused: Outcome(422, "", 0),
    unavailable: Outcome(503, "", 1),
    raises: Outcome(500, "KeyError", 1),
    times_out: Outcome(500, "TimeoutError", 1),
    cancelled: Outcome(499, "CancelledError", 0),
    a_group_of_one_kind: Outcome(500, "ValueError", 1),
    a_group_of_several: Outcome(500, "ExceptionGroup", 1),
    reads_from_one_that_left: Outcome(499, "ClientDisconnect", 0),
    breaks_off: Outcome(200, "OSError", 1),
    fails_behind: Outcome(200, "LookupError", 1),
    several_behind: Outcome(201, "LookupError", 1),
    left_in_the_background: Outcome(200, "ClientDisconnect", 0),
}


class Gone:
    """A server whose client has left."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "scheme": "http",
        "root_path": "",
    }


async def run(app: Any, receive: Any, send: Any) -> None:
    """What it raises is its own affair."""
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await app(scope(), receive, send)


@pytest.mark.parametrize("handler", OUTCOMES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_an_asgi_request_has_one_outcome(framework: type[Any], handler: Handler) -> None:
    app = PerformanceMiddleware(framework(routes=[Route("/", handler)]), monitor=quiet())
    done = asyncio.Event()
    gone = Gone()

    async def receive() -> dict[str, Any]:
        if handler is reads_from_one_that_left:
            return await gone.receive()
        await done.wait()  # the client stays
        return {"type": "http.disconnect"}

    await run(app, receive, gone.send)
    assert outcome(app.monitor) == OUTCOMES[handler]


async def returns(scope: Any, receive: Any, send: Any) -> None:
    return None


async def test_an_application_that_answers_nobody_who_left_has_not_failed() -> None:
    app = PerformanceMiddleware(returns, monitor=quiet())
    await run(app, Gone().receive, Gone().send)
    assert outcome(app.monitor) == Outcome(499, "ClientDisconnect", 0)


async def test_a_server_that_gives_up_a_response_in_the_middle_is_no_failure_of_the_application() -> None:
    async def streams(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 206, "headers": []})
        raise asyncio.CancelledError

    app = PerformanceMiddleware(streams, monitor=quiet())
    await run(app, has_more, Gone().send)
    assert outcome(app.monitor) == Outcome(206, "CancelledError", 0)


async def has_more() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": True}


async def waits() -> dict[str, Any]:
    await asyncio.sleep(60)
    raise AssertionError


async def is_broken() -> dict[str, Any]:
    raise OSError


def answers_later() -> Any:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("receive", [has_more, waits, is_broken, answers_later, None])
async def test_one_that_answers_nothing_to_a_client_that_waits_has_failed(receive: Any) -> None:
    app = PerformanceMiddleware(returns, monitor=quiet())
    await run(app, receive, Gone().send)
    assert outcome(app.monitor) == Outcome(500, "", 1)


class Parts:
    """A body of two pieces, that may fail at the second and when it is closed."""

    def __init__(self, error: BaseException | None, at_close: BaseException | None = None) -> None:
        self._error = error
        self._at_close = at_close

    def __iter__(self) -> Iterator[bytes]:
        yield b"a"
        if self._error is not None:
            raise self._error
        yield b"b"

    def close(self) -> None:
        if self._at_close is not None:
            raise self._at_close


def sends_again(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    try:
        raise ValueError("too late")
    except ValueError as error:
        start_response("500 Failed", [], (type(error), error, error.__traceback__))
    return []


def body(error: BaseException | None, at_close: BaseException | None = None, status: str = "200 OK") -> Any:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(status, [])
        return Parts(error, at_close)

    return app


def at_once(error: BaseException) -> Any:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise error

    return app


def wsgi(app: Any, *, pieces: int = 10) -> Outcome:
    """As a server does it: *pieces* of the body, then the end of it."""
    monitor = quiet()
    measured = WsgiMiddleware(app, monitor=monitor)

    def start_response(status: str, headers: Any, info: Any = None) -> Any:
        if info is not None:
            raise info[1]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http"}
    with contextlib.suppress(Exception, SystemExit):
        answer: Any = measured(environ, start_response)
        try:
            for _, _ in zip(range(pieces), answer, strict=False):
                pass
        finally:
            answer.close()
    return outcome(monitor)


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (body(None), Outcome(200, "", 0)),
        (body(None, status="404 Not Found"), Outcome(404, "", 0)),
        (body(None, status="502 Bad Gateway"), Outcome(502, "", 1)),
        (body(OSError()), Outcome(200, "OSError", 1)),
        (body(OSError(), RuntimeError()), Outcome(200, "OSError", 1)),
        (body(SystemExit()), Outcome(200, "SystemExit", 1)),
        (at_once(KeyError()), Outcome(500, "KeyError", 1)),
        (at_once(ExceptionGroup("", [KeyError()])), Outcome(500, "KeyError", 1)),
        (sends_again, Outcome(200, "ValueError", 1)),
    ],
)
def test_a_wsgi_request_has_one_outcome(app: Any, expected: Outcome) -> None:
    assert wsgi(app) == expected


def test_a_wsgi_client_that_leaves_in_the_middle_is_no_failure_but_what_raises_then_is() -> None:
    assert wsgi(body(None), pieces=1) == Outcome(200, "", 0)
    assert wsgi(body(None, RuntimeError()), pieces=1) == Outcome(200, "RuntimeError", 1)


async def test_what_made_room_for_others_stays_failed_or_not() -> None:
    monitor = quiet()
    for number in range(600):
        for status, error in ((200, ""), (200, "OSError"), (200, "CancelledError"), (499, "CancelledError")):
            monitor.requests.begin()
            monitor.requests.end("GET", f"/{number}", "http", status, error, 0.1, 0.1, 0.1)
    requests = monitor.metrics()["requests"]
    assert (requests["count"], requests["errors"]) == (2400, 600)
    assert requests["folded_series"] > 0
    assert sum(route["errors"] for route in requests["routes"]) == 600


def test_operations_that_nobody_waited_for_stay_no_failures_in_the_rest() -> None:
    monitor = quiet()
    for number in range(300):
        for error in ("", "ToolError", "CancelledError"):
            monitor.requests.operation("tools/call", f"tool-{number}", "mcp", error, 0.1)
    operations = monitor.metrics()["operations"]
    assert sum(one["count"] for one in operations) == 900
    assert sum(one["errors"] for one in operations) == 300
