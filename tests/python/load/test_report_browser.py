"""The page of a load test in a real Chromium: on a telephone, and on paper."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chromium import chromium, is_sound
from mcp_performance import LoadTester


async def test_the_page_is_sound_on_a_telephone_and_prints(tmp_path: Path) -> None:
    async def fine() -> None:
        await asyncio.sleep(0)

    numbers = iter(range(400))

    async def fails_now_and_then() -> None:
        if next(numbers) % 10 == 0:
            raise ValueError("<b>no</b> " + "room" * 40)
        await asyncio.sleep(0)

    baseline = await LoadTester(fine).run_load_test(num_requests=200, concurrent_users=2, warmup=0)
    result = await LoadTester(fails_now_and_then).run_load_test(
        num_requests=200, concurrent_users=2, warmup=0
    )
    path = tmp_path / "report.html"
    result.to_html(path, baseline=baseline)
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 360, "height": 800})
        await page.goto(path.as_uri())
        await is_sound(page, "360 pixels")
        assert (await page.pdf(format="A4")).startswith(b"%PDF")
