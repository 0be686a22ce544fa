"""The workspace that benches run the bot against, and the bot's settings for it."""

from __future__ import annotations

import time
from pathlib import Path

from trainmaster.bot.slack.scopes import BOT_SCOPES
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.state.people import Channel, Person, SlashCommand


async def start_workspace() -> Workspace:
    """One person, one channel, no rate limit of its own."""
    return await Workspace.start(
        port=0,
        people=[Person(user_id="U0ANNA", name="anna")],
        channels=[Channel(channel_id="C0TRAIN", name="training")],
        commands=[SlashCommand(name="/train")],
        clock=time.time,
        options=WorkspaceOptions(post_rate=None, scopes=frozenset(BOT_SCOPES)),
    )


def bot_environ(workspace: Workspace, folder: Path, *, check_interval_s: int) -> dict[str, str]:
    """Runs and state below ``folder``."""
    return {
        "SLACK_BOT_TOKEN": workspace.bot_token,
        "SLACK_APP_TOKEN": workspace.app_token,
        "SLACK_API_URL": workspace.api_url,
        "ALERT_CHANNEL": "C0TRAIN",
        "RUNS_DIR": str(folder / "runs"),
        "STATE_DIR": str(folder / "state"),
        "CHECK_INTERVAL_S": str(check_interval_s),
    }
