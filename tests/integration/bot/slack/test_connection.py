"""Connecting, staying connected, and what is said when that is not possible."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.integration.bot.slack.scene import WAIT_S, Listener, connected, connection_to, running_workspace
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused
from trainmaster.bot.slack.connection import SocketLimits

QUICK = SocketLimits(ping_interval_s=0.1, alive_s=0.4, reopen_s=1.0)


@pytest.mark.parametrize("channel", ["#training", "C0TRAIN"])
async def test_the_bot_connects_and_knows_itself_and_its_channel(channel: str) -> None:
    async with running_workspace() as workspace, connection_to(workspace, channel=channel) as connection:
        assert not connection.alive()
        identity = await connection.connect(Listener())
        assert identity.user == "U0TRAINMASTER"
        assert connection.channel == "C0TRAIN"
        assert connection.alive()
        assert workspace.sockets.num_connected == 1
    assert not connection.alive()


async def test_a_public_channel_is_joined() -> None:
    async with running_workspace() as workspace, connection_to(workspace, channel="#other") as connection:
        await connection.connect(Listener())
        assert workspace.state.channels["C0OTHER"].bot_is_member


async def test_looking_does_not_join() -> None:
    async with running_workspace() as workspace, connection_to(workspace, channel="#other") as connection:
        assert await connection.check_channel(join=False) == "C0OTHER"
        assert not workspace.state.channels["C0OTHER"].bot_is_member


@pytest.mark.parametrize(
    ("changed", "slug", "words"),
    [
        pytest.param({"bot_token": "xoxb-wrong"}, "slack-token", "invalid_auth", id="bot-token"),
        pytest.param({"app_token": "xapp-wrong"}, "slack-token", "SLACK_APP_TOKEN", id="app-token"),
        pytest.param({"channel": "#nowhere"}, "slack-channel", "#nowhere", id="no-such-name"),
        pytest.param({"channel": "C0NOWHERE"}, "slack-channel", "C0NOWHERE", id="no-such-id"),
        pytest.param({"channel": "#old"}, "slack-channel", "archived", id="archived"),
    ],
)
async def test_what_a_person_must_mend_is_refused_at_once(changed: dict[str, str], slug: str, words: str) -> None:
    async with running_workspace() as workspace, connection_to(workspace, **changed) as connection:
        with pytest.raises(ChatRefused) as caught:
            await connection.connect(Listener())
        assert caught.value.slug == slug
        assert words in caught.value.message
        assert caught.value.hint
        assert workspace.sockets.num_connected == 0


async def test_slack_away_is_told_and_may_be_tried_again() -> None:
    async with running_workspace() as workspace, connection_to(workspace) as connection:
        await workspace.go_down()
        with pytest.raises(ChatError) as caught:
            await connection.connect(Listener())
        assert type(caught.value) is ChatError
        assert workspace.api_url in caught.value.message
        await workspace.come_up()
        await connection.connect(Listener())
        assert connection.alive()


@pytest.mark.parametrize("error", ["missing_scope", "unknown_method"])
@pytest.mark.parametrize(
    ("channel", "method"), [("C0TRAIN", "conversations.info"), ("#training", "conversations.list")]
)
async def test_a_channel_that_cannot_be_looked_up_is_taken_as_it_is(channel: str, method: str, error: str) -> None:
    async with running_workspace() as workspace, connection_to(workspace, channel=channel) as connection:
        workspace.faults.fail_next(method, error)
        await connection.connect(Listener())
        assert connection.channel == channel
        assert connection.alive()


async def test_a_channel_that_cannot_be_joined_is_refused_with_what_to_do() -> None:
    async with running_workspace() as workspace, connection_to(workspace, channel="#other") as connection:
        workspace.faults.fail_next("conversations.join", "method_not_supported_for_channel_type")
        with pytest.raises(ChatRefused) as caught:
            await connection.connect(Listener())
        assert "/invite" in caught.value.hint


async def test_a_socket_that_does_not_open_is_told_and_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = SocketLimits(ping_interval_s=0.05, open_timeout_s=0.3)
    async with running_workspace() as workspace, connection_to(workspace, limits=limits) as connection:
        with monkeypatch.context() as patch:
            patch.setattr(connection, "check_app_token", _dead_address)
            with pytest.raises(ChatError) as caught:
                await connection.connect(Listener())
        assert (type(caught.value), caught.value.slug) == (ChatError, "slack-socket")
        assert not connection.alive()
        await connection.connect(Listener())
        assert connection.alive()


async def test_giving_up_while_the_socket_opens_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = SocketLimits(ping_interval_s=0.05)
    async with running_workspace() as workspace, connection_to(workspace, limits=limits) as connection:
        monkeypatch.setattr(connection, "check_app_token", _dead_address)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.connect(Listener())
        if left := [task for task in asyncio.all_tasks() if "SocketModeClient" in repr(task)]:
            _, running = await asyncio.wait(left, timeout=1.0)
            assert not running


async def _dead_address() -> str:
    return "ws://127.0.0.1:9/"


async def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with connected() as scene:
        await scene.page.slash("anna", "/train", "status", "training")
        await scene.shown("heard status")
        await scene.page.slash("anna", "/train", "status", "other")
        await scene.shown("heard status", "other")


async def test_after_a_restart_of_the_server_commands_are_answered_again() -> None:
    async with connected(limits=QUICK) as scene:
        await scene.workspace.restart()
        await scene.workspace.sockets.wait_connected(accepted=2)
        await scene.page.slash("anna", "/train", "status", "training")
        await scene.shown("heard status")


async def test_after_a_reset_commands_are_answered_again() -> None:
    async with connected(limits=QUICK) as scene:
        scene.workspace.sockets.reset()
        await scene.workspace.sockets.wait_connected(accepted=2)
        await scene.page.slash("anna", "/train", "status", "training")
        await scene.shown("heard status")


async def test_a_frozen_socket_is_replaced() -> None:
    async with connected(limits=QUICK) as scene:
        scene.workspace.sockets.freeze()
        await scene.workspace.sockets.wait_connected(accepted=2)
        await scene.page.slash("anna", "/train", "status", "training")
        await scene.shown("heard status")


async def test_a_client_that_gave_up_is_replaced_as_a_whole(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(limits=QUICK) as scene:
        socket = scene.connection._socket
        assert socket is not None
        socket.client.default_auto_reconnect_enabled = socket.client.auto_reconnect_enabled = False
        await socket.client.disconnect()
        assert not scene.connection.alive()
        await scene.workspace.sockets.wait_connected(accepted=2)
        await scene.page.slash("anna", "/train", "status", "training")
        await scene.shown("heard status")
        async with asyncio.timeout(WAIT_S):  # the watcher may come to its word after the new socket is in use
            while "was replaced" not in caplog.text:  # noqa: ASYNC110 - a log line wakes nobody
                await asyncio.sleep(0.01)


async def test_warnings_of_the_bot_are_not_silenced_by_bolt() -> None:
    logging.getLogger("trainmaster").setLevel(logging.NOTSET)
    async with connected() as scene:
        await scene.page.slash("anna", "/train", "status", "training")
        await scene.shown("heard status")
        assert logging.getLogger("trainmaster").level == logging.NOTSET


async def test_tokens_show_in_no_repr_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with connected() as scene:
        await scene.page.slash("anna", "/train", "status", "training")
        await scene.shown("heard status")
        tokens = (scene.workspace.bot_token, scene.workspace.app_token)
        assert not any(token in repr(scene.connection._access) for token in tokens)
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith(("trainmaster.bot.slack", "slack_"))
    ]
    assert not any(token in line for token in tokens for line in ours)
