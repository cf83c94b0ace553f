"""The page in a real Chromium: three widths, light and dark, by keyboard, and without a finding of axe."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from chromium import PATIENCE, chromium, until
from fault_proxy import fault_proxy
from mcp_performance import PerformanceMiddleware, PerformanceMonitor, SQLitePool
from mcp_performance.monitor._history import STEPS, Key

PREFIX = "/api/mcp/performance"
TOKEN = "a-long-secret-token"


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def fails(request: Request) -> Response:
    return PlainTextResponse("no", 500)


@dataclass
class Service:
    url: str
    monitor: PerformanceMonitor


def past(monitor: PerformanceMonitor) -> None:
    """Two hours of figures, with a gap in them, as if they had been seen."""
    now = int(time.time())
    for step, points in ((STEPS[0], 300), (STEPS[1], 700), (STEPS[2], 1400)):
        last = now // step.seconds - 1
        for number in range(last - points, last):
            if 40 < last - number < 60:
                continue
            wave = 1 + (number % 30) / 30
            figures = {
                Key("requests", "", "rate", "1/s"): 120 * wave,
                Key("requests", "", "errors", "1/s"): 2 * wave,
                Key("requests", "", "p50", "s"): 0.004 * wave,
                Key("requests", "", "p95", "s"): 0.012 * wave,
                Key("requests", "", "p99", "s"): 0.031 * wave,
                Key("route", "GET /hello", "rate", "1/s"): 100 * wave,
                Key("route", "GET /fails", "rate", "1/s"): 20 * wave,
                Key("route", "GET /hello", "p95", "s"): 0.008,
                Key("operation", "tools/call search", "rate", "1/s"): 7 * wave,
                Key("operation", "tools/call search", "p95", "s"): 0.05 * wave,
                Key("cache", "users", "hit ratio", "1"): 0.9,
                Key("pool", "shop.db", "in use", "1"): 2.0,
                Key("pool", "shop.db", "waiting", "1"): 0.0,
                Key("process", "", "cores used", "1"): 0.4 * wave,
                Key("process", "", "cores allowed", "1"): 2.0,
                Key("process", "", "memory used", "B"): 3e8 * wave,
                Key("process", "", "memory allowed", "B"): 1e9,
            }
            monitor.history.put(step, number, figures)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service under uvicorn with a past, asked now and then."""
    monitor = PerformanceMonitor(pools=[], caches=[], tiers=[], high_memory=0)  # something to advise
    past(monitor)
    with serving(monitor) as url:
        for path in ("/hello", "/hello", "/fails"):
            httpx.get(url + path, timeout=60)
        monitor.requests.operation("tools/call", "<i>search</i>", "mcp", "ToolError", 0.02)
        yield Service(url, monitor)


@contextlib.contextmanager
def serving(monitor: PerformanceMonitor) -> Iterator[str]:
    routes = [Route("/hello", hello), Route("/fails", fails)]
    app = PerformanceMiddleware(Starlette(routes=routes), monitor=monitor, token=TOKEN, rate_limit=1000)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@contextlib.asynccontextmanager
async def opened(service: Service, **options: Any) -> AsyncIterator[Page]:
    """The page with its token given, once it is live; nothing it does may fail."""
    async with chromium() as browser:
        page = await browser.new_page(**options)
        page.set_default_timeout(PATIENCE)
        problems: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda line: problems.append(line.text) if "Content Security" in line.text else None
        )
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{service.url}{PREFIX}/dashboard")
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Open").click()
        await page.get_by_text("live", exact=True).wait_for()
        await page.locator("canvas").first.wait_for()
        yield page
        assert problems == []
        assert all(url.startswith((service.url, "data:")) for url in asked)
        assert not any(TOKEN in url for url in asked)


