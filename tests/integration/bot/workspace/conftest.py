from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.workspace.cast import start_workspace
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.server import Workspace


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    running = await start_workspace()
    yield running
    await running.close()


@pytest.fixture
async def page(workspace: Workspace) -> AsyncIterator[PageClient]:
    async with PageClient(workspace.page_url) as client:
        yield client


@pytest.fixture
def slack(workspace: Workspace) -> AsyncWebClient:
    return AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url, retry_handlers=[])
