"""Pictures of every kind of message as the page of the local workspace draws it, on a phone and on a desktop, light and
dark: ``python -m tests.support.screenshots FOLDER [WORD]``, of those whose name has the word."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page, async_playwright
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.workspace.cast import start_workspace
from tests.support.message_kinds import Kind, answers, every_kind
from trainmaster.bot.slack.render import render
from trainmaster.bot.workspace.server import WorkspaceOptions

CHROMIUM: Final = "/usr/bin/chromium"
SIZES: Final = {"phone": (390, 844), "desk": (1280, 900)}


async def main(folder: Path, word: str) -> None:
    """The pictures are in ``folder``."""
    with tempfile.TemporaryDirectory() as runs:
        kinds = [*every_kind(Path(runs)), *await answers(Path(runs, "answers"))]
        chosen = {kind.name: kind for kind in kinds if word in kind.name}
    for kind in tuple(chosen.values()):
        if kind.message.details is not None:
            name = f"{kind.name}, its details"
            chosen[name] = Kind(name=name, message=kind.message.details)
    workspace = await start_workspace(WorkspaceOptions(post_rate=None))
    try:
        client = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for kind in chosen.values():
                shown = render(kind.message, {"U0ANNA": "Anna Keller", "U0BEN": "Ben Okafor"})
                blocks: Any = list(shown.blocks)
                await client.chat_postMessage(channel="C0TRAIN", text=shown.text, blocks=blocks)
            for size, (width, height) in SIZES.items():
                for scheme in ("light", "dark"):
                    page = await browser.new_page(
                        viewport={"width": width, "height": height},
                        color_scheme="dark" if scheme == "dark" else "light",
                    )
                    await page.goto(workspace.page_url)
                    await _shoot(page, list(chosen.values()), folder, f"{size}-{scheme}")
                    await page.close()
            await browser.close()
    finally:
        await workspace.close()


async def _shoot(page: Page, kinds: list[Kind], folder: Path, suffix: str) -> None:
    rows = page.locator("#messages article")
    await rows.nth(len(kinds) - 1).wait_for()
    for index, kind in enumerate(kinds):
        row = rows.nth(index)
        box = await row.bounding_box()
        name = re.sub(r"\W+", "-", kind.name)
        await row.screenshot(path=folder / f"{name}.{suffix}.png")
        if suffix == "phone-light" and box is not None:
            print(f"{box['height']:7.0f} px  {kind.name}")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
