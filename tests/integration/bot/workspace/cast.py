"""People, channels and a small real Bolt app for the tests of the workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.state.people import Channel, Person, SlashCommand

ANNA = Person(user_id="U0ANNA", name="anna", real_name="Anna Keller", on_call=True)
BEN = Person(user_id="U0BEN", name="ben", real_name="Ben Okafor")
PEOPLE = (ANNA, BEN)
TRAINING = Channel(channel_id="C0TRAIN", name="training", topic="What the runs are doing")
RANDOM = Channel(channel_id="C0RANDOM", name="random", bot_is_member=False)
COMMANDS = (SlashCommand(name="/train", description="Ask about a run", usage_hint="status | stop now"),)


async def start_workspace(options: WorkspaceOptions | None = None) -> Workspace:
    return await Workspace.start(
        people=PEOPLE, channels=(TRAINING, RANDOM), commands=COMMANDS, options=options or WorkspaceOptions()
    )


def card(text: str, *, buttons: bool = True) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]
    if buttons:
        approve = {
            "type": "button",
            "action_id": "approve",
            "value": "rollback-7",
            "style": "primary",
            "text": {"type": "plain_text", "text": "Approve"},
        }
        reason = {
            "type": "button",
            "action_id": "give_reason",
            "text": {"type": "plain_text", "text": "Reject…"},
        }
        blocks.append({"type": "actions", "block_id": "decision", "elements": [approve, reason]})
    return blocks


REASON_VIEW: dict[str, Any] = {
    "type": "modal",
    "callback_id": "reject_reason",
    "title": {"type": "plain_text", "text": "Reject the rollback"},
    "submit": {"type": "plain_text", "text": "Reject"},
    "blocks": [
        {
            "type": "input",
            "block_id": "why",
            "label": {"type": "plain_text", "text": "Why?"},
            "element": {"type": "plain_text_input", "action_id": "text"},
        }
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallApp:
    app: AsyncApp
    events: list[dict[str, Any]]
    submissions: list[dict[str, Any]]


def build_app(workspace: Workspace) -> SmallApp:
    app = AsyncApp(client=AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url))
    events: list[dict[str, Any]] = []
    submissions: list[dict[str, Any]] = []

    @app.command("/train")
    async def on_command(ack: Any, command: Any, respond: Any, client: Any) -> None:
        await ack()
        if command["text"] == "execute rollback":
            await client.chat_postMessage(
                channel=command["channel_id"],
                text="Roll back to epoch 3?",
                blocks=card("Roll back to *epoch 3*?"),
                metadata={"event_type": "approval", "event_payload": {"id": "rollback-7"}},
            )
        else:
            await respond(f"you asked for {command['text']}")

    @app.event("app_mention")
    async def on_mention(event: Any, say: Any) -> None:
        events.append(event)
        await say(text="epoch 3 of 10", thread_ts=event.get("thread_ts") or event["ts"])

    @app.event("message")
    async def on_message(event: Any, say: Any) -> None:
        events.append(event)
        if event["channel_type"] == "im":
            await say(text=f"in private: {event['text']}")

    @app.action("approve")
    async def on_approve(ack: Any, body: Any, client: Any, action: Any) -> None:
        await ack()
        await client.chat_update(
            channel=body["channel"]["id"],
            ts=body["message"]["ts"],
            text=f"approved by <@{body['user']['id']}>",
            blocks=card(f"{action['value']} approved by <@{body['user']['id']}>", buttons=False),
        )

    @app.action("give_reason")
    async def on_reason(ack: Any, body: Any, client: Any) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=REASON_VIEW)

    @app.view("reject_reason")
    async def on_submitted(ack: Any, body: Any, view: Any) -> None:
        text = view["state"]["values"]["why"]["text"]["value"]
        if len(text) < 4:
            await ack(response_action="errors", errors={"why": "A few words, please."})
            return
        await ack()
        submissions.append({"user": body["user"]["id"], "why": text})

    return SmallApp(app=app, events=events, submissions=submissions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    workspace: Workspace
    page: PageClient
    app: SmallApp
    handler: AsyncSocketModeHandler


@asynccontextmanager
async def stage(options: WorkspaceOptions | None = None, *, ping_interval_s: float = 1.0) -> AsyncIterator[Stage]:
    workspace = await start_workspace(options)
    small = build_app(workspace)
    handler = AsyncSocketModeHandler(small.app, workspace.app_token, ping_interval=ping_interval_s)
    page = PageClient(workspace.page_url)
    try:
        await handler.connect_async()
        await workspace.sockets.wait_connected()
        yield Stage(workspace=workspace, page=page, app=small, handler=handler)
    finally:
        await page.close()
        await handler.close_async()
        await workspace.close()