SIZES = [(360, 740), (768, 1024), (1440, 900)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
async def test_it_fits_and_axe_finds_nothing(service: Service, width: int, height: int, scheme: Any) -> None:
    async with opened(service, viewport={"width": width, "height": height}, color_scheme=scheme) as page:
        await page.locator("#tiles dd").first.wait_for()
        await page.get_by_text("lower the capacity of caches").wait_for()
        await page.get_by_text("Cache(maxsize=...)").wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


async def test_charts_have_units_legends_and_what_came_before_the_page_was_opened(service: Service) -> None:
    async with opened(service) as page:
        label = await page.get_by_role("img", name="Response times").get_attribute("aria-label")
        assert label is not None
        for line in ("P50", "P95", "P99"):
            assert line in label
        shown = await page.evaluate("page.store.time.length")
        assert shown > 250
        legend = page.locator("figure", has_text="By route").locator(".legend button")
        assert "GET /hello" in " ".join(await legend.all_inner_texts())


async def test_tools_are_drawn_and_listed_by_name_and_no_name_is_markup(service: Service) -> None:
    async with opened(service) as page:
        chart = page.get_by_role("img", name="By tool, task and statement")
        assert "tools/call search" in (await chart.get_attribute("aria-label") or "")
        table = page.get_by_role("region", name="Table of tools, tasks and statements")
        await table.get_by_text("tools/call <i>search</i>").wait_for()
        await table.get_by_text("ToolError").wait_for()


async def test_seconds_without_figures_are_a_gap(service: Service) -> None:
    async with opened(service) as page:
        values = await page.evaluate("series(page.store, 'requests', '', 'rate')")
        gap = values.index(None)
        assert 0 < gap < len(values) - 1
        assert values[gap : gap + 19] == [None] * 19


async def test_points_come_by_themselves(service: Service) -> None:
    async with opened(service) as page:
        before = await page.evaluate("page.store.newest")
        await until(page, f"page.store.newest > {before + 1}")


async def test_points_of_times_to_come_are_dropped_when_the_clock_was_set_back(service: Service) -> None:
    async with opened(service) as page:
        now = await page.evaluate("page.store.newest")
        # As if the points so far had been told by a clock that went an hour fast.
        await page.evaluate("page.store.newest += 3600")
        await page.evaluate("page.store.time = page.store.time.map((t) => t + 3600)")
        await page.evaluate("restart()")
        await until(page, f"page.store.newest >= {now} && page.store.newest < {now} + 3000")
        assert await page.evaluate("page.store.time.every((t) => t <= page.store.newest)")
        assert await page.evaluate("page.store.time.length") > 250


async def test_another_range_shows_another_step(service: Service) -> None:
    async with opened(service) as page:
        await page.get_by_label("Range").select_option("60")
        await until(page, "page.store.step === 60 && page.store.time.length > 1300")


async def test_the_keyboard_reads_and_zooms(service: Service) -> None:
    async with opened(service) as page:
        await page.get_by_role("button", name="Pause").click()
        chart = page.get_by_role("img", name="Throughput and errors")
        await chart.focus()
        whole = await page.evaluate("page.charts[0].plot.scales.x.max - page.charts[0].plot.scales.x.min")
        await page.keyboard.press("+")
        near = "page.charts[3].plot.scales.x.max - page.charts[3].plot.scales.x.min"
        await until(page, f"{near} < {whole}")  # all charts show the same time
        await page.keyboard.press("ArrowLeft")
        reading = await page.locator("#reading").inner_text()
        assert "Throughput and errors at" in reading
        await page.keyboard.press("0")
        await until(page, f"Math.abs({near} - {whole}) < 1")


async def test_a_wrong_token_is_asked_for_again(service: Service) -> None:
    async with chromium() as browser:
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE)
        await page.goto(f"{service.url}{PREFIX}/dashboard")
        for token, answer in (("wrong", "waiting for the token"), (TOKEN, "live")):
            await page.get_by_label("Token").fill(token)
            await page.get_by_role("button", name="Open").click()
            await page.get_by_text(answer, exact=True).wait_for()


async def test_it_says_when_the_service_is_gone(service: Service) -> None:
    port = int(service.url.rpartition(":")[2])
    with fault_proxy(port) as proxy:
        async with opened(Service(f"http://127.0.0.1:{proxy.port}", service.monitor)) as page:
            proxy.cut()
            await page.get_by_text("not connected", exact=False).wait_for()
            proxy.let_go()
            await page.get_by_text("live", exact=True).wait_for()


async def test_the_tab_of_advice_shows_what_was_tried(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, note TEXT)")
        connection.executemany(
            "INSERT INTO orders (customer, note) VALUES (?, '')", ((n % 900,) for n in range(9000))
        )
        connection.commit()
    async with SQLitePool(path) as pool:
        await pool.fetch("SELECT note FROM orders WHERE customer = ? AND note <> '<i>'", (7,))
        monitor = PerformanceMonitor(pools=[pool], caches=[], tiers=[])
        past(monitor)
        with serving(monitor) as url:
            async with opened(Service(url, monitor), viewport={"width": 390, "height": 844}) as page:
                await page.get_by_role("tab", name="Figures").focus()
                await page.keyboard.press("ArrowRight")
                await page.get_by_role("button", name="Try indexes").click()
                await page.get_by_text("done", exact=True).wait_for()
                assert await page.locator("#tried code").first.inner_text() == (
                    "CREATE INDEX idx_orders_customer ON orders(customer);"
                )
                widths = [
                    (await bar.bounding_box() or {})["width"] for bar in await page.locator(".bar").all()
                ]
                assert widths[0] > 20 * widths[1] / 4 > 0
                await page.locator("summary").click()
                assert await page.locator("#tried details li code").first.is_visible()
                assert await page.locator("#tried i").count() == 0
                found = (await Axe().run(page)).response["violations"]
                assert [(one["id"], one["nodes"]) for one in found] == []
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
                await page.get_by_role("tab", name="Figures").click()
                assert await page.locator("canvas").first.is_visible()
