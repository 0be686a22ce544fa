"""The workspace on this machine that a demo or a drill plays in, and the settings of a bot that works there."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from trainmaster.bot.errors import CommandError
from trainmaster.bot.rehearsal.demo_story import CAST, CHANNEL
from trainmaster.bot.settings.model import Settings, load_settings
from trainmaster.bot.slack.scopes import BOT_SCOPES
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.state.people import SlashCommand


@contextlib.asynccontextmanager
async def open_workspace(port: int) -> AsyncIterator[Workspace]:
    """A workspace with the cast of the demo, its page on ``port`` of this machine (0: any free one).

    Raises:
        CommandError: the port is taken, or this user may not listen on it.
    """
    usage = "status | epoch 4 progress | help"
    try:
        workspace = await Workspace.start(
            port=port,
            people=CAST,
            channels=[CHANNEL],
            commands=[SlashCommand(name="/train", description="Ask Trainmaster", usage_hint=usage)],
            clock=time.time,
            options=WorkspaceOptions(
                scopes=frozenset(BOT_SCOPES)
            ),  # what the manifest asks for, so that it is seen to suffice
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise CommandError(
            "port", f"127.0.0.1:{port} can't be listened on: {reason}.", "leave --port out for any free one"
        ) from error
    try:
        yield workspace
    finally:
        await workspace.close()


def workspace_settings(workspace: Workspace, session: Path) -> Settings:
    """Of a bot in that workspace, its runs and its state below ``session``."""
    return load_settings(
        {
            "SLACK_BOT_TOKEN": workspace.bot_token,
            "SLACK_APP_TOKEN": workspace.app_token,
            "SLACK_API_URL": workspace.api_url,
            "ALERT_CHANNEL": CHANNEL.channel_id,
            "ONCALL_USERS": ",".join(person.user_id for person in CAST if person.on_call),
            "RUNS_DIR": str(session / "runs"),
            "STATE_DIR": str(session / "state"),
            "CHECK_INTERVAL_S": "1",
            "CLEAR_BATCHES": "5",
        }
    )
