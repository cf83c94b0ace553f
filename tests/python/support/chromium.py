"""A real Chromium for tests of pages."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

PATIENCE = 60_000  # ms


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is not installed: scripts/install test"
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=quiet)
        try:
            yield browser
        finally:
            await browser.close()


async def until(page: Page, expression: str) -> None:
    """Until *expression* is true. (A policy may let nobody compile text, Playwright's own wait too.)"""
    end = time.monotonic() + PATIENCE / 1000
    while not await page.evaluate(expression):
        assert time.monotonic() < end, expression
        await asyncio.sleep(0.05)


async def is_sound(page: Page, state: str) -> None:
    """Nothing sticks out, and axe finds nothing."""
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, state
    found = await Axe().run(page)
    assert found.violations_count == 0, f"{state}: {found.generate_report()}"
