"""The doctor finds what is wrong, each in one line, and says nothing bad of what is right."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.bot.slack.scene import running_workspace
from trainmaster.bot.cli.doctor import examine
from trainmaster.bot.core.conversation.message import Item, Mark
from trainmaster.bot.slack.scopes import APP_TOKEN_SCOPE, BOT_SCOPES
from trainmaster.bot.workspace.server import Workspace


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with running_workspace(usergroups={"S0CALL": ["U0ANNA", "U0BEN"]}) as running:
        yield running


@pytest.fixture
def environ(workspace: Workspace, tmp_path: Path) -> dict[str, str]:
    guard = tmp_path / "runs" / "digits" / "guard"
    guard.mkdir(parents=True)
    (guard / "run.json").write_text("{}", encoding="utf-8")
    return {
        "SLACK_BOT_TOKEN": workspace.bot_token,
        "SLACK_APP_TOKEN": workspace.app_token,
        "SLACK_API_URL": workspace.api_url,
        "ALERT_CHANNEL": "#training",
        "ONCALL_USERS": "U0ANNA,U0BEN",
        "RUNS_DIR": str(tmp_path / "runs"),
        "STATE_DIR": str(tmp_path / "state"),
        "DISK_FREE_MIN_GIB": "0",
    }


async def diagnose(environ: dict[str, str], **changed: str) -> dict[str, Item]:
    merged = {name: value for name, value in {**environ, **changed}.items() if value}
    return {item.text: item for item in await examine(merged, None, time.time)}


async def test_a_sound_installation_has_nothing_to_mend(environ: dict[str, str]) -> None:
    found = await diagnose(environ)
    assert found["Memory"].mark is Mark.DONE
    # A host without a GPU, or whose Slurm commands know no cluster, can run the bot as well.
    assert {text for text, item in found.items() if item.mark is not Mark.DONE} <= {"GPU", "Slurm"}
    assert not [item for item in found.values() if item.mark is Mark.FAILED]
    assert "1 guarded run in" in found["RUNS_DIR"].detail
    assert "signed in to Local workspace as U0TRAINMASTER" in found["SLACK_BOT_TOKEN"].detail
    assert found["Alert channel"].detail == "#training is C0TRAIN"
    assert found["On call"].detail == "U0ANNA, U0BEN"


async def test_nothing_is_changed_by_looking(environ: dict[str, str], workspace: Workspace, tmp_path: Path) -> None:
    await diagnose(environ, ALERT_CHANNEL="#other")
    assert not workspace.state.channels["C0OTHER"].bot_is_member
    assert not (tmp_path / "state").exists()
    assert workspace.sockets.num_accepted == 0


@pytest.mark.parametrize(
    ("changed", "name", "mark", "words"),
    [
        pytest.param({"SLACK_BOT_TOKEN": "xoxb-no"}, "SLACK_BOT_TOKEN", Mark.FAILED, "invalid_auth", id="bot-token"),
        pytest.param({"SLACK_APP_TOKEN": "xapp-no"}, "SLACK_APP_TOKEN", Mark.FAILED, "invalid_auth", id="app-token"),
        pytest.param({"ALERT_CHANNEL": "#none"}, "Alert channel", Mark.FAILED, "#none", id="channel"),
        pytest.param({"ONCALL_USERS": ""}, "On call", Mark.WARNING, "nobody could approve", id="nobody-on-call"),
        pytest.param({"ONCALL_USERS": "U0ANNA"}, "On call", Mark.WARNING, "ALLOW_SELF_APPROVAL", id="one-on-call"),
        pytest.param({"DISK_FREE_MIN_GIB": "1e9"}, "Disk of RUNS_DIR", Mark.WARNING, "GiB free", id="disk"),
        pytest.param({"METRICS_ADDRESS": "x"}, "METRICS_ADDRESS", Mark.FAILED, "a port such as 9464", id="metrics"),
        pytest.param(
            {"METRICS_ADDRESS": "192.0.2.1:9464"},
            "METRICS_ADDRESS",
            Mark.FAILED,
            "192.0.2.1:9464: ",
            id="not-our-address",
        ),
        pytest.param({"PIN_CARDS": "on"}, "Cards", Mark.DONE, "pinned while their runs go on", id="pins"),
        pytest.param({"PIN_CARDS": "off"}, "Cards", Mark.DONE, "pinned while their runs go on", id="pins-off"),
        pytest.param({"RUN_OWNERS": "n*=U0ANNA"}, "RUN_OWNERS", Mark.DONE, "1 known to Slack", id="owner"),
        pytest.param(
            {"RUN_OWNERS": "n*=U0X"}, "RUN_OWNERS", Mark.WARNING, "U0X (unknown to this workspace)", id="unknown-owner"
        ),
        pytest.param({"RUN_OWNERS": "n*=anna"}, "RUN_OWNERS", Mark.FAILED, "night-*=U0123ABCD", id="owner-no-id"),
        pytest.param({"RUNS_DIR": "/nowhere"}, "RUNS_DIR", Mark.FAILED, "not there", id="runs-dir"),
        pytest.param({"SLACK_BOT_TOKEN": ""}, "Slack", Mark.UNKNOWN, "not asked", id="not-set"),
        pytest.param({"APPROVALS_REQUIRED": "x"}, "APPROVALS_REQUIRED", Mark.FAILED, "a whole number", id="setting"),
        pytest.param(
            {"ONCALL_USER": "U1", "ONCALL_USERS": ""}, "Unknown name", Mark.WARNING, "ONCALL_USERS", id="typo"
        ),
        pytest.param({"ONCALL_USERGROUP": "S0CALL", "ONCALL_USERS": ""}, "On call", Mark.DONE, "U0BEN", id="group"),
    ],
)
async def test_each_fault_is_named(
    environ: dict[str, str], changed: dict[str, str], name: str, mark: Mark, words: str
) -> None:
    item = (await diagnose(environ, **changed))[name]
    assert item.mark is mark
    assert words in item.detail


async def test_a_missing_scope_is_named(environ: dict[str, str]) -> None:
    scopes = frozenset({*BOT_SCOPES, APP_TOKEN_SCOPE}) - {"usergroups:read"}
    async with running_workspace(scopes=scopes) as narrow:
        tokens = {"SLACK_BOT_TOKEN": narrow.bot_token, "SLACK_APP_TOKEN": narrow.app_token}
        found = await diagnose(environ, SLACK_API_URL=narrow.api_url, **tokens)
    assert found["Scopes"].mark is Mark.WARNING
    assert "missing: usergroups:read." in found["Scopes"].detail


async def test_a_clock_that_is_off_is_told(environ: dict[str, str]) -> None:
    items = {item.text: item for item in await examine(environ, None, lambda: time.time() - 90.0)}
    assert items["Clock"].mark is Mark.WARNING
    assert "behind Slack's" in items["Clock"].detail


async def test_slack_away_is_a_failure_and_no_crash(environ: dict[str, str], workspace: Workspace) -> None:
    await workspace.go_down()
    found = await diagnose(environ)
    assert found["SLACK_BOT_TOKEN"].mark is Mark.FAILED
    assert "cannot be reached" in found["SLACK_BOT_TOKEN"].detail
    assert "Scopes" not in found


async def test_an_address_for_metrics_is_tried_and_told_to_whom_it_is_open(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        used = (await diagnose(environ, METRICS_ADDRESS=f"{port}"))["METRICS_ADDRESS"]
    assert used.mark is Mark.WARNING
    assert f"127.0.0.1:{port} is in use" in used.detail
    free = (await diagnose(environ, METRICS_ADDRESS=f"{port}"))["METRICS_ADDRESS"]
    assert free.mark is Mark.DONE
    wide = (await diagnose(environ, METRICS_ADDRESS=f"0.0.0.0:{port}"))["METRICS_ADDRESS"]
    assert wide.mark is Mark.WARNING
    assert "without a password" in wide.detail
    assert "METRICS_ADDRESS" not in await diagnose(environ)


async def test_a_folder_in_which_others_may_exchange_a_place_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    assert "RUNS_DIR can be replaced" not in await diagnose(environ)
    _let(tmp_path, 0o777)
    found = await diagnose(environ)
    assert found["RUNS_DIR can be replaced"].mark is Mark.WARNING
    assert f"others may write to {tmp_path} (mode 777)" in found["RUNS_DIR can be replaced"].detail
    _let(tmp_path, 0o1777)
    assert "RUNS_DIR can be replaced" not in await diagnose(environ)


def _let(folder: Path, mode: int) -> None:
    folder.chmod(mode)
