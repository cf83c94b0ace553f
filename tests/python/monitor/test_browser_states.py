"""The page in every state that it can be in: sound for axe, and nothing sticks out."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from chromium import PATIENCE, chromium, is_sound, until
from fault_proxy import fault_proxy
from mcp_performance import PerformanceMiddleware, PerformanceMonitor

PREFIX = "/api/mcp/performance"
TOKEN = "a-long-secret-token"
LONG = "/a/{number}/" + "very/long/" * 12 + "route"


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def fails(request: Request) -> Response:
    raise ZeroDivisionError


@contextlib.contextmanager
def serving(monitor: PerformanceMonitor) -> Iterator[int]:
    routes = [Route(f"{LONG}/{number}", hello) for number in range(12)]
    service = Starlette(routes=[*routes, Route("/fails", fails)])
    app = PerformanceMiddleware(service, monitor=monitor, token=TOKEN, rate_limit=1000)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join()


def ask(url: str, monitor: PerformanceMonitor) -> None:
    """Enough for advice, and for more names than a chart has room for."""
    # A connection each: a server closes it after a failure.
    with httpx.Client(timeout=60, headers={"connection": "close"}) as http:
        for number in range(110):
            path = "/fails" if number % 10 == 0 else f"{LONG.format(number=number)}/{number % 12}"
            http.get(url + path)
    for number in range(12):
        monitor.requests.operation("tools/call", f"tool-{number}" * 12, "mcp", "", 0.01)


async def test_each_state_is_sound() -> None:
    monitor = PerformanceMonitor(pools=[], caches=[], tiers=[])
    with serving(monitor) as port, fault_proxy(port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with chromium() as browser:
            page = await browser.new_page(viewport={"width": 360, "height": 740})
            page.set_default_timeout(PATIENCE)
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            await page.goto(f"{url}{PREFIX}/dashboard")
            token = page.get_by_label("Token")
            await token.wait_for()
            await is_sound(page, "asks for the token")
            for given, answer in (("wrong", "waiting for the token"), (TOKEN, "live")):
                await token.fill(given)
                await page.get_by_role("button", name="Open").click()
                await page.get_by_text(answer, exact=True).wait_for()
                await is_sound(page, answer)
            await until(page, "document.querySelectorAll('#tiles dd').length > 0")
            await is_sound(page, "without a request")
            ask(f"http://127.0.0.1:{port}", monitor)
            await page.get_by_text("look at GET /fails").wait_for()
            await page.get_by_text("500 ZeroDivisionError", exact=True).wait_for()
            await is_sound(page, "many routes, and advice")
            await page.get_by_role("button", name="Pause").click()
            await page.get_by_role("img", name="Throughput and errors").focus()
            for key in ("+", "ArrowLeft"):
                await page.keyboard.press(key)
            await is_sound(page, "paused and zoomed")
            await page.get_by_role("button", name="Go on").click()
            await page.get_by_text("live", exact=True).wait_for()
            proxy.cut()
            await page.get_by_text("not connected", exact=False).wait_for()
            await is_sound(page, "the stream is lost")
            proxy.let_go()
            await page.get_by_text("live", exact=True).wait_for()
            assert problems == []
