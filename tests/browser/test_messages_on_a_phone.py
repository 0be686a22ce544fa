"""What a person with a phone sees of a question, measured on the page of the local workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.workspace.cast import stage
from tests.support.message_kinds import every_kind
from trainmaster.bot.slack.render import render
from trainmaster.bot.workspace.server import WorkspaceOptions

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PHONE: Any = {"width": 390, "height": 844}
MAX_HEIGHT_PX = 560
"""Of a question: it and its buttons are seen at once between the page's head and its box to write in."""
MEASURED = ("question", "question of the bot", "question of two")


@pytest.mark.parametrize(
    ("scheme", "run"), [("light", "night"), ("dark", "night"), ("light", "n" * 200), ("light", "夜間訓練" * 18)]
)
async def test_question_fits_a_phone_with_its_buttons_above_the_fold(
    browser: Browser, tmp_path: Path, scheme: Any, run: str
) -> None:
    kinds = {kind.name: kind.message for kind in every_kind(tmp_path, run)}
    async with stage(WorkspaceOptions(post_rate=None)) as on:
        slack = AsyncWebClient(token=on.workspace.bot_token, base_url=on.workspace.api_url)
        page = await browser.new_page(viewport=PHONE, color_scheme=scheme)
        await page.goto(on.workspace.page_url)
        for number, name in enumerate(MEASURED):
            shown = render(kinds[name])
            await slack.chat_postMessage(channel="C0TRAIN", text=shown.text, blocks=list(shown.blocks))
            row = page.locator("#messages article").nth(number)
            await row.get_by_role("button", name="Roll back now").wait_for()
            box = await row.bounding_box()
            assert box is not None
            assert box["height"] <= MAX_HEIGHT_PX, name
            view = await page.locator("#messages").bounding_box()
            first = await row.get_by_role("button", name="Roll back now").bounding_box()
            last = await row.get_by_role("button", name="Details").bounding_box()
            assert view is not None
            assert first is not None
            assert last is not None
            # However the page is scrolled to the message, its head at the top: all buttons are in view.
            assert last["y"] + last["height"] - box["y"] < view["height"], name
            assert first["y"] >= view["y"], name
        await page.close()
