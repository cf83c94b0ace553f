"""``/history``, ``/events`` and ``/dashboard``: what they answer, and whom they refuse."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from typing import Any

import httpx
import pytest

from mcp_performance import PerformanceMonitor, performance_app
from mcp_performance.monitor._history import STEPS, Key
from mcp_performance.monitor._live import Events

RATE = Key("requests", "", "rate", "1/s")


def monitor_with(points: int = 3) -> PerformanceMonitor:
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    for number in range(points):
        monitor.history.put(STEPS[0], number, {RATE: float(number)})
    return monitor


async def get(monitor: PerformanceMonitor, path: str, **options: Any) -> httpx.Response:
    headers = options.pop("headers", {})
    app = performance_app(monitor, **({"expose": True} | options))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        return await http.get(path, headers=headers)


async def test_history_gives_the_points_after_since() -> None:
    found = (await get(monitor_with(), "/history?step=1&since=0")).json()
    assert found["time"] == [1, 2]
    assert found["series"][0]["values"] == [1.0, 2.0]


@pytest.mark.parametrize("query", ["step=7", "step=x", "since=now", "since=1.5", "since=" + "9" * 30])
@pytest.mark.parametrize("path", ["/history", "/events"])
async def test_a_bad_query_is_refused_by_name(path: str, query: str) -> None:
    answer = await get(monitor_with(), f"{path}?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["error"]


@pytest.mark.parametrize("path", ["/history", "/events"])
async def test_figures_need_the_token(path: str) -> None:
    assert (await get(monitor_with(), path, token="secret", expose=False)).status_code == 401


async def test_the_page_needs_none_and_holds_no_figures() -> None:
    monitor = monitor_with()
    answer = await get(monitor, "/dashboard", token="secret", expose=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (await get(monitor_with(9), "/dashboard")).content
    hostile = {"host": "rebound.example.com"}
    assert (await get(monitor, "/dashboard", headers=hostile)).status_code == 403


async def test_the_page_is_one_file_that_runs_only_what_it_brings() -> None:
    answer = await get(monitor_with(), "/dashboard")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert len(scripts) == answer.text.count("<script")
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not re.search(r"""(src|href)=["'](?!data:)""", answer.text)
    assert "{{" not in re.sub(r"<script>.*?</script>", "", answer.text, flags=re.DOTALL)


class Browser:
    """One open stream: what was sent to it, until it is closed."""

    def __init__(self, events: Events, query: str = "step=1") -> None:
        self.sent: list[dict[str, Any]] = []
        self.came = asyncio.Condition()
        self.left = asyncio.Event()
        scope = {"type": "http", "method": "GET", "query_string": query.encode(), "headers": []}
        self.task = asyncio.ensure_future(events.run(scope, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        async with self.came:
            self.sent.append(message)
            self.came.notify_all()

    def events(self, kind: str) -> list[Any]:
        text = b"".join(message.get("body", b"") for message in self.sent).decode()
        return [json.loads(data) for data in re.findall(rf"event: {kind}\ndata: (.*)\n\n", text)]

    async def until(self, kind: str, count: int) -> list[Any]:
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.events(kind)) >= count), 60)
        return self.events(kind)


async def test_a_stream_begins_with_all_and_goes_on_with_what_is_new() -> None:
    monitor = monitor_with()
    browser = Browser(Events(monitor))
    assert (await browser.until("history", 1))[0]["time"] == [0, 1, 2]
    assert "requests" in (await browser.until("report", 1))[0]
    monitor.history.put(STEPS[0], 3, {RATE: 3.0})
    assert (await browser.until("history", 2))[1]["time"] == [3]
    browser.left.set()
    await browser.task
    assert browser.sent[-1].get("body") != b""  # nothing more is sent to who has left


async def test_an_empty_value_in_a_query_is_none() -> None:
    assert (await get(monitor_with(), "/history?step=&since=")).json()["step"] == 1
    browser = Browser(Events(monitor_with()), "step=&since=")
    assert (await browser.until("history", 1))[0]["time"] == [0, 1, 2]
    browser.left.set()
    await browser.task


async def test_a_stream_ends_by_itself_so_that_a_server_can_stop() -> None:
    now = [0.0]
    browser = Browser(Events(monitor_with(), clock=lambda: now[0]))
    await browser.until("history", 1)
    now[0] = 1e6
    await browser.task
    assert browser.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_too_many_streams_are_refused_and_those_that_left_make_room() -> None:
    events = Events(monitor_with())
    browsers = [Browser(events) for _ in range(32)]
    for browser in browsers:
        await browser.until("history", 1)
    with pytest.raises(Exception, match="32 pages"):
        await Browser(events).task
    for browser in browsers:
        browser.left.set()
        await browser.task
    again = Browser(events)
    await again.until("history", 1)
    again.left.set()
    await again.task
