"""A workspace with one written run, and no bot yet."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.bot.world import CHANNEL, World, now_s
from tests.support.run_dirs import WrittenRun
from trainmaster.bot.settings.model import load_settings
from trainmaster.bot.slack.scopes import BOT_SCOPES
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.state.people import Channel, Person, SlashCommand


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "runs").mkdir()
    async with AsyncExitStack() as stack:
        workspace = await Workspace.start(
            port=0,
            people=[
                Person(user_id="U0ANNA", name="anna", on_call=True),
                Person(user_id="U0BEN", name="ben", on_call=True),
                Person(user_id="U0CLEO", name="cleo"),
            ],
            channels=[Channel(channel_id="C0TRAIN", name=CHANNEL)],
            commands=[SlashCommand(name="/train")],
            clock=time.time,
            options=WorkspaceOptions(scopes=frozenset(BOT_SCOPES)),
        )
        stack.push_async_callback(workspace.close)
        page = await stack.enter_async_context(PageClient(workspace.page_url))
        settings = load_settings(
            {
                "SLACK_BOT_TOKEN": workspace.bot_token,
                "SLACK_APP_TOKEN": workspace.app_token,
                "SLACK_API_URL": workspace.api_url,
                "ALERT_CHANNEL": "#training",
                "ONCALL_USERS": "U0ANNA,U0BEN",
                "RUNS_DIR": str(tmp_path / "runs"),
                "STATE_DIR": str(tmp_path / "state"),
                "CHECK_INTERVAL_S": "0.5",
            }
        )
        run = WrittenRun(tmp_path / "runs")
        run.start_epoch(1, now_s())
        run.beat(now_s(), epoch=1, batch=10)
        yield World(workspace, page, settings, run, stack)
