"""``trainmaster test-alert``: the channel shows an alert before there is a run."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.bot.slack.scene import running_workspace
from trainmaster.bot.cli.test_alert import tell
from trainmaster.bot.errors import TrainmasterError
from trainmaster.bot.settings.model import Settings, load_settings
from trainmaster.bot.workspace.server import Workspace


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with running_workspace() as running:
        yield running


def settings(workspace: Workspace, runs_dir: Path, **changed: str) -> Settings:
    given = {
        "SLACK_BOT_TOKEN": workspace.bot_token,
        "SLACK_APP_TOKEN": workspace.app_token,
        "SLACK_API_URL": workspace.api_url,
        "ALERT_CHANNEL": "#training",
        "ONCALL_USERS": "U0ANNA",
        "RUNS_DIR": str(runs_dir),
    }
    return load_settings({name: value for name, value in {**given, **changed}.items() if value})


async def test_the_alert_stands_in_the_channel_and_is_resolved_in_place(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await tell(settings(workspace, tmp_path), ring=False, resolve_after_s=0.0)
    (message,) = workspace.state.messages.values()
    assert message.channel_id == "C0TRAIN"
    assert message.edited_ts is not None
    assert "Test alert resolved" in str(message.body.text)
    assert "U0ANNA" not in str(message.body)
    said = capsys.readouterr().out
    assert re.search(rf"stands in #training: \S*{message.ts.replace('.', '')}", said)
    assert said.endswith("Next: trainmaster run\n")


async def test_a_phone_rings_only_when_asked_to(workspace: Workspace, tmp_path: Path) -> None:
    await tell(settings(workspace, tmp_path), ring=True, resolve_after_s=0.0)
    (message,) = workspace.state.messages.values()
    assert "<@U0ANNA>" in str(message.earlier[0])
    assert "<@U0ANNA>" not in str(message.body)


async def test_nobody_to_ring_is_said_before_anything_is_posted(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(TrainmasterError, match="nobody is on call"):
        await tell(settings(workspace, tmp_path, ONCALL_USERS=""), ring=True, resolve_after_s=0.0)
    assert not workspace.state.messages


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"SLACK_BOT_TOKEN": "xoxb-no"}, "invalid_auth"), ({"ALERT_CHANNEL": "#none"}, "no channel #none")],
    ids=["token", "channel"],
)
async def test_what_is_in_the_way_is_said(
    workspace: Workspace, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    with pytest.raises(TrainmasterError, match=said):
        await tell(settings(workspace, tmp_path, **changed), ring=False, resolve_after_s=0.0)
    assert not workspace.state.messages
