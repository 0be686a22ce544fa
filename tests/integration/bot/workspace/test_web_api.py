"""The Web API as the real Slack client calls it: what it answers and what it refuses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.workspace.cast import card, start_workspace
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.state.messages import Body
from trainmaster.bot.workspace.state.passes import Rate
from trainmaster.bot.workspace.state.people import BOT_USER_ID
from trainmaster.bot.workspace.web_api.args import Args

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


async def refused(call: Any) -> SlackApiError:
    with pytest.raises(SlackApiError) as caught:
        await call
    return caught.value


async def test_token_says_who_it_belongs_to(slack: AsyncWebClient) -> None:
    who = await slack.auth_test()
    assert (who["user_id"], who["ok"]) == (BOT_USER_ID, True)
    assert "chat:write" in who.headers["x-oauth-scopes"]


@pytest.mark.parametrize(
    ("token", "method", "error"),
    [
        pytest.param("", "auth.test", "not_authed", id="none"),
        pytest.param("xoxb-other", "auth.test", "invalid_auth", id="wrong"),
        pytest.param("app", "chat.postMessage", "not_allowed_token_type", id="app token for a message"),
        pytest.param("bot", "apps.connections.open", "not_allowed_token_type", id="bot token for a connection"),
    ],
)
async def test_wrong_token_is_refused(workspace: Workspace, token: str, method: str, error: str) -> None:
    real = {"app": workspace.app_token, "bot": workspace.bot_token}.get(token, token)
    slack = AsyncWebClient(token=real, base_url=workspace.api_url)
    assert (await refused(slack.api_call(method))).response["error"] == error


async def test_unknown_method_is_refused(slack: AsyncWebClient) -> None:
    assert (await refused(slack.api_call("chat.shout"))).response["error"] == "unknown_method"


async def test_missing_scope_names_what_is_needed() -> None:
    workspace = await start_workspace(WorkspaceOptions(scopes=frozenset({"commands"})))
    slack = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
    answer = (await refused(slack.chat_postMessage(channel="C0TRAIN", text="x"))).response
    assert (answer["error"], answer["needed"]) == ("missing_scope", "chat:write")
    await workspace.close()


POSTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown channel": ({"channel": "C0NONE", "text": "x"}, "channel_not_found"),
    "channel it is not in": ({"channel": "C0RANDOM", "text": "x"}, "not_in_channel"),
    "nothing to say": ({"channel": "C0TRAIN"}, "no_text"),
    "text of 40001": ({"channel": "C0TRAIN", "text": "x" * 40_001}, "msg_too_long"),
    "51 blocks": ({"channel": "C0TRAIN", "text": "x", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
    "thread that is not there": ({"channel": "C0TRAIN", "text": "x", "thread_ts": "1.000001"}, "thread_not_found"),
    "thread that is no id": ({"channel": "C0TRAIN", "text": "x", "thread_ts": "0"}, "invalid_thread_ts"),
    "no channel": ({"text": "x"}, "invalid_arguments"),
}


@pytest.mark.parametrize(("call", "error"), POSTS.values(), ids=POSTS.keys())
async def test_post_is_refused(slack: AsyncWebClient, page: PageClient, call: dict[str, Any], error: str) -> None:
    answer = (await refused(slack.api_call("chat.postMessage", json=call))).response
    assert answer["error"] == error
    assert (await page.look()).messages == ()


async def test_post_keeps_text_blocks_metadata_and_thread(slack: AsyncWebClient) -> None:
    metadata = {"event_type": "alert", "event_payload": {"id": "7"}}
    root = await slack.chat_postMessage(channel="#training", text="root", blocks=card("root"), metadata=metadata)
    reply = await slack.chat_postMessage(channel="C0TRAIN", text="reply", thread_ts=root["ts"])
    again = await slack.chat_postMessage(channel="C0TRAIN", text="again", thread_ts=reply["ts"])
    where = {"channel": "C0TRAIN", "ts": root["ts"]}
    thread = (await slack.conversations_replies(**where, include_all_metadata=True))["messages"]
    assert [message["text"] for message in thread] == ["root", "reply", "again"]
    assert again["message"]["thread_ts"] == root["ts"]
    assert thread[0]["metadata"] == metadata
    assert thread[0]["reply_count"] == 2
    history = (await slack.conversations_history(channel="C0TRAIN"))["messages"]
    assert [message["ts"] for message in history] == [root["ts"]]
    assert "metadata" not in history[0]


async def test_form_and_json_bodies_are_both_taken(slack: AsyncWebClient) -> None:
    for body in ({"json": {"channel": "C0TRAIN", "text": "x"}}, {"data": {"channel": "C0TRAIN", "text": "x"}}):
        assert (await slack.api_call("chat.postMessage", **body))["ok"]


async def test_text_alone_leaves_the_blocks_and_an_empty_list_removes_them(slack: AsyncWebClient) -> None:
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="ask", blocks=card("ask"))
    where = {"channel": "C0TRAIN", "ts": posted["ts"]}
    kept = await slack.chat_update(**where, text="answered")
    assert len(kept["message"]["blocks"]) == 2
    bare = await slack.chat_update(**where, text="answered", blocks=[])
    assert "blocks" not in bare["message"]


async def test_update_is_refused_when_it_cannot_be(slack: AsyncWebClient, page: PageClient) -> None:
    theirs = await page.say("anna", "training", "hello")
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="x")
    cases = [
        (slack.chat_update(channel="C0TRAIN", ts="1.000001", text="x"), "message_not_found"),
        (slack.chat_update(channel="C0TRAIN", ts=theirs.ts, text="x"), "cant_update_message"),
        (slack.chat_update(channel="training", ts=posted["ts"], text="x"), "channel_not_found"),
        (slack.chat_update(channel="C0TRAIN", ts=posted["ts"], text="x" * 4_001), "msg_too_long"),
        (slack.chat_delete(channel="C0TRAIN", ts=theirs.ts), "cant_delete_message"),
    ]
    for call, error in cases:
        assert (await refused(call)).response["error"] == error


async def test_deleted_message_is_gone(slack: AsyncWebClient, page: PageClient) -> None:
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="x")
    await slack.chat_delete(channel="C0TRAIN", ts=posted["ts"])
    assert await page.messages("training") == []


async def test_ephemeral_message_is_seen_by_one_person_and_cannot_be_updated(
    slack: AsyncWebClient, page: PageClient
) -> None:
    posted = await slack.chat_postEphemeral(channel="C0TRAIN", user="U0ANNA", text="psst")
    assert [message["text"] for message in await page.ephemerals("U0ANNA")] == ["psst"]
    assert await page.ephemerals("U0BEN") == []
    assert (await slack.conversations_history(channel="C0TRAIN"))["messages"] == []
    answer = (await refused(slack.chat_update(channel="C0TRAIN", ts=posted["message_ts"], text="x"))).response
    assert answer["error"] == "message_not_found"


async def test_too_many_posts_get_429_with_the_time_to_wait() -> None:
    workspace = await start_workspace(WorkspaceOptions(post_rate=Rate(per_s=1.0, burst=2)))
    slack = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
    for _ in range(2):
        await slack.chat_postMessage(channel="C0TRAIN", text="x")
    answer = (await refused(slack.chat_postMessage(channel="C0TRAIN", text="x"))).response
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    await slack.chat_postMessage(channel="U0ANNA", text="another channel")
    await workspace.close()


async def test_faults_hit_the_next_call_of_their_method_only(workspace: Workspace, slack: AsyncWebClient) -> None:
    workspace.faults.fail_next("chat.update", "fatal_error")
    workspace.faults.rate_limit_next(1)
    assert (await slack.auth_test())["ok"]
    answer = (await refused(slack.chat_postMessage(channel="C0TRAIN", text="x"))).response
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="x")
    where = {"channel": "C0TRAIN", "ts": posted["ts"]}
    assert (await refused(slack.chat_update(**where, text="y"))).response["error"] == "fatal_error"
    assert (await slack.chat_update(**where, text="y"))["ok"]


@pytest.mark.parametrize("after_effect", [True, False], ids=["after the effect", "before it"])
async def test_broken_connection_leaves_the_caller_in_doubt(
    workspace: Workspace, slack: AsyncWebClient, page: PageClient, after_effect: bool
) -> None:
    workspace.faults.reset_next("chat.postMessage", after_effect=after_effect)
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await slack.chat_postMessage(channel="C0TRAIN", text="x")
    assert len(await page.messages("training")) == int(after_effect)


async def test_uploaded_picture_is_shown_in_the_channel(slack: AsyncWebClient, page: PageClient) -> None:
    done = await slack.files_upload_v2(channel="C0TRAIN", content=PNG, filename="loss.png", title="Loss")
    assert done["file"]["mimetype"] == "image/png"
    message = (await page.messages("training"))[0]
    async with aiohttp.ClientSession() as session, session.get(message["files"][0]["url_private"]) as response:
        assert (response.content_type, await response.read()) == ("image/png", PNG)


async def test_file_that_is_no_picture_is_only_a_download(slack: AsyncWebClient, page: PageClient) -> None:
    await slack.files_upload_v2(channel="C0TRAIN", content="<script>1</script>", filename="a.html", title="A")
    message = (await page.messages("training"))[0]
    async with aiohttp.ClientSession() as session, session.get(message["files"][0]["url_private"]) as response:
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"] == "attachment"


async def test_user_groups_need_a_paid_plan(slack: AsyncWebClient) -> None:
    answer = (await refused(slack.usergroups_users_list(usergroup="S0ONCALL"))).response
    assert answer["error"] == "plan_upgrade_required"


async def test_user_group_lists_its_people() -> None:
    workspace = await start_workspace(WorkspaceOptions(usergroups={"S0ONCALL": ["U0ANNA"]}))
    slack = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
    assert (await slack.usergroups_users_list(usergroup="S0ONCALL"))["users"] == ["U0ANNA"]
    assert (await refused(slack.usergroups_users_list(usergroup="S0X"))).response["error"] == "no_such_subteam"
    await workspace.close()


async def test_directory_knows_people_and_channels(slack: AsyncWebClient) -> None:
    assert (await slack.users_info(user="U0BEN"))["user"]["name"] == "ben"
    assert (await refused(slack.users_info(user="U0X"))).response["error"] == "user_not_found"
    assert len((await slack.users_list())["members"]) == 3
    channels = (await slack.conversations_list())["channels"]
    assert {(channel["name"], channel["is_member"]) for channel in channels} == {("training", True), ("random", False)}
    assert (await slack.conversations_info(channel="C0TRAIN"))["channel"]["name"] == "training"
    assert (await slack.conversations_open(users="U0ANNA"))["channel"]["id"] == "D0ANNA"
    assert BOT_USER_ID in (await slack.conversations_members(channel="C0TRAIN"))["members"]


async def test_joining_lets_the_app_post(slack: AsyncWebClient) -> None:
    await slack.conversations_join(channel="C0RANDOM")
    assert (await slack.chat_postMessage(channel="C0RANDOM", text="x"))["ok"]


async def test_reaction_is_added_once(slack: AsyncWebClient, page: PageClient) -> None:
    said = await page.say("anna", "training", "look")
    where = {"channel": "C0TRAIN", "timestamp": said.ts, "name": "eyes"}
    await slack.reactions_add(**where)
    assert (await refused(slack.reactions_add(**where))).response["error"] == "already_reacted"
    assert (await page.messages("training"))[0]["reactions"][0]["name"] == "eyes"


async def test_modal_needs_a_trigger(slack: AsyncWebClient) -> None:
    view = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": [{"type": "divider"}]}
    answer = (await refused(slack.views_open(trigger_id="1.2.3", view=view))).response
    assert answer["error"] == "invalid_trigger_id"


GARBAGE: list[Any] = [None, "", 0, -1, 1.5, True, [], {}, [{}], {"a": []}, "x" * 300, "[", "null", [None], "C0TRAIN"]
GOOD: dict[str, Any] = {
    "channel": "C0TRAIN",
    "user": "U0ANNA",
    "users": "U0ANNA",
    "text": "x",
    "blocks": card("x"),
    "attachments": [{"text": "x"}],
    "metadata": {"event_type": "alert", "event_payload": {}},
    "thread_ts": "",
    "name": "eyes",
    "view": {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": [{"type": "divider"}]},
    "view_id": "V1",
    "trigger_id": "1.2.3",
    "hash": "1",
    "external_id": "",
    "filename": "a.png",
    "length": 3,
    "files": [],
    "channel_id": "C0TRAIN",
    "oldest": "0",
    "latest": "1",
    "limit": 10,
    "types": "im",
    "usergroup": "S1",
}


async def test_no_argument_whatever_breaks_the_server() -> None:
    workspace = await start_workspace(WorkspaceOptions(post_rate=None, method_rate=None))
    for name, method in workspace.web_api._methods.items():
        for wrong in (*GOOD, "ts", "timestamp"):
            for value in GARBAGE:
                ts = workspace.state.post(channel_id="C0TRAIN", user_id=BOT_USER_ID, body=Body(text="x")).ts
                values = GOOD | {"ts": ts, "timestamp": ts} | {wrong: value}
                with suppress(MethodRefusedError):
                    assert isinstance(method(Args(values=values)), dict), (name, wrong, value)
                workspace.state.messages.clear()
    await workspace.close()
