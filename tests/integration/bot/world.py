"""The real app and the real Bolt library against the workspace; the trainer is a written run directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.app import App
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.workspace.page.client import PageClient, PageView
from trainmaster.bot.workspace.server import Workspace

CHANNEL = "training"
ANSWER_S = 15.0


@dataclass
class World:
    workspace: Workspace
    page: PageClient
    settings: Settings
    run: WrittenRun
    stack: AsyncExitStack

    async def start_bot(self) -> App:
        app = App(self.settings)
        self.stack.push_async_callback(_close_once(app))
        await app.start()
        return app

    async def see(self, *words: str, timeout_s: float = ANSWER_S, channel: str = CHANNEL) -> dict[str, Any]:
        def found(view: PageView) -> dict[str, Any] | None:
            return next((one for one in view.in_channel(channel) if all(word in text_of(one) for word in words)), None)

        return await self.page.wait_for(found, timeout_s)

    async def told(self, person: str, *words: str) -> dict[str, Any]:
        def found(view: PageView) -> dict[str, Any] | None:
            return next((one for one in view.only_for(person) if all(word in text_of(one) for word in words)), None)

        return await self.page.wait_for(found, ANSWER_S)


def text_of(message: dict[str, Any]) -> str:
    return str(message["text"]) + json.dumps(message.get("blocks", []), ensure_ascii=False)


def _close_once(app: App) -> Callable[[], Any]:
    async def close() -> None:
        if app.database.open:
            await app.close()

    return close


def now_s() -> float:
    """Seconds after the start of the written run's time."""
    return time.time() - START_TS
