"""The port of the outbox: posts, edits, on-call, and every refusal as the delivery knows it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tests.integration.bot.slack.scene import Scene, connected, connection_to, running_workspace
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import Chat, ChatRefused, MessageGone, Posted, RateLimited
from trainmaster.bot.slack.chat import METADATA_EVENT, OnCallSource, SlackChat

MESSAGE = Message(title="NaN in epoch 4")


async def test_a_post_carries_its_key_and_can_be_edited(scene: Scene) -> None:
    chat: Chat = scene.connection.chat
    posted = await chat.post("C0TRAIN", MESSAGE, thread_ts=None, key="run/nonfinite/4")
    message = await scene.shown("NaN in epoch 4")
    assert (posted.channel, posted.ts) == ("C0TRAIN", message["ts"])
    assert message["metadata"] == {"event_type": METADATA_EVENT, "event_payload": {"key": "run/nonfinite/4"}}
    await chat.update(posted, Message(title="Over"))
    assert (await scene.shown("Over"))["ts"] == posted.ts


async def test_a_reply_stands_in_its_thread(scene: Scene) -> None:
    root = await scene.connection.chat.post("C0TRAIN", MESSAGE, thread_ts=None, key="a")
    await scene.connection.chat.post("C0TRAIN", Message(title="reply"), thread_ts=root.ts, key="b")
    assert (await scene.shown("reply"))["thread_ts"] == root.ts


async def test_a_deleted_message_is_gone(scene: Scene) -> None:
    with pytest.raises(MessageGone):
        await scene.connection.chat.update(Posted(channel="C0TRAIN", ts="1.000001"), MESSAGE)


async def test_a_rate_limit_is_told_and_not_slept_through(scene: Scene) -> None:
    scene.workspace.faults.rate_limit_next(1, retry_after_s=17)
    with pytest.raises(RateLimited) as caught:
        await scene.connection.chat.post("C0TRAIN", MESSAGE, thread_ts=None, key="a")
    assert caught.value.retry_after_s == 17.0


async def test_a_broken_connection_is_told_and_not_retried(scene: Scene) -> None:
    scene.workspace.faults.reset_next("chat.postMessage", after_effect=False)
    with pytest.raises(ChatError) as caught:
        await scene.connection.chat.post("C0TRAIN", MESSAGE, thread_ts=None, key="a")
    assert type(caught.value) is ChatError
    assert [method for method, _ in scene.workspace.web_api.calls].count("chat.postMessage") <= 1


@pytest.mark.parametrize(
    ("error", "content"), [("not_in_channel", False), ("invalid_blocks", True), ("msg_blocks_too_long", True)]
)
async def test_a_refusal_says_whether_the_message_is_at_fault(scene: Scene, error: str, content: bool) -> None:
    scene.workspace.faults.fail_next("chat.postMessage", error)
    with pytest.raises(ChatRefused) as caught:
        await scene.connection.chat.post("C0TRAIN", MESSAGE, thread_ts=None, key="a")
    assert caught.value.content is content


async def test_before_slack_answers_the_outbox_is_told_so() -> None:
    async with running_workspace() as workspace, connection_to(workspace) as connection:
        await workspace.go_down()
        with pytest.raises(ChatError):
            await connection.chat.post(connection.channel, MESSAGE, thread_ts=None, key="a")


async def test_an_answer_waits_for_a_rate_limit(scene: Scene) -> None:
    scene.workspace.faults.rate_limit_next(1, retry_after_s=0)
    await scene.page.slash("anna", "/train", "status", "training")
    await scene.shown("heard status")


async def test_on_call_is_the_list_without_a_group(scene: Scene) -> None:
    assert await scene.connection.chat.on_call() == {"U0ANNA"}


async def test_on_call_is_the_group_as_it_is_now() -> None:
    clock_s = 0.0
    groups = {"S0CALL": ["U0BEN"]}
    async with connected(usergroups=groups, on_call=OnCallSource(users=("U0ANNA",), usergroup="S0CALL")) as scene:
        chat = SlackChat(scene.connection._client, OnCallSource(users=("U0ANNA",), usergroup="S0CALL"), lambda: clock_s)
        assert await chat.on_call() == {"U0BEN"}
        groups["S0CALL"] = ["U0CARA"]
        assert await chat.on_call() == {"U0BEN"}
        clock_s = 6.0
        assert await chat.on_call() == {"U0CARA"}


async def test_looking_up_the_group_for_many_at_once_asks_slack_once() -> None:
    groups = {"S0CALL": ["U0BEN"]}
    async with connected(usergroups=groups, on_call=OnCallSource(usergroup="S0CALL")) as scene:
        chat = SlackChat(scene.connection._client, OnCallSource(usergroup="S0CALL"))
        answers = await asyncio.gather(*(chat.on_call() for _ in range(50)))
        assert set(answers) == {frozenset({"U0BEN"})}
        asked = [method for method, _ in scene.workspace.web_api.calls if method == "usergroups.users.list"]
        assert len(asked) == 1


@pytest.mark.parametrize("groups", [None, {}, {"S0CALL": []}], ids=["free-plan", "no-such-group", "empty"])
async def test_without_members_the_list_decides(groups: dict[str, list[str]] | None) -> None:
    async with connected(usergroups=groups, on_call=OnCallSource(users=("U0ANNA",), usergroup="S0CALL")) as scene:
        assert await scene.connection.chat.on_call() == {"U0ANNA"}


async def test_with_neither_group_nor_list_nobody_may_decide() -> None:
    async with connected(usergroups=None, on_call=OnCallSource(usergroup="S0CALL")) as scene:
        assert await scene.connection.chat.on_call() == frozenset()


@pytest.mark.parametrize("known", [True, False], ids=["after an earlier message", "the very first message"])
async def test_a_direct_message_whose_reply_was_lost_is_found(scene: Scene, known: bool) -> None:
    chat = scene.connection.chat
    if known:
        await chat.post("U0ANNA", MESSAGE, thread_ts=None, key="earlier")
    scene.workspace.faults.reset_next("chat.postMessage", after_effect=True)
    with pytest.raises(ChatError):
        await chat.post("U0ANNA", MESSAGE, thread_ts=None, key="lost")
    found = await chat.find("U0ANNA", "lost", thread_ts=None, since_ts=0.0)
    assert found is not None
    assert found.channel.startswith("D")
    await chat.update(found, Message(title="Over"))
    assert await chat.find("U0ANNA", "never sent", thread_ts=None, since_ts=0.0) is None


async def test_metadata_that_another_bot_copied_is_not_taken_for_ones_own(scene: Scene) -> None:
    posted = await scene.connection.chat.post("C0TRAIN", MESSAGE, thread_ts=None, key="a")
    copied = {"event_type": METADATA_EVENT, "event_payload": {"key": "a"}}
    listed = [{"ts": "9999999999.000001", "bot_id": "B0OTHER", "metadata": copied}]

    async def history(**_: object) -> SimpleNamespace:
        return SimpleNamespace(data={"messages": [*listed, {**listed[0], "bot_id": own, "ts": posted.ts}]})

    identity = scene.connection.identity
    assert identity is not None
    own = identity.bot_id
    client_history, scene.connection.chat._client.conversations_history = (  # type: ignore[method-assign]
        scene.connection.chat._client.conversations_history,
        history,  # type: ignore[assignment]
    )
    try:
        assert await scene.connection.chat.find("C0TRAIN", "a", thread_ts=None, since_ts=0.0) == posted
    finally:
        scene.connection.chat._client.conversations_history = client_history  # type: ignore[method-assign]


async def test_one_place_that_may_not_be_looked_up_blinds_for_no_other(scene: Scene) -> None:
    chat = scene.connection.chat
    posted = await chat.post("C0TRAIN", MESSAGE, thread_ts=None, key="a")
    scene.workspace.faults.fail_next("conversations.open", "missing_scope")
    assert await chat.find("U0BEN", "a", thread_ts=None, since_ts=0.0) is None
    assert await chat.find("C0TRAIN", "a", thread_ts=None, since_ts=0.0) == posted
