"""Chromium for the tests of the page; they are skipped, and say so, where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = Path("/usr/bin/chromium")
ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
)

expect.set_options(timeout=20_000)
"""Milliseconds: a busy machine makes a page slow, not wrong."""


@pytest.fixture(scope="session")
def chromium() -> str:
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}: the page was not tested (Debian: apt-get install chromium)")
    return str(CHROMIUM)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=list(ARGS))
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """A page that fails the test when its scripts fail or its security policy was broken."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    complaints: list[str] = []
    note: Callable[[str], None] = complaints.append
    page.on("pageerror", lambda error: note(str(error)))
    page.on("console", lambda message: note(message.text) if message.type == "error" else None)
    yield page
    await page.close()
    # The workspace of a test ends before its page does; that the page then cannot connect is no fault of it.
    assert [words for words in complaints if "net::ERR_" not in words] == []
